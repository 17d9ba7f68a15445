"""How many times sooner an arm reaches a target than the baseline."""

import math

import numpy as np
import pandas as pd
import pytest
from compare.helpers import write_run

from normlab.compare import load_runs
from normlab.config.claim_rules import RULES
from normlab.study.comparing import judge_speeds
from normlab.study.definition import Study
from normlab.study.target_ratio import BEST, WORST, speeds_of
from normlab.study.verdict import answer
from study.helpers import plan

EPOCHS = 12
FINAL = {"metric": "val/loss", "target": "final"}
AT_HALF = {"metric": "val/accuracy", "target": 0.5}


def curve(reached, epochs=EPOCHS):
    """An accuracy that rises to 0.5 in one epoch, and never if that is 0."""
    place = reached or epochs + 1
    return [0.1] * (place - 1) + [0.5] * max(epochs - place + 1, 0)


def write_curves(outputs, arms, **options):
    """A run per seed that reaches the target in this epoch, and never at 0."""
    for norm, epochs in arms.items():
        for seed, reached in enumerate(epochs):
            write_run(outputs, norm, seed, 0.5, curve=curve(reached), **options)
    return load_runs(outputs)


def claim(**others):
    block = plan(expect="higher", ratio_to_target=AT_HALF)
    return block | block["claims"][0] | others


def column(speeds, bound):
    table = speeds.table(bound)
    rows = zip(table["norm"], table["seed"], table["status"], strict=True)
    return dict(zip(rows, 10 ** -table[speeds.column], strict=True))


@pytest.mark.parametrize(("clock", "unit"), [("epochs", 1), ("steps", 18)])
def test_times_are_those_of_the_first_epoch_that_reaches_the_target(
    tmp_path, clock, unit
):
    runs = write_curves(tmp_path, {"torch": [6, 12], "custom": [2, 3]})
    asked = claim(ratio_to_target=AT_HALF | {"clock": clock})
    speeds = speeds_of(asked, runs)
    assert not speeds.is_censored
    assert speeds.column == f"log10 1/{clock} to val/accuracy 0.5000"
    expected = {("torch", 0): 6, ("torch", 1): 12, ("custom", 0): 2, ("custom", 1): 3}
    for bound in (WORST, BEST):
        found = column(speeds, bound)
        for (norm, seed), epochs in expected.items():
            time = found[norm, seed, "finished"]
            assert time == pytest.approx(epochs * unit)


def test_seconds_are_those_of_optimizer_steps(tmp_path):
    for norm, milliseconds in {"torch": 2.0, "custom": 0.5}.items():
        result = {"step_milliseconds": milliseconds}
        write_run(tmp_path, norm, 0, curve=curve(6), result=result)
    asked = claim(ratio_to_target=AT_HALF | {"clock": "seconds"})
    found = column(speeds_of(asked, load_runs(tmp_path)), WORST)
    assert found["torch", 0, "finished"] == pytest.approx(6 * 18 * 0.002)
    assert found["custom", 0, "finished"] == pytest.approx(6 * 18 * 0.0005)
    write_run(tmp_path, "ghost", 0, curve=curve(6))
    with pytest.raises(ValueError, match="and 1 of 3 runs do not have it, such as"):
        speeds_of(asked | {"arms": ["custom", "ghost"]}, load_runs(tmp_path))


@pytest.mark.parametrize("milliseconds", [0.0, -2.0, "fast"])
def test_what_is_no_time_of_a_step_is_refused(tmp_path, milliseconds):
    write_run(tmp_path, "torch", 0, curve=curve(6), result={"step_milliseconds": 2.0})
    result = {"step_milliseconds": milliseconds}
    write_run(tmp_path, "custom", 0, curve=curve(6), result=result)
    asked = claim(ratio_to_target=AT_HALF | {"clock": "seconds"})
    with pytest.raises(ValueError, match="and 1 of 2 runs do not have it, such as"):
        speeds_of(asked, load_runs(tmp_path))


def test_a_target_may_be_the_last_or_best_value_of_the_baseline(tmp_path):
    write_run(tmp_path, "torch", 0, curve=[0.3, 0.6, 0.4])
    write_run(tmp_path, "custom", 0, curve=[0.4, 0.4, 0.7])
    write_run(tmp_path, "custom", 1, curve=[0.9, 0.9, 0.9])
    runs = load_runs(tmp_path)
    asked = claim(ratio_to_target=FINAL | {"clock": "epochs"})
    speeds = speeds_of(asked, runs)
    assert speeds.column == "log10 1/epochs to the final val/loss of torch"
    found = column(speeds, WORST)
    assert found == {
        ("torch", 0, "finished"): pytest.approx(2),  # 0.6 passes the last value, 0.4
        ("custom", 0, "finished"): pytest.approx(1),
    }
    assert speeds.reason == (
        "1 of 3 runs have no target, since torch did not finish or has no curve at the "
        "same seed"
    )
    asked = claim(ratio_to_target=FINAL | {"clock": "epochs", "target": "best"})
    found = column(speeds_of(asked, runs), WORST)
    assert found["custom", 0, "finished"] == pytest.approx(3)


def test_runs_that_never_reach_the_target_have_extreme_times(tmp_path):
    runs = write_curves(tmp_path, {"torch": [6, 0], "custom": [0, 3]})
    speeds = speeds_of(claim(ratio_to_target=AT_HALF | {"clock": "epochs"}), runs)
    assert speeds.is_censored
    worst = column(speeds, WORST)
    assert worst["torch", 1, "finished"] == pytest.approx(EPOCHS)
    assert np.isnan(worst["custom", 0, "diverged"])
    best = column(speeds, BEST)
    assert np.isnan(best["torch", 1, "diverged"])
    assert best["custom", 0, "finished"] == pytest.approx(EPOCHS)
    assert speeds.note("torch", WORST) == (
        " 1 of 2 runs of torch never reached the target and count with the length of "
        "training."
    )
    assert speeds.note("custom", WORST) == (
        " 1 of 2 runs of custom never reached the target and count as slower than all."
    )
    assert speeds.note("custom", BEST).endswith("count with the length of training.")


def test_a_diverged_run_never_reaches_the_target_unless_it_has(tmp_path):
    write_curves(tmp_path, {"torch": [6, 6], "custom": [0]}, status="diverged")
    write_curves(tmp_path, {"ghost": [6]})
    speeds = speeds_of(claim(arms=["custom", "ghost"]), load_runs(tmp_path))
    assert not speeds.is_censored
    statuses = {key[0]: key[2] for key in column(speeds, WORST)}
    expected = {"torch": "finished", "custom": "diverged", "ghost": "finished"}
    assert statuses == expected


SLOW = [8, 9, 10, 8, 9, 10, 8, 9, 10, 12]
FAST = [4, 3, 4, 3, 3, 4, 4, 3, 4, 4]


def judged(tmp_path, torch, custom, cases):
    """The verdicts by what is expected and the margin."""
    speeds = speeds_of(
        claim(), write_curves(tmp_path, {"torch": torch, "custom": custom})
    )
    verdicts = {}
    for expect, margin in cases:
        asked = claim(expect=expect, margin=margin)
        verdicts[expect, margin], _ = judge_speeds(asked, speeds)
    return verdicts


def check(tmp_path, torch, custom, cases):
    assert judged(tmp_path, torch, custom, cases) == cases


def test_ratios_of_runs_that_all_reach_the_target(tmp_path):
    cases = {
        ("higher", None): "supported",
        ("higher", 2): "supported",
        ("higher", 2.5): "cannot tell",
        ("higher", 4): "contradicted",
        ("lower", None): "contradicted",
        ("equal", 1.5): "contradicted",
    }
    check(tmp_path / "a", SLOW, FAST, cases)
    check(tmp_path / "b", FAST, SLOW, {("lower", 2): "supported"})
    cases = {("equal", 1.5): "supported", ("not_worse", 1.5): "supported"}
    check(tmp_path / "c", SLOW, SLOW[::-1], cases)


def test_a_baseline_that_never_arrives_takes_at_least_its_training(tmp_path):
    cases = {
        ("higher", 2): "supported",  # the ratio is at least 12 / FAST
        ("higher", 4): "cannot tell",
        ("lower", None): "contradicted",
        ("equal", 1.5): "cannot tell",
    }
    check(tmp_path, [0] * 10, FAST, cases)


def test_an_arm_that_never_arrives_is_slower_by_an_unknown_factor(tmp_path):
    cases = {
        ("higher", None): "contradicted",
        ("lower", 2): "supported",
        ("lower", 4): "cannot tell",
        ("not_worse", 2): "contradicted",
    }
    check(tmp_path / "a", FAST, [0] * 10, cases)
    # Eight pairs are in favour, and two runs of the arm may take for ever.
    check(tmp_path / "b", SLOW, [0, 0, *FAST[2:]], {("higher", 2): "cannot tell"})
    check(tmp_path / "c", [0] * 10, [0] * 10, {("higher", None): "cannot tell"})


def test_a_margin_is_not_exceeded_by_the_runs_that_arrive_alone(tmp_path):
    cases = {("higher", 2): "cannot tell", ("higher", None): "supported"}
    check(tmp_path, [8, 9, 11, 12] * 5, [3] * 19 + [0], cases)


def test_the_sentence_has_the_geometric_mean_of_the_ratios(tmp_path):
    runs = write_curves(tmp_path, {"torch": SLOW, "custom": [0, *FAST[1:]]})
    block = plan(expect="higher", ratio_to_target=AT_HALF)
    study = Study("demo", block, "demo", {"norm": "torch,custom", "seed": "range(10)"})
    _, claims, _ = answer(study, runs)
    # The ranks of nine wins, 1 to 9, and of the largest loss, 10: p = 0.08.
    assert claims[0].verdict == "cannot tell"
    assert claims[0].rule.startswith(f"{RULES['higher']}; a difference is the logar")
    row = claims[0].comparison.contrasts.iloc[0]
    ratios = np.array(SLOW[1:]) / np.array(FAST[1:])
    assert row["difference"] == pytest.approx(np.log10(ratios).mean())
    assert row["sentence"].endswith(
        " Times are known to one epoch. 1 of 10 runs of custom never reached the "
        "target and count as slower than all."
    )
    assert math.isfinite(row["low"])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"metric": "val/f1", "target": 0.5},
            "needs val/f1 in metrics.csv, no run has",
        ),
        (FINAL, "no run of ghost has a val/loss for the others to reach"),
    ],
)
def test_without_curve_or_target_there_is_no_ratio(tmp_path, asked, message):
    runs = write_curves(tmp_path, {"torch": [6], "custom": [2]})
    with pytest.raises(ValueError, match=message):
        speeds_of(claim(ratio_to_target=asked, baseline="ghost", arms=None), runs)


def test_every_arm_may_choose_a_setting_first(tmp_path):
    for lr, accuracy, epoch in ((0.1, 0.9, 4), (1.0, 0.8, 2)):
        settings = {"optimizer.lr": lr}
        for norm in ("torch", "custom"):
            write_run(
                tmp_path, norm, 0, accuracy, settings=settings, curve=curve(epoch)
            )
    runs = load_runs(tmp_path)
    with pytest.raises(ValueError, match="there are several with arm=custom seed=0"):
        speeds_of(claim(), runs)
    speeds = speeds_of(claim(select="optimizer.lr"), runs)
    assert set(speeds.runs["optimizer.lr"]) == {0.1}
    assert isinstance(speeds.table(WORST), pd.DataFrame)
