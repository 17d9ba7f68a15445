"""Arms that differ in where they come from, or in how long they trained."""

import pandas as pd
import pytest

from compare.helpers import ENVIRONMENT, write_seeds
from normlab.compare import compare, load_runs
from normlab.compare.arm_checks import DIFFERENT, SAME, UNKNOWN, ArmPair
from normlab.compare.origin_checks import data, length, origin

RUN = {
    "status": "finished",
    "seed": 0,
    "data_digest": "a",
    "dataset.root": None,
    "epochs": 30,
    "trainer.max_epochs": 30,
    "trainer.patience": None,
    "environment.git.commit": "0123456789abcdef",
    "environment.packages.numpy": "2.4.6",
}
VALUES = [0.90, 0.92, 0.94]


def pair(arm, baseline, by=("norm",)):
    tables = []
    for changes in (arm, baseline):
        rows = [RUN | {"seed": seed} | changes for seed in (0, 1)]
        tables.append(pd.DataFrame(rows).astype({"trainer.patience": object}))
    return ArmPair("", "custom", "none", *tables, list(by))


def test_arms_on_other_data_under_one_name_are_named():
    (check,) = data(pair({"data_digest": "b"}, {}))
    assert (check.result, check.warns) == (DIFFERENT, True)
    assert check.message == (
        "custom and none were trained and tested on different data, as sizes or a "
        "sample show (digest b against a)."
    )
    (check,) = data(pair({"dataset.root": "x"}, {"dataset.root": "y"}))
    assert (check.result, check.warns) == (SAME, False)  # a copy of the same data
    assert list(data(pair({"data_digest": "b"}, {}, by=["dataset"]))) == []


@pytest.mark.parametrize("key", ["dataset.root", "dataset.load.root"])
def test_folders_stand_in_for_digests_that_were_not_stored(key):
    old = {"data_digest": None}
    (check,) = data(pair(old | {key: "x"}, old | {key: "y"}))
    assert (check.result, check.warns) == (UNKNOWN, True)
    assert check.message.startswith("custom and none read their data from x and y")
    (check,) = data(pair(old, {}))
    assert (check.result, check.warns) == (UNKNOWN, False)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("packages.numpy", "1.0", "numpy 1.0 against 2.4.6"),
        ("git.commit", "f" * 40, "commit ffffffffff against 0123456789"),
    ],
)
def test_origins_that_coincide_with_the_arms_are_named(key, value, told):
    (check,) = origin(pair({f"environment.{key}": value}, {}))
    assert (check.result, check.warns) == (DIFFERENT, True)
    assert check.message == (
        "custom and none were made by different code, versions or machines, which may "
        f"explain a difference between them: {told}."
    )


def test_origins_that_do_not_coincide_are_the_same():
    mixed = {"environment.packages.numpy": ["1.0", "2.0"]}
    arms = pair({}, {})
    for runs in (arms.runs, arms.reference):
        runs["environment.packages.numpy"] = mixed["environment.packages.numpy"]
    assert [check.result for check in origin(arms)] == [SAME]
    unknown = {key: None for key in RUN if key.startswith("environment")}
    assert [check.result for check in origin(pair(unknown, {}))] == [UNKNOWN]


def test_an_arm_that_stopped_early_is_named_with_its_epochs():
    patient = {"trainer.patience": 3}
    (check,) = length(pair(patient | {"epochs": 5}, patient))
    assert (check.result, check.warns) == (DIFFERENT, True)
    assert check.message == (
        "custom and none trained for different numbers of epochs: a median of 5 "
        "against 30."
    )
    (check,) = length(pair(patient | {"epochs": 25}, patient))
    assert (check.result, check.warns) == (SAME, False)
    assert list(length(pair({"epochs": 5}, {}, by=["trainer.patience"]))) == []
    assert list(length(pair({"status": "diverged"}, {}))) == []


def test_runs_without_a_number_of_epochs_have_no_length():
    arms = pair({}, {})
    for runs in (arms.runs, arms.reference):
        del runs["epochs"]
    assert list(length(arms)) == []


def test_runs_that_end_early_without_a_reason_are_named():
    checks = list(length(pair({"epochs": 29}, {})))
    assert [check.message for check in checks if check.warns] == [
        "2 of 2 finished runs of custom ended before trainer.max_epochs, and no "
        "setting of theirs ends a run early."
    ]
    (check,) = length(pair({"epochs": 29, "trainer.patience": 3}, {}))
    assert not check.warns


def test_the_comparison_tells_versions_roots_and_lengths_by_arm(tmp_path):
    other = ENVIRONMENT | {"packages": ENVIRONMENT["packages"] | {"torchvision": "1"}}
    base = ENVIRONMENT | {"packages": ENVIRONMENT["packages"] | {"torchvision": "0"}}
    write_seeds(
        tmp_path,
        {"none": VALUES},
        settings={"dataset.root": "here"},
        environment=base,
    )
    write_seeds(
        tmp_path,
        {"custom": VALUES},
        settings={"dataset.root": "there"},
        environment=other,
        result={"epochs": 1},
    )
    found = compare(load_runs(tmp_path))
    for start in (
        "custom and none read their data from there and here",
        "custom and none were made by different code",
        "3 of 3 finished runs of custom ended before",
    ):
        assert any(line.startswith(start) for line in found.warnings), start
        assert any(check.message.startswith(start) for check in found.checks)
