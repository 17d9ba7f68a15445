"""The runs that a study planned against those that are there."""

import pytest
from compare.helpers import write_run

from normlab.compare import load_runs
from normlab.study.plans import (
    grid,
    missing_runs_with_command,
    num_complete_seeds,
    planned_runs,
    planned_seeds,
    seed_counts,
    study_command,
    unplanned_runs,
)

GRID = {"norm": "none,custom", "optimizer.lr": "0.1,1", "seed": "range(3)"}


@pytest.fixture
def runs(tmp_path):
    """All but custom at 1 with seed 2; none at 1 diverged; one more failed."""
    for norm in ("none", "custom"):
        for lr in (0.1, 1.0):
            for seed in range(3):
                if (norm, lr, seed) != ("custom", 1.0, 2):
                    status = "diverged" if (norm, lr) == ("none", 1.0) else "finished"
                    write_run(tmp_path, norm, seed, 0.9, status, {"optimizer.lr": lr})
    write_run(tmp_path, "custom", 2, 0.9, "failed", {"optimizer.lr": 1.0})
    return load_runs(tmp_path)


def test_every_combination_is_planned():
    found = list(planned_runs(GRID))
    assert len(found) == 12
    assert found[0] == {"norm": "none", "optimizer.lr": "0.1", "seed": "0"}
    assert found[-1] == {"norm": "custom", "optimizer.lr": "1", "seed": "2"}


def test_planned_values_read_as_those_of_runs(tmp_path):
    values = {
        "optimizer.lr": (1e-5, 100.0),
        "model.hidden": ([64], [128, 64]),
        "model.bias": (True, False),
    }
    for place in range(2):
        write_run(
            tmp_path,
            "none",
            place,
            settings={key: value[place] for key, value in values.items()},
        )
    params = {
        "optimizer.lr": "1e-5,100",
        "model.hidden": "[64],[128,64]",
        "model.bias": "true,false",
        "norm": "none",
    }
    assert len(grid(params)) == 8
    assert unplanned_runs(params, load_runs(tmp_path))[1] == ""


def test_diverged_runs_count_and_failed_ones_do_not(runs):
    table = seed_counts(GRID, runs).set_index(["norm", "optimizer.lr"])
    assert table["present"].to_dict() == {
        ("none", "0.1"): 3,
        ("none", "1"): 3,
        ("custom", "0.1"): 3,
        ("custom", "1"): 2,
    }
    assert table.loc[("custom", "1"), "missing"] == ["2"]


def test_seeds_are_complete_up_to_the_first_missing_run(runs):
    assert num_complete_seeds(GRID, runs, "norm", []) == 3
    made = runs[runs["status"] != "failed"]
    assert num_complete_seeds(GRID, made, "norm", []) == 2
    assert num_complete_seeds(GRID, made, "norm", ["none"]) == 3
    assert num_complete_seeds(GRID, made, ["norm"], ["none"]) == 2
    without_first = runs[runs["seed"] > 0]
    assert num_complete_seeds(GRID, without_first, "norm", []) == 0


def test_seeds_of_many_digits_are_counted_one_by_one(tmp_path):
    params = {"norm": "none", "seed": "range(20240101,20240104)"}
    for seed in (20240101, 20240102, 20240999):
        write_run(tmp_path, "none", seed)
    runs = load_runs(tmp_path)
    assert planned_seeds(params) == ["20240101", "20240102", "20240103"]
    assert num_complete_seeds(params, runs, "norm", []) == 2
    assert seed_counts(params, runs)["missing"].tolist() == [["20240103"]]
    outside, told = unplanned_runs(params, runs)
    assert runs.loc[outside, "seed"].tolist() == [20240999]
    assert told == "seed=20240999 in 1"


def test_rates_of_many_digits_are_told_apart(tmp_path):
    for lr in (0.03162278, 0.0316228):
        write_run(tmp_path, "none", settings={"optimizer.lr": lr})
    params = {"optimizer.lr": "0.03162278", "seed": "0"}
    assert unplanned_runs(params, load_runs(tmp_path))[1] == (
        "optimizer.lr=0.0316228 in 1"
    )


def test_missing_runs_come_with_the_command_that_makes_them(runs):
    (told,) = missing_runs_with_command(study_command("demo"), GRID, runs)
    assert told.startswith(
        "1 of 12 planned runs are missing: norm=custom optimizer.lr=1 seed=2. `python "
        "train.py -m study=demo`"
    )
    assert missing_runs_with_command("x", GRID | {"seed": "0,1"}, runs) == []


def test_values_outside_of_the_grid_are_named(runs):
    assert unplanned_runs(GRID, runs)[1] == ""
    outside, told = unplanned_runs(
        {"norm": "none,layer", "optimizer.lr": "0.1", "seed": "range(3)"}, runs
    )
    assert outside.tolist() == [
        (row["norm"], row["optimizer.lr"]) != ("none", 0.1)
        for row in runs.to_dict("records")
    ]
    assert told == "norm=custom in 6; optimizer.lr=1 in 6"
    assert (
        unplanned_runs({"norm.size": "2", "seed": "0,1,2"}, runs)[1]
        == "norm.size=– in 12"
    )


def test_a_grid_of_seeds_alone_has_one_combination(runs):
    first = runs[(runs["norm"] == "none") & (runs["optimizer.lr"] == 0.1)]
    table = seed_counts({"seed": "range(5)"}, first)
    assert table[["planned", "present"]].to_numpy().tolist() == [[5, 3]]
    assert table["missing"][0] == ["3", "4"]
