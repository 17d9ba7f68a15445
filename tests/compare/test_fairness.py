"""Arms that differ in more than what is compared."""

import pandas as pd
import pytest

from compare.helpers import write_seeds
from normlab.compare import compare, load_runs
from normlab.compare.arm_checks import DIFFERENT, SAME
from normlab.compare.fairness import start_warnings

VALUES = [0.90, 0.92, 0.94]
ALONE = "each of 2 processes normalizes its own share of a batch"


def arm(folder, norm, sync=None, **result):
    settings = {"device.devices": 2} | ({} if sync is None else {"norm.sync": sync})
    write_seeds(folder, {norm: VALUES}, settings=settings, result=result)


def checks(folder, name, **options):
    found = compare(load_runs(folder), **options)
    return [
        (check.result, check.message, check.warns)
        for check in found.checks
        if check.name == name
    ], found.warnings


def test_norms_without_sync_normalize_a_share_of_the_batch(tmp_path):
    arm(tmp_path, "custom", sync=True, synchronized=True)
    arm(tmp_path, "batch_renorm", synchronized=False)
    arm(tmp_path, "group", synchronized=None)
    told = (
        "Of several processes, batch_renorm normalizes the share of each, custom the "
        "whole batch."
    )
    found, warnings = checks(tmp_path, "synchronization")
    assert found == [(DIFFERENT, told, True)]
    assert told in warnings


def test_synchronization_is_compared_among_all_arms(tmp_path):
    arm(tmp_path, "none", synchronized=None)
    arm(tmp_path, "custom", sync=False, synchronized=False)
    arm(tmp_path, "torch", sync=True, synchronized=True)
    told = (
        "Of several processes, custom normalizes the share of each, torch the whole "
        "batch."
    )
    assert checks(tmp_path, "synchronization")[0] == [(DIFFERENT, told, True)]


def test_results_without_a_record_go_by_the_setting(tmp_path):
    arm(tmp_path, "none")
    arm(tmp_path, "custom", sync=True)
    arm(tmp_path, "torch", sync=False)
    told = (
        "Of several processes, torch normalizes the share of each, custom the whole "
        "batch."
    )
    assert checks(tmp_path, "synchronization")[0] == [(DIFFERENT, told, True)]


@pytest.mark.parametrize(
    ("value", "what"), [(True, "the whole batch"), (False, "the share of each")]
)
def test_arms_that_synchronize_alike_are_the_same(tmp_path, value, what):
    arm(tmp_path, "none", synchronized=None)
    for norm in ("custom", "torch"):
        arm(tmp_path, norm, sync=value, synchronized=value)
    told = (
        f"Of several processes, every norm that looks at the batch normalizes {what}."
    )
    assert checks(tmp_path, "synchronization")[0] == [(SAME, told, False)]


def test_cautions_are_repeated_with_the_arms_that_have_them(tmp_path):
    write_seeds(
        tmp_path, {"none": VALUES}, result={"cautions": ["1 sample is left over"]}
    )
    write_seeds(
        tmp_path,
        {"custom": VALUES},
        result={"cautions": ["1 sample is left over", ALONE]},
    )
    write_seeds(
        tmp_path,
        {"torch": VALUES},
        result={"cautions": [ALONE, "1 sample is left over"]},
    )
    found, warnings = checks(tmp_path, "cautions")
    assert found == [
        (SAME, "All arms: 1 sample is left over.", False),
        (DIFFERENT, f"custom, torch: {ALONE}.", True),
    ]
    assert f"custom, torch: {ALONE}." in warnings
    assert not any("left over" in text for text in warnings)


def test_cautions_are_read_from_a_table(tmp_path):
    write_seeds(tmp_path / "runs", {"none": VALUES, "custom": VALUES})
    write_seeds(tmp_path / "runs", {"torch": VALUES}, result={"cautions": [ALONE]})
    runs = load_runs(tmp_path / "runs")
    runs.to_csv(tmp_path / "runs.csv", index=False)
    read = pd.read_csv(tmp_path / "runs.csv")
    told = [each for each in compare(read).checks if each.name == "cautions"]
    wanted = [each for each in compare(runs).checks if each.name == "cautions"]
    assert told == wanted
    assert len(told) == 1


def test_cautions_of_some_groups_name_them(tmp_path):
    for rate, cautions in ((0.1, []), (0.2, [ALONE]), (0.3, [ALONE])):
        write_seeds(tmp_path, {"none": VALUES}, settings={"optimizer.lr": rate})
        write_seeds(
            tmp_path,
            {"custom": VALUES},
            settings={"optimizer.lr": rate},
            result={"cautions": cautions},
        )
    told = f"At optimizer.lr=0.2; optimizer.lr=0.3, custom: {ALONE}."
    assert checks(tmp_path, "cautions")[0] == [(DIFFERENT, told, True)]


def start(weights, parameters=110, norms=10):
    return {
        "initial_weights": weights,
        "num_parameters": parameters,
        "num_norm_parameters": norms,
    }


def test_arms_with_the_same_start_need_no_warning():
    settings = [
        {"norm": norm, "seed": seed} for norm in ("none", "custom") for seed in "01"
    ]
    assert (
        start_warnings(
            settings, [start("a", 100, 0), start("b", 100, 0), start("a"), start("b")]
        )
        == []
    )


def test_arms_with_different_starts_are_named():
    settings = [
        {"norm": norm, "seed": seed}
        for norm in ("none", "custom", "torch")
        for seed in "01"
    ]
    results = [
        start("a", 100, 0),
        start("b", 100, 0),
        start("a"),
        start("c"),
        start("a", 113),
        {"status": "failed"},
    ]
    assert start_warnings(settings, results) == [
        "custom and none start from other weights in 1 of 2 pairs of runs.",
        (
            "torch has 113 parameters, 10 of them the norm's; none 100, 0 of them the "
            "norm's: 3 more outside of the norm."
        ),
    ]


def test_without_an_arm_none_the_first_by_name_is_the_baseline():
    settings = [{"norm": norm} for norm in ("torch", "custom")]
    assert start_warnings(settings, [start("a"), start("b")]) == [
        "torch and custom start from other weights in 1 of 1 pairs of runs."
    ]


def test_starts_are_compared_within_groups():
    settings = [
        {"norm": norm, "model": model}
        for model in ("mlp", "vgg")
        for norm in ("none", "custom")
    ]
    assert (
        start_warnings(settings, [start("a"), start("a"), start("b"), start("b")]) == []
    )
    assert start_warnings(
        settings, [start("a"), start("a"), start("b"), start("c")]
    ) == [
        "At model=vgg, custom and none start from other weights in 1 of 1 pairs of "
        "runs."
    ]


def test_sweeps_over_other_settings_have_no_arms():
    settings = [{"optimizer.lr": rate} for rate in ("0.1", "0.2")]
    assert start_warnings(settings, [start("a"), start("b")]) == []
