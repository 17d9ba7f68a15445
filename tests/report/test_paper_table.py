"""The table of a paper: pivot, digits, the best one and what is not told apart."""

import numpy as np
import pytest
from compare.helpers import write_run

from normlab.compare import compare, load_runs
from normlab.report.paper_table import PaperCell, make_paper_table

SPREAD = np.array([-0.003, -0.002, -0.001, 0.0, 0.0, 0.001, 0.002, 0.003])


def runs_of(folder, arms, status="finished"):
    """Eight seeds of every arm and data set, at a mean and with the spread."""
    random = np.random.default_rng(0)
    for (norm, dataset), mean in arms.items():
        values = mean + random.permutation(SPREAD)
        for seed, value in enumerate(values):
            settings = {"choices.dataset": dataset, "dataset.name": dataset}
            write_run(folder, norm, seed, value, status, settings=settings)
    return load_runs(folder)


@pytest.fixture
def table(tmp_path):
    arms = {
        ("none", "digits"): 0.900,
        ("custom", "digits"): 0.920,
        ("torch", "digits"): 0.9199,
        ("none", "wine"): 0.901,
        ("custom", "wine"): 0.900,
    }
    return make_paper_table(compare(runs_of(tmp_path, arms)))


def test_arms_are_rows_and_tasks_are_columns(table):
    assert table.columns == ["norm", "digits", "wine"]
    assert [arm for arm, _ in table.rows] == ["none", "custom", "torch"]
    assert table.rows[2][1][1] == PaperCell("–")


def test_a_cell_is_the_mean_with_the_half_width_of_its_interval(table):
    # SD sqrt(28 / 7) / 1000 = 0.002, times t(0.975, 7) / sqrt(8) = 0.836
    assert table.rows[0][1][0].text == "0.9000 ± 0.0017"
    assert table.rows[0][1][1].text == "0.9010 ± 0.0017"


def test_the_best_is_marked_and_what_is_not_told_apart_from_it(table):
    marks = {arm: [cell.mark for cell in cells] for arm, cells in table.rows}
    assert marks == {
        "none": ["", "best"],
        "custom": ["best", "tied"],
        "torch": ["tied", ""],
    }


def test_the_caption_says_what_the_marks_mean(table):
    assert table.caption == (
        "test/accuracy (higher is better): mean ± half width of its 95% interval over "
        "8 runs per cell. Bold: the best of a column. Underlined: not told apart from "
        "it at level 0.05 with Holm's correction over the column."
    )


def test_lower_may_be_better(tmp_path):
    arms = {("none", "digits"): 0.9, ("custom", "digits"): 0.5}
    runs = runs_of(tmp_path, arms)
    runs["test/loss"] = runs["test/accuracy"]
    table = make_paper_table(compare(runs, metric="test/loss"))
    assert [cells[0].mark for _, cells in table.rows] == ["", "best"]
    assert table.columns == ["norm", "test/loss"]


def test_lost_runs_stand_in_the_cell_and_cost_the_first_place(tmp_path):
    runs_of(tmp_path, {("none", "digits"): 0.9})
    settings = {"choices.dataset": "digits", "dataset.name": "digits"}
    for seed in range(8):
        status = "finished" if seed < 2 else "diverged"
        write_run(tmp_path, "custom", seed, 0.95, status, settings=settings)
    table = make_paper_table(compare(load_runs(tmp_path)))
    first, second = (cells[0] for _, cells in table.rows)
    assert second.text.endswith("(6 of 8 lost)")
    assert second.mark != "best"
    assert first.mark == "best"
    assert "Lost runs diverged or failed" in table.caption


@pytest.mark.parametrize(
    ("scale", "text"),
    [
        (1.0, "0.9000 ± 0.0017"),
        (5.0, "0.900 ± 0.008"),
        (500.0, "0.9 ± 0.8"),
        (0.001, "0.9000000 ± 0.0000017"),
    ],
)
def test_digits_follow_the_spread(tmp_path, scale, text):
    runs = runs_of(tmp_path, {("none", "digits"): 0.9, ("custom", "digits"): 0.9})
    centre = runs["test/accuracy"] - 0.9
    runs["test/accuracy"] = 0.9 + scale * centre
    table = make_paper_table(compare(runs))
    assert table.rows[0][1][0].text == text
