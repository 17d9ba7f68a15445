"""What tells runs apart."""

import numpy as np
import pandas as pd
import pytest

from compare.helpers import write_run
from normlab.compare import load_runs
from normlab.compare.settings import (
    arm_labels,
    check_keys,
    check_one_run_each,
    differences,
    distinguishing_settings,
    is_compared,
    origin_warnings,
    pairing_keys,
    setting_text,
    sorted_labels,
)
from normlab.metrics import higher_is_better


def test_labels_are_short():
    values = (None, float("nan"), True, 64.0, 1e-5, "custom")
    assert [setting_text(value) for value in values] == [
        "–",
        "–",
        "true",
        "64",
        "1e-05",
        "custom",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (20240101, "20240101"),
        (20240102.0, "20240102"),  # of a column in which other runs lack the setting
        (-0.0, "0"),
        (0.03162278, "0.03162278"),
        (np.float64(0.0316228), "0.0316228"),
        (1.0000001, "1.0000001"),
        (2.5e-7, "2.5e-07"),
        (1e20, "1e+20"),
        (float("inf"), "inf"),
    ],
)
def test_different_numbers_have_different_texts(value, text):
    assert setting_text(value) == text
    assert float(text) == value


def test_labels_of_arms_leave_out_what_a_run_does_not_have():
    runs = pd.DataFrame({"norm": ["group", "none"], "norm.num_groups": [8, None]})
    labels = arm_labels(runs, ["norm", "norm.num_groups"])
    assert labels.tolist() == ["group, norm.num_groups=8", "none"]


def test_numbers_are_ordered_by_size():
    assert sorted_labels(["64", "8", "16", "8"]) == ["8", "16", "64"]
    assert sorted_labels(["dataset=b, 10", "dataset=a, 9"]) == [
        "dataset=a, 9",
        "dataset=b, 10",
    ]
    assert sorted_labels(["lr=10", "lr=3", "lr=0.1"]) == ["lr=0.1", "lr=3", "lr=10"]
    assert sorted_labels(["none", "2", "custom"]) == ["2", "custom", "none"]


def test_direction():
    metrics = (
        "test/accuracy",
        "test/r2",
        "samples_per_second",
        "val/loss",
        "test/rmse",
        "seconds",
    )
    assert [higher_is_better(metric) for metric in metrics] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]


def test_options_of_the_compared_norm_are_compared():
    assert is_compared("norm.num_groups", ["norm"])
    assert is_compared("reparametrize._target_", ["norm"])
    assert not is_compared("optimizer.lr", ["norm"])
    assert not is_compared("norm.eps", ["norm.size"])


def test_the_fewest_settings_that_distinguish_groups(tmp_path):
    for dataset, batch_size in (("digits", 64), ("mnist", 128)):
        for lr in (0.1, 0.01):
            settings = {
                "choices.dataset": dataset,
                "dataset.name": dataset,
                "dataset.batch_size": batch_size,
            }
            write_run(
                tmp_path,
                "none",
                0,
                settings=settings
                | {"optimizer.lr": lr, "dataset.root": f"{dataset}/{lr}"},
            )
    assert distinguishing_settings(load_runs(tmp_path), ["norm"]) == [
        "dataset",
        "optimizer.lr",
    ]


def test_a_setting_that_some_runs_lack_distinguishes_them():
    runs = pd.DataFrame({"seed": [0, 0], "optimizer.momentum": [0.9, None]})
    runs = runs.assign(norm="none")
    assert distinguishing_settings(runs, ["norm"]) == ["optimizer.momentum"]
    alike = pd.DataFrame({"norm.eps": [1, None, None], "optimizer.lr": [1, 1, 2]})
    assert distinguishing_settings(alike.assign(seed=0), ["norm.eps"]) == [
        "optimizer.lr"
    ]


def test_options_of_a_setting_that_differs_explain_nothing_more():
    arm = pd.DataFrame({"optimizer": ["adam"] * 2, "optimizer.lr": [0.1, 0.2]})
    baseline = pd.DataFrame({"optimizer": ["sgd"] * 2, "optimizer.lr": [0.3, 0.3]})
    arm["optimizer._target_"] = "Adam"
    baseline["optimizer._target_"] = "SGD"
    assert differences(arm.assign(seed=0), baseline.assign(seed=0), ["norm"]) == {
        "optimizer": ("adam", "sgd"),
        "optimizer.lr": ("0.1, 0.2", "0.3"),
    }


@pytest.mark.parametrize(("count", "end"), [(4, "d"), (5, "d and 1 more")])
def test_four_settings_of_runs_with_one_seed_are_named(count, end):
    settings = {f"model.{letter}": [1, 2] for letter in "abcde"[:count]}
    runs = pd.DataFrame({"norm": "none", "seed": 0, **settings})
    names = "model.a, model.b, model.c, model."
    with pytest.raises(ValueError) as error:
        check_one_run_each(runs, ["norm"], ["norm"], "At x=1, ")
    assert str(error.value) == (
        "At x=1, several runs share seed 0 (2 runs); they differ in "
        f"{names}{end}: add them to `within`"
    )


def test_runs_without_an_origin_have_none_to_warn_about():
    assert origin_warnings(pd.DataFrame({"seed": [0, 1]})) == []


def test_folds_and_further_seeds_repeat_a_run(tmp_path):
    for fold in (0, 1):
        write_run(
            tmp_path,
            "none",
            0,
            settings={"dataset.fold": fold, "dataset.split_seed": 7},
        )
    runs = load_runs(tmp_path)
    assert pairing_keys(runs) == ["seed", "dataset.fold"]
    assert distinguishing_settings(runs, ["norm"]) == []


def test_an_unknown_setting_lists_those_that_vary_first(tmp_path):
    for lr in (0.1, 0.01):
        write_run(tmp_path, "none", 0, settings={"optimizer.lr": lr})
    with pytest.raises(
        ValueError,
        match=(
            "no setting 'foo'; known are optimizer.lr, dataset, model, .* and [0-9]+ "
            "more"
        ),
    ):
        check_keys(load_runs(tmp_path), ["foo"])
