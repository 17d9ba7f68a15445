"""The document of results holds what the runs say and what the notebook said, and nothing else."""

import numpy as np
import pandas as pd
import pytest

from compare.helpers import write_run
from normlab.compare.reproduction import read_plan
from normlab.compare.results_document import (
    Section,
    absent,
    document,
    first_epochs,
    networks,
    points,
    rounded_to,
    section,
)

ENTRY = {
    "title": "A title",
    "sweep": {"norm": "none,torch"},
    "contrast": "torch",
    "comparisons": [{"by": ["norm"], "baseline": "none"}],
    "curves": ["train/loss"],
    "reach": "train/loss",
    "notebook": {
        "arms": {
            "none": {"train/loss": [0.35, 0.196], "test/accuracy": 0.9},
            "torch": {"train/loss": [0.1], "test/accuracy": 0.99},
        },
        "flaws": "It was one run.",
    },
}


@pytest.fixture
def made(tmp_path):
    """Six seeds; by epoch the training loss of none is .3, about .195, .15 and that of torch .2, .15, .1."""
    for seed in range(6):
        write_run(tmp_path, "none", seed, 0.90 + 0.001 * seed, curve=[0.7, 0.8 + 0.002 * seed, 0.85])
        folder = write_run(tmp_path, "torch", seed, 0.92 + 0.0012 * seed, curve=[0.8, 0.85, 0.9])
    return section("demo", ENTRY, folder.parent, "python train.py -m experiment=demo", tmp_path / "figures")


def test_arms_stand_beside_what_the_notebook_printed(made):
    assert "| none | 0.9000 | 6 | 0.9025 | 0.0019 | 0.9005 to 0.9045 | 0.9000 | 0.9050 | 0 | 17,226 |" in made.text
    assert "| torch | 0.9900 | 6 | 0.9230 |" in made.text
    assert "diverged" not in made.text.split("\n\n")[4]
    assert "- torch does better than none: its test/accuracy is 0.0205 higher" in made.text


def test_the_notebooks_difference_is_judged_by_the_interval(made):
    assert "none is +9.00 points. Here it is +2.05 points, 23 % of that, and the interval from +2.01" in made.text
    assert "does not hold the notebook's." in made.text
    assert made.overview[1] == "+9.00 points of test accuracy"
    assert made.overview[2].startswith("+2.05 points of test accuracy (+2.01 to +2.09, 6 seeds), torch against none")
    assert made.overview[3] == "torch does better than none; the notebook's difference is outside the interval"


def test_losses_by_epoch(made, tmp_path):
    assert "| 1 | 0.300 (0.000) | 0.350* | 0.200 (0.000) | 0.100* |" in made.text
    assert "| 2 | 0.195 (0.004) | 0.196 | 0.150 (0.000) | – |" in made.text
    assert (
        "with the same seed has after 3, median and range over seeds: torch 2 (2 to 2), the notebook's 1." in made.text
    )
    assert (tmp_path / "figures" / "demo.png").stat().st_size > 5000


def test_epochs_until_a_loss():
    losses = pd.DataFrame([[3.0, 2.0, 1.0], [3.0, 3.0, 3.0], [1.0, 1.0, 1.0]], index=[0, 1, 2], columns=[1, 2, 3])
    found = first_epochs(losses, pd.Series([2.0, 2.0], index=[0, 1]))
    assert found.tolist() == [2.0, np.inf]  # seed 2 has no partner


def test_folds_have_intervals_and_no_sentence_of_a_test(tmp_path):
    for fold in range(5):
        for norm, value in (("none", 50.0 + fold), ("torch", 53.0 + 2 * fold)):
            settings = {"dataset.fold": fold, "dataset.num_folds": 5}
            folder = write_run(tmp_path, norm, 0, None, settings=settings, metrics={"test/rmse": value})
    comparison = {"by": ["norm"], "baseline": "none", "metric": "test/rmse"}
    entry = {**ENTRY, "comparisons": [comparison], "words": {"torch": "PyTorch's"}, "notebook": {"flaws": ""}}
    entry = {key: value for key, value in entry.items() if key not in ("curves", "reach")}
    entry["notebook"] = {"printed": "one fold", "flaws": "It was one fold."}
    made = section("demo", entry, folder.parent, "python train.py norm=torch", tmp_path / "figures")
    # Differences 3, 4, 5, 6, 7: mean 5, SD 1.58, error 1.58 sqrt(1/5 + 1/4) = 1.06, t(4) = 2.776
    assert "| PyTorch's | +5.0 | +2.1 to +7.9 |" in made.text
    assert "no test is made with fewer than 6 folds" in made.text
    assert "norm=torch" in made.text  # commands stay as they are
    assert made.overview == [
        "A title", "one fold", "+5.0 test/rmse (+2.1 to +7.9, 5 folds), PyTorch's against none",
        "PyTorch's does worse than none",
    ]  # fmt: skip


def test_without_runs_networks_are_counted_all_the_same():
    """The notebook's `without` had four norm layers and 62,458 parameters; ours has none."""
    entry = read_plan()["lenet_cifar10"]
    counted = [("none", 0, 62_006), ("torch", 4, 62_458), ("custom", 4, 62_458)]
    assert networks("lenet_cifar10", entry) == counted
    made = absent("lenet_cifar10", entry, "python train.py", "no data")
    assert "| none | 0 | 62,006 |" in made.text
    assert made.overview[2:] == ["no result: no data", "–"]


def test_the_document_starts_with_all_conclusions():
    text = document([Section(["a", "b|c", "d", "e"], "## One"), Section(["f", "g", "h", "i"], "## Two")])
    assert text.startswith("# Results\n")
    assert text.index("| a | b\\|c | d | e |") < text.index("| f | g | h | i |") < text.index("## One")


def test_numbers_have_the_digits_that_their_spread_allows():
    assert [rounded_to(3.95)(54.5174), rounded_to(0.0019)(0.9025), rounded_to(0.0)(0.5)] == ["54.5", "0.9025", "0.5000"]
    assert rounded_to(120.0)(12345.6) == "12,346"
    assert [points(0.01492), points(-0.0103)] == ["+1.49", "−1.03"]
