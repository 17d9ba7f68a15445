"""Whole comparisons of made-up runs: arms, groups and warnings."""

from pathlib import Path

import pandas as pd
import pytest

from compare.helpers import ENVIRONMENT, write_run, write_seeds
from normlab.checksums import file_digests
from normlab.compare import compare, load_runs
from normlab.results import read_result, write_result

NONE = [0.90, 0.91, 0.92, 0.93, 0.94, 0.95, 0.91, 0.92, 0.93, 0.94]
GAIN = [0.020, 0.018, 0.022, 0.019, 0.021, 0.020, 0.017, 0.023, 0.020, 0.020]
CUSTOM = [value + gain for value, gain in zip(NONE, GAIN, strict=True)]


def contrast(found, arm="custom"):
    return found.contrasts.set_index("arm").loc[arm]


def test_disjoint_seeds_are_compared_as_independent_runs(tmp_path):
    write_seeds(tmp_path, {"none": NONE})
    for seed, value in enumerate(CUSTOM, 100):
        write_run(tmp_path, "custom", seed, value)
    found = compare(load_runs(tmp_path))
    row = contrast(found)
    assert (row["design"], row["n"], row["n_baseline"]) == ("independent", 10, 10)
    assert row["p"] > 2 / 1024
    assert 0 < row["permutation_p"] < 0.05
    assert (
        "custom and none share too few seeds (100, 101, 102, …, 109 against 0, 1, 2, "
        "…, 9): compared as independent "
        "runs. The same seeds would make pairs." in found.warnings
    )


def test_other_settings_that_vary_make_groups(tmp_path):
    for lr in (0.1, 0.01):
        write_seeds(
            tmp_path,
            {"none": NONE[:3], "custom": CUSTOM[:3]},
            settings={"optimizer.lr": lr},
        )
    found = compare(load_runs(tmp_path))
    assert found.within == ["optimizer.lr"]
    assert (
        found.summaries["where"].tolist()
        == ["optimizer.lr=0.01"] * 2 + ["optimizer.lr=0.1"] * 2
    )
    assert (
        found.contrasts["sentence"]
        .str.startswith(("At optimizer.lr=0.01, ", "At optimizer.lr=0.1, "))
        .all()
    )


def test_settings_of_a_norm_make_arms_of_their_own(tmp_path):
    write_seeds(tmp_path, {"none": NONE[:3]})
    for momentum in (0.1, 0.01):
        write_seeds(
            tmp_path, {"custom": CUSTOM[:3]}, settings={"norm.momentum": momentum}
        )
    assert compare(load_runs(tmp_path)).arms == [
        "none",
        "custom, norm.momentum=0.01",
        "custom, norm.momentum=0.1",
    ]


def test_arms_that_differ_in_more_than_the_norm_are_named(tmp_path):
    write_seeds(tmp_path, {"none": NONE[:3]}, settings={"optimizer.lr": 0.1})
    write_seeds(
        tmp_path,
        {"custom": CUSTOM[:3]},
        settings={"optimizer.lr": 0.2, "choices.optimizer": "adam"},
    )
    warnings = compare(load_runs(tmp_path)).warnings
    assert "custom and none also differ in optimizer (adam against sgd)." in warnings
    assert not any("norm.eps" in text for text in warnings)


def test_different_origins_are_named(tmp_path):
    write_seeds(tmp_path, {"none": NONE[:3]})
    other = ENVIRONMENT | {"git": {"commit": "fedcba9876543210", "dirty": True}}
    write_seeds(tmp_path, {"custom": CUSTOM[:3]}, environment=other)
    warnings = compare(load_runs(tmp_path)).warnings
    assert (
        "The runs come from 2 commits: 0123456789abcdef0123, fedcba9876543210."
        in warnings
    )
    assert "3 of 6 runs were made with uncommitted changes in the code." in warnings


def test_runs_whose_origin_was_changed_are_named(tmp_path):
    write_seeds(tmp_path, {"none": NONE[:3], "custom": CUSTOM[:3]})
    folder = load_runs(tmp_path)["folder"].iloc[1]
    path = Path(folder) / "environment.json"
    result = read_result(path.parent)
    write_result(path.parent, result | {"files": file_digests(path.parent)})
    expected = load_runs(tmp_path)
    assert not any("environment" in text for text in compare(expected).warnings)

    path.write_text(path.read_text().replace("0123456789", "0123456788"))
    runs = load_runs(tmp_path)
    commits = runs.set_index("folder")["environment.git.commit"]
    assert commits.isna().sum() == 1
    assert pd.isna(commits[folder])
    assert (
        "environment.json was changed in 1 of 6 runs, whose code, versions and "
        f"machines are taken as unknown; the first is {folder}."
    ) in compare(runs).warnings

    path.unlink()  # what the result knows of is missed, too
    assert load_runs(tmp_path)["environment.changed"].sum() == 1


def test_runs_of_other_settings_are_no_repetitions(tmp_path):
    for lr in (0.1, 0.01):
        write_seeds(
            tmp_path,
            {"none": NONE[:3], "custom": CUSTOM[:3]},
            settings={"optimizer.lr": lr},
        )
    with pytest.raises(
        ValueError,
        match=r"runs share seed 0 .*; they differ in optimizer.lr: add it to `within`",
    ):
        compare(load_runs(tmp_path), within=[])


def test_runs_without_the_metric_are_named(tmp_path):
    write_seeds(tmp_path, {"none": NONE[:3], "custom": CUSTOM[:3]})
    folder = write_run(tmp_path, "custom", 3, None)
    found = compare(load_runs(tmp_path))
    assert (
        "test/accuracy is missing in 1 of 7 runs that finished, and they are left out; "
        f"the first is {folder}. rerun=true trains a run again." in found.warnings
    )
    assert contrast(found)["n"] == 3


def test_an_assumed_direction_is_warned_about(tmp_path):
    for norm, values in {"none": NONE[:3], "custom": CUSTOM[:3]}.items():
        for seed, value in enumerate(values):
            write_run(
                tmp_path,
                norm,
                seed,
                value,
                metrics={"test/f1": value, "test/wobble": value, "test/loss": 1},
            )
    runs = load_runs(tmp_path)
    names = (
        "test/wobble",
        "test/f1",
        "test/loss",
        "seconds",
        "epochs",
        "best_epoch",
        "samples_per_second",
    )
    told = {name: compare(runs, metric=name).warnings for name in names}
    assumed = "Lower {} is taken to be better: its name does not say"
    assert {
        name: any(text.startswith(assumed.format(name)) for text in texts)
        for name, texts in told.items()
    } == {
        "test/wobble": True,
        "test/f1": False,
        "test/loss": False,
        "seconds": False,
        "epochs": True,
        "best_epoch": True,
        "samples_per_second": False,
    }
    assert compare(runs, metric="test/f1").higher_is_better


def test_a_single_arm_is_warned_about(tmp_path):
    write_seeds(tmp_path, {"custom": CUSTOM})
    warning = "All runs are of one arm, custom: there is nothing to compare it to."
    assert warning in compare(load_runs(tmp_path)).warnings


def test_settings_of_the_compared_norm_belong_to_the_arms(tmp_path):
    write_seeds(tmp_path, {"none": NONE[:3]})
    for momentum, lr in ((0.1, 0.1), (0.01, 0.2)):
        settings = {"norm.momentum": momentum, "optimizer.lr": lr}
        write_seeds(tmp_path, {"custom": CUSTOM[:3]}, settings=settings)
    runs = load_runs(tmp_path)
    with pytest.raises(
        ValueError, match="add norm.momentum to `by` and optimizer.lr to `within`"
    ):
        compare(runs, within=["model"])
    with pytest.raises(
        ValueError, match="they differ in norm.momentum: add it to `by`"
    ):
        compare(runs.assign(**{"optimizer.lr": 0.1}), within=["model"])


def test_joined_tables_are_compared_as_one(tmp_path):
    write_seeds(tmp_path / "a", {"none": NONE[:3]})
    write_seeds(tmp_path / "b", {"custom": CUSTOM[:3]})
    write_run(tmp_path / "b", "custom", 3, None)
    found = compare(pd.concat([load_runs(tmp_path / name) for name in "ab"]))
    assert found.runs.index.is_unique
    assert any(
        text.startswith("test/accuracy is missing in 1 of 7 runs")
        for text in found.warnings
    )
