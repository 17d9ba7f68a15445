"""Every arm at its best learning rate, and the largest rate that trains."""

import math

import numpy as np
import pandas as pd
import pytest

from compare.helpers import write_run
from normlab.compare import compare, load_runs
from normlab.compare.columns import LARGEST_STABLE_RATE
from normlab.compare.selection import (
    best_values,
    grid_step,
    largest_stable,
    stable_edge_warnings,
)
from normlab.compare.settings import arm_labels
from normlab.report.setting_figures import draw_sensitivity


@pytest.fixture
def grid(tmp_path):
    """custom is best at 0.1, none at 0.01 and diverges at 1 but for one lucky seed."""
    scores = {
        "none": {0.001: 0.80, 0.01: 0.90, 0.1: 0.895, 1.0: 0.99},
        "custom": {0.001: 0.70, 0.01: 0.91, 0.1: 0.95, 1.0: 0.949},
    }
    for norm, by_lr in scores.items():
        for lr, value in by_lr.items():
            for seed in range(3):
                lost = norm == "none" and lr == 1.0 and seed > 0
                status = "diverged" if lost else "finished"
                write_run(
                    tmp_path,
                    norm,
                    seed,
                    value + 0.001 * seed,
                    status,
                    {"optimizer.lr": lr},
                )
    runs = load_runs(tmp_path)
    return runs.assign(arm=arm_labels(runs, ["norm"]))


def test_the_best_value_is_one_at_which_runs_finish(grid):
    best = best_values(grid, "optimizer.lr", [], "val/accuracy")
    assert best.to_dict() == {"custom": 0.1, "none": 0.01}


def test_selecting_compares_arms_at_their_best(grid):
    found = compare(grid, select="optimizer.lr")
    row = found.contrasts.iloc[0]
    assert row["difference"] == pytest.approx(0.05)
    assert found.within == []
    assert (
        "none: optimizer.lr=0.01 has the best mean val/accuracy of the 4 values that "
        "were tried and is used." in found.warnings
    )
    assert not any("also differ" in text for text in found.warnings)
    assert len(found.candidates.runs) == 24


def test_a_best_rate_on_the_edge_is_named(grid):
    inside = compare(grid)
    assert not any("extend the grid" in text for text in inside.warnings)
    cut = compare(grid[grid["optimizer.lr"] <= 0.1])
    edge = (
        "custom: the best optimizer.lr, 0.1, is the largest that was tried; extend "
        "the grid before comparing arms"
    )
    assert any(text.startswith(edge) for text in cut.warnings)


def test_a_best_rate_on_the_edge_is_named_if_rates_are_compared(grid):
    cut = grid[grid["optimizer.lr"] <= 0.1]
    edge = "the best optimizer.lr, 0.1, is the largest that was tried; extend the grid"
    both = [
        text
        for text in compare(cut, by=["norm", "optimizer.lr"]).warnings
        if "extend the grid" in text
    ]
    assert [text.partition(": ")[0] for text in both] == ["custom"]
    assert edge in both[0]
    alone = compare(cut[cut["norm"] == "custom"], by="optimizer.lr").warnings
    assert any(text.startswith(f"all runs: {edge}") for text in alone)
    within = compare(cut, by="optimizer.lr", within=["norm"]).warnings
    assert any(text.startswith(f"all runs, norm=custom: {edge}") for text in within)


def test_a_choice_by_the_compared_scores_is_named(grid):
    told = (
        "There is no validation metric, so the best optimizer.lr was chosen by "
        "test/accuracy, which is also compared"
    )
    assert not any(
        text.startswith(told) for text in compare(grid, select="optimizer.lr").warnings
    )
    blind = compare(grid.drop(columns="val/accuracy"), select="optimizer.lr")
    assert any(text.startswith(told) for text in blind.warnings)


def test_largest_rate_that_trains_by_seed(grid):
    table = largest_stable(grid, "optimizer.lr", [], "test/accuracy", tolerance=0.01)
    by_arm = (
        table.sort_values("seed")
        .groupby("arm")[LARGEST_STABLE_RATE]
        .apply(list)
        .to_dict()
    )
    # The lucky seed of none is its own best at 1, so that 0.1 is not near it; the
    # others end at 0.1.
    assert by_arm["none"] == pytest.approx([0.0, -1.0, -1.0])
    assert by_arm["custom"] == pytest.approx([0.0, 0.0, 0.0])
    assert stable_edge_warnings(grid, table, "optimizer.lr") == [
        "custom: 3 of 3 seeds still train at the largest optimizer.lr tried, 1.",
        "none: 1 of 3 seeds still train at the largest optimizer.lr tried, 1.",
    ]


@pytest.mark.parametrize(
    ("rates", "step"),
    [
        ([0.5, 0.1, 0.2, 0.5], 2.5),
        ([0.1, None, 0.3], 3.0),
        ([0.1, 0.1], math.nan),
        ([0.0, 0.1], math.nan),
    ],
)
def test_the_step_of_a_grid_is_its_largest_factor(rates, step):
    found = grid_step(pd.DataFrame({"optimizer.lr": rates}), "optimizer.lr")
    assert found == pytest.approx(step, nan_ok=True)


def test_an_arm_that_never_trains_has_no_largest_rate(grid):
    dead = grid.assign(
        status=np.where(grid["arm"] == "none", "diverged", grid["status"])
    )
    table = largest_stable(dead, "optimizer.lr", [], "test/accuracy", tolerance=0.01)
    assert (table[table["arm"] == "none"]["status"] == "diverged").all()
    assert all(
        math.isnan(value)
        for value in table[table["arm"] == "none"][LARGEST_STABLE_RATE]
    )


def test_an_arm_without_the_selected_setting_stays(tmp_path):
    for seed in range(3):
        write_run(tmp_path, "none", seed, 0.90 + 0.001 * seed, curve=[0.5, 0.9])
        for momentum, value in ((0.01, 0.92), (0.1, 0.93), (0.5, 0.91)):
            write_run(
                tmp_path,
                "custom",
                seed,
                value + 0.001 * seed,
                settings={"norm.momentum": momentum},
            )
    found = compare(load_runs(tmp_path), select="norm.momentum")
    assert found.summaries[["arm", "n"]].to_numpy().tolist() == [
        ["none", 3],
        ["custom", 3],
    ]
    assert found.contrasts["difference"].tolist() == pytest.approx([0.03])
    assert "none has no norm.momentum and is compared as it is." in found.warnings
    drawing = draw_sensitivity(found)
    assert [
        line.get_label()
        for line in drawing.figure.axes[0].lines
        if line.get_label()[0] != "_"
    ] == ["custom"]
    assert "none has no norm.momentum." in drawing.caption


def test_no_value_can_be_the_best_one(tmp_path):
    for seed in range(2):
        write_run(tmp_path, "none", seed, 0.9)
        write_run(
            tmp_path,
            "custom",
            seed,
            0.8,
            settings={"norm.momentum": 0.1, "choices.norm": "none"},
        )
    runs = load_runs(tmp_path)
    best = best_values(runs.assign(arm="all"), "norm.momentum", [], "val/accuracy")
    assert math.isnan(best["all"])


@pytest.fixture
def optimizers(tmp_path):
    """SGD with two momenta and Adam, which has none; the best rates differ."""
    best = {("sgd", 0.0): 1.0, ("sgd", 0.9): 0.1, ("adam", None): 0.01}
    for norm, gain in (("none", 0.0), ("custom", 0.02)):
        for (optimizer, momentum), best_lr in best.items():
            for lr in (0.001, 0.01, 0.1, 1.0, 10.0):
                for seed in range(2):
                    loss = 0.01 * abs(math.log10(lr / best_lr))
                    settings = {
                        "choices.optimizer": optimizer,
                        "optimizer.momentum": momentum,
                        "optimizer.lr": lr,
                    }
                    value = 0.9 + gain - loss + 0.001 * seed
                    write_run(tmp_path, norm, seed, value, settings=settings)
    return load_runs(tmp_path)


def test_the_best_value_is_found_in_a_group_without_a_setting(optimizers):
    found = compare(optimizers, select="optimizer.lr")
    assert found.within == ["optimizer", "optimizer.momentum"]
    kept = found.runs.groupby("where")["optimizer.lr"].unique().map(list)
    assert kept.to_dict() == {
        "optimizer=adam, optimizer.momentum=–": [0.01],
        "optimizer=sgd, optimizer.momentum=0": [1.0],
        "optimizer=sgd, optimizer.momentum=0.9": [0.1],
    }
    assert found.contrasts["difference"].tolist() == pytest.approx([0.02] * 3)
    line = "custom, optimizer=adam, optimizer.momentum=–: optimizer.lr=0.01 has the"
    assert any(text.startswith(line) for text in found.warnings)


def test_a_rate_on_the_edge_is_named_in_a_group_without_a_setting(optimizers):
    cut = compare(optimizers[optimizers["optimizer.lr"] >= 0.01])
    names = []
    for text in cut.warnings:
        name, _, rest = text.partition(": the best optimizer.lr, 0.01, is the smallest")
        if rest:
            names.append(name)
    assert sorted(names) == [
        "custom, optimizer=adam, optimizer.momentum=–",
        "none, optimizer=adam, optimizer.momentum=–",
    ]
