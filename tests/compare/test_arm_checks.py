"""Checks of one arm against the baseline."""

import pandas as pd
import pytest

from normlab.compare.arm_checks import (
    DIFFERENT,
    SAME,
    UNKNOWN,
    ArmPair,
    Check,
    group_prefix,
    initial_weights,
    parameters,
    settings,
    steps,
    weight_decay,
)

RUN = {
    "norm": "none",
    "seed": 0,
    "status": "finished",
    "optimizer.lr": 0.1,
    "initial_weights": "a",
    "num_parameters": 1100,
    "num_norm_parameters": 0,
    "steps": 90,
    "epochs": 5,
}


def pair(arm, baseline, by=("norm",), prefix=""):
    """An arm and a baseline of two seeds, which differ from `RUN` in some values."""
    tables = []
    for norm, changes in (("custom", arm), ("none", baseline)):
        rows = [RUN | {"norm": norm, "seed": seed} | changes for seed in (0, 1)]
        tables.append(pd.DataFrame(rows))
    return ArmPair(prefix, "custom", "none", *tables, list(by))


def test_one_group_alone_needs_no_prefix():
    assert group_prefix("model=vgg") == "At model=vgg, "
    assert group_prefix("") == ""


def test_other_settings_are_named_with_both_values():
    message = "At x=1, custom and none also differ in optimizer.lr (0.2 against 0.1)."
    found = list(settings(pair({"optimizer.lr": 0.2}, {}, prefix="At x=1, ")))
    assert found == [Check("settings", DIFFERENT, message, warns=True)]
    alike = "All settings but norm (and what belongs to it) are alike."
    assert list(settings(pair({}, {}))) == [Check("settings", SAME, alike)]


@pytest.mark.parametrize(
    ("weights", "result", "end"),
    [
        ("a", SAME, "start from the same weights outside of the norm."),
        ("b", DIFFERENT, "start from other weights in 2 of 2 pairs of runs."),
        (None, UNKNOWN, "weights: their runs did not record their initial weights."),
    ],
)
def test_initial_weights_are_compared_by_seed(weights, result, end):
    (check,) = initial_weights(pair({"initial_weights": weights}, {}))
    assert check.result == result
    assert check.message.endswith(end)
    assert check.warns == (result != SAME)


def test_results_of_other_programs_have_no_first_weights():
    arms = pair({}, {})
    for runs in (arms.runs, arms.reference):
        del runs["initial_weights"]
    (check,) = initial_weights(arms)
    assert (check.result, check.warns) == (UNKNOWN, False)


@pytest.mark.parametrize("recorded", [True, False])
def test_what_no_run_records_is_said_once_for_all_arms(recorded):
    found = []
    for place in ("At task=a, ", "At task=b, "):
        arms = pair({"initial_weights": None}, {"initial_weights": None}, prefix=place)
        if not recorded:
            del arms.runs["initial_weights"], arms.reference["initial_weights"]
        found += initial_weights(arms)
    assert len(set(found)) == 1
    assert found[0].warns == recorded


def test_arms_without_common_seeds_need_no_second_warning():
    seeds = pair({"initial_weights": None}, {})
    seeds.runs["seed"] += 2
    (check,) = initial_weights(seeds)
    assert check.message == "custom and none share no seed."
    assert (check.result, check.warns) == (UNKNOWN, False)


def test_arms_that_are_other_networks_may_start_from_other_weights():
    models = pair({"initial_weights": "b", "num_parameters": 1}, {}, by=["model"])
    assert list(initial_weights(models)) == []
    assert list(parameters(models)) == []


@pytest.mark.parametrize(
    ("total", "own", "result", "end"),
    [
        (1100, 0, SAME, "none 1,100, 0 of them the norm's."),
        (1120, 20, DIFFERENT, "none 1,100, 0 of them the norm's."),
        (1123, 20, DIFFERENT, "0 of them the norm's: 3 more outside of the norm."),
        (1118, 20, DIFFERENT, "0 of them the norm's: 2 fewer outside of the norm."),
    ],
)
def test_only_parameters_of_the_norm_may_differ(total, own, result, end):
    arm = {"num_parameters": total, "num_norm_parameters": own}
    (check,) = parameters(pair(arm, {}))
    assert check.result == result
    assert check.message.startswith(f"custom has {total:,} parameters, {own} of them")
    assert check.message.endswith(end)
    assert check.warns == ("outside" in end)


@pytest.mark.parametrize("column", ["num_parameters", "num_norm_parameters"])
@pytest.mark.parametrize("side", [0, 1])
def test_parameters_of_an_arm_of_which_no_run_began_are_not_known(column, side):
    changes = [{}, {}]
    changes[side] = {"status": "failed", column: None}
    (check,) = parameters(pair(*changes))
    assert (check.result, check.warns) == (UNKNOWN, False)


def test_a_different_number_of_steps_per_epoch_is_named():
    message = (
        "custom and none take a different number of steps per epoch in 2 of 2 pairs."
    )
    found = list(steps(pair({"steps": 95}, {})))
    assert found == [Check("steps per epoch", DIFFERENT, message, warns=True)]
    assert [check.result for check in steps(pair({"steps": 36, "epochs": 2}, {}))] == [
        SAME
    ]
    assert list(steps(pair({"steps": 95, "status": "diverged"}, {}))) == []


def test_runs_without_a_number_of_steps_or_epochs_are_not_checked():
    for column in ("steps", "epochs"):
        arms = pair({}, {})
        for runs in (arms.runs, arms.reference):
            del runs[column]
        assert list(steps(arms)) == []


@pytest.mark.parametrize(
    ("decay", "on_norms", "results"),
    [(0.1, True, [DIFFERENT]), (0.1, False, [SAME]), (0.0, True, [])],
)
def test_weight_decay_of_the_norm_is_named(decay, on_norms, results):
    changes = {"optimizer.weight_decay": decay, "optimizer.decay_rank_one": on_norms}
    found = list(weight_decay(pair(changes, changes)))
    assert [check.result for check in found] == results
