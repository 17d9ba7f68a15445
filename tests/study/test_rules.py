"""The rules that turn the numbers of a comparison into a verdict."""

import numpy as np
import pytest
from compare.helpers import write_run, write_seeds

from normlab.compare import compare, load_runs
from normlab.study.rules import judge
from study.helpers import NOISE


def test_claims_of_equality_need_no_correction(tmp_path):
    for seed in range(10):
        gain = 0.007 + 8.5 * NOISE[seed]
        level = 0.9 + 30 * NOISE[seed]
        for norm, value in (
            ("torch", level),
            ("custom", level + gain),
            ("ghost", level + gain),
        ):
            write_run(tmp_path, norm, seed, value)
    comparison = compare(load_runs(tmp_path), baseline="torch", margin=0.01)
    once, corrected = (
        comparison.contrasts["equivalence_p"].iloc[0],
        comparison.contrasts["equivalence_p_holm"].iloc[0],
    )
    assert once < 0.05 < corrected
    assert judge(comparison, "equal", 10) == (
        "supported",
        (
            f"every difference is inside ±0.0100 by two one-sided tests, the largest "
            f"p = {once:.3f}."
        ),
    )


@pytest.fixture
def gain(tmp_path):
    """custom is better than torch by 0.02 in ten seeds."""
    write_seeds(tmp_path, {"torch": 0.95 + NOISE, "custom": 0.97 - NOISE})
    return compare(load_runs(tmp_path), baseline="torch", margin=0.005)


def test_a_direction_is_supported_by_a_significant_difference(gain):
    sentence = gain.contrasts["sentence"][0]
    assert judge(gain, "higher", 10) == ("supported", sentence)
    assert judge(gain, "lower", 10) == ("contradicted", sentence)
    assert judge(gain, "equal", 10) == ("contradicted", sentence)


def claim_on(tmp_path, gain, sd, expect, margin=0.005):
    """The verdict on a claim, for differences with this mean and SD."""
    spread = NOISE / NOISE.std(ddof=1)
    differences = gain + sd * (spread - spread.mean())
    base = 0.9 + 2 * NOISE
    write_seeds(tmp_path, {"torch": base, "custom": base + differences})
    comparison = compare(load_runs(tmp_path), baseline="torch", margin=margin)
    return judge(comparison, expect, 10)


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [
        # The interval reaches about 0.002 to either side.
        (0.0075, "supported"),
        (0.0060, "cannot tell"),
        (0.0040, "cannot tell"),
        (0.0025, "contradicted"),
        (0.0, "contradicted"),
        (-0.01, "contradicted"),
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_direction_is_judged_at_the_margin(tmp_path, gain, verdict, sign):
    expect = "higher" if sign > 0 else "lower"
    assert claim_on(tmp_path, sign * gain, 0.0028, expect)[0] == verdict


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [(0.003, "supported"), (0.001, "cannot tell"), (-0.003, "contradicted")],
)
def test_without_a_margin_a_direction_is_judged_at_zero(tmp_path, gain, verdict):
    assert claim_on(tmp_path, gain, 0.0028, "higher", margin=None)[0] == verdict


def test_a_shown_difference_may_leave_the_margin_open(tmp_path):
    verdict, reason = claim_on(tmp_path, 0.006, 0.0028, "higher")
    assert verdict == "cannot tell"
    assert reason.startswith("custom does better than torch")
    assert reason.endswith(
        " Whether it exceeds the margin of 0.0050 cannot be told. With 80 % power, "
        "this number of runs shows it if the difference is 0.0078."
    )


def test_diverged_runs_count_as_seeds_and_as_losses(tmp_path):
    for seed in range(10):
        write_run(tmp_path, "custom", seed, 0.9 + NOISE[seed])
        write_run(tmp_path, "torch", seed, 0.9, "diverged")
    found = compare(load_runs(tmp_path), baseline="torch")
    assert judge(found, "higher", 10)[0] == "supported"
    assert judge(found, "lower", 10)[0] == "contradicted"
    # Nobody knows by how much.
    margin = compare(load_runs(tmp_path), baseline="torch", margin=0.005)
    assert judge(margin, "higher", 10)[0] == "cannot tell"
    assert judge(margin, "equal", 10)[0] == "cannot tell"


def test_equality_is_not_claimed_of_arms_that_spread_otherwise(tmp_path):
    base = 0.9 + 2 * NOISE
    write_seeds(tmp_path, {"torch": base, "custom": 0.9 + 0.5 * NOISE})
    found = compare(load_runs(tmp_path), baseline="torch", margin=0.01)
    assert found.contrasts["equivalence_p"][0] < 0.001
    verdict, reason = judge(found, "equal", 10)
    assert verdict == "cannot tell"
    assert "the runs of torch spread 4.0 times as much as those of the other" in reason


def test_contradicting_intervals_hold_for_all_contrasts(tmp_path):
    spread = NOISE / NOISE.std(ddof=1)
    base = 0.9 + 2 * NOISE
    # Alone the interval of custom begins above the margin; among six it does not.
    arms = {"torch": base, "custom": base + 0.0071 + 0.0028 * spread}
    others = ("ghost", "layer", "group", "batch", "instance")
    write_seeds(tmp_path, arms)
    alone = compare(load_runs(tmp_path), baseline="torch", margin=0.005)
    assert judge(alone, "equal", 10)[0] == "contradicted"
    write_seeds(tmp_path, dict.fromkeys(others, base + 0.001 * spread[::-1]))
    among = compare(load_runs(tmp_path), baseline="torch", margin=0.005)
    assert judge(among, "equal", 10)[0] == "cannot tell"


def test_arms_without_runs_cannot_be_judged(gain):
    assert judge(gain, "higher", 10, ["custom", "ghost", 8]) == (
        "cannot tell",
        "there are no runs of ghost, 8 beside the baseline",
    )


def test_too_few_seeds_cannot_be_judged(gain):
    assert judge(gain, "higher", 11) == (
        "cannot tell",
        "custom against torch has 10 of 11 seeds",
    )


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [
        # The interval reaches about 0.002 to either side; the margin is 0.005.
        (0.02, "supported"),
        (0.0, "supported"),
        (-0.0025, "supported"),
        (-0.0045, "cannot tell"),
        (-0.0060, "cannot tell"),
        (-0.0080, "contradicted"),
    ],
)
def test_an_arm_is_not_worse_up_to_the_margin(tmp_path, gain, verdict):
    spread = (NOISE - NOISE.mean()) / NOISE.std(ddof=1)
    base = 0.9 + 0.004 * spread
    write_seeds(tmp_path, {"torch": base, "custom": base + gain + 0.0028 * spread})
    comparison = compare(load_runs(tmp_path), baseline="torch", margin=0.005)
    assert judge(comparison, "not_worse", 10)[0] == verdict


def test_an_arm_that_is_better_is_not_worse_however_it_spreads(tmp_path):
    assert claim_on(tmp_path, 0.02, 0.0028, "not_worse")[0] == "supported"
    assert claim_on(tmp_path, 0.0, 0.0028, "not_worse")[0] == "cannot tell"


def test_a_lower_loss_is_not_worse(tmp_path):
    base = 0.5 + 2 * NOISE
    write_seeds(tmp_path, {"torch": base, "custom": base - 0.02 + NOISE[::-1]})
    runs = load_runs(tmp_path).rename(columns={"test/accuracy": "test/loss"})
    found = compare(runs, baseline="torch", metric="test/loss", margin=0.005)
    assert judge(found, "not_worse", 10)[0] == "supported"
    runs["test/loss"] = -runs["test/loss"]
    found = compare(runs, baseline="torch", metric="test/loss", margin=0.005)
    assert judge(found, "not_worse", 10)[0] == "contradicted"


def test_arms_that_spread_otherwise_may_be_worse(tmp_path):
    base = 0.9 + 2 * NOISE
    write_seeds(tmp_path, {"torch": base, "custom": 0.9 + 0.5 * NOISE})
    found = compare(load_runs(tmp_path), baseline="torch", margin=0.01)
    verdict, reason = judge(found, "not_worse", 10)
    assert verdict == "cannot tell"
    assert "Whether it is worse by 0.0100 cannot be told: the runs of torch" in reason


def test_diverged_runs_are_not_worse_only_if_the_baseline_has_them(tmp_path):
    for seed in range(10):
        write_run(tmp_path, "custom", seed, 0.9 + NOISE[seed])
        write_run(tmp_path, "torch", seed, 0.9, "diverged")
    found = compare(load_runs(tmp_path), baseline="torch", margin=0.005)
    assert judge(found, "not_worse", 10)[0] == "supported"
    found = compare(load_runs(tmp_path), baseline="custom", margin=0.005)
    assert judge(found, "not_worse", 10)[0] == "cannot tell"


def test_the_wins_must_agree_that_a_claim_is_contradicted(tmp_path):
    base = 0.9 + 0.0001 * np.arange(20)
    is_loss = np.arange(20) % 3 == 1  # 7 of 20
    arm = base + np.where(is_loss, -0.03, 0.002)
    write_seeds(tmp_path, {"torch": base, "custom": arm})
    found = compare(load_runs(tmp_path), baseline="torch")
    row = found.contrasts.iloc[0]
    assert (row["test"], row["p"]) == ("mean and wins", 1)
    assert row["high_all"] < 0
    verdict, reason = judge(found, "higher", 10)
    assert verdict == "cannot tell"
    assert reason.startswith("No difference in test/accuracy")
    # That it is not higher by 0.005 follows from the interval of the mean.
    found = compare(load_runs(tmp_path), baseline="torch", margin=0.005)
    assert judge(found, "higher", 10)[0] == "contradicted"


def test_nothing_is_contradicted_without_a_test(tmp_path):
    base = np.array([0.95, 0.951, 0.949])
    write_seeds(tmp_path, {"torch": base, "custom": base - [0.020, 0.021, 0.022]})
    found = compare(load_runs(tmp_path), baseline="torch")
    assert found.contrasts["high_all"][0] < 0
    verdict, reason = judge(found, "higher", 3)
    assert verdict == "cannot tell"
    assert reason.startswith("Cannot tell with 3 seeds")
    found = compare(load_runs(tmp_path), baseline="torch", margin=0.005)
    assert judge(found, "not_worse", 3)[0] == "cannot tell"


def test_a_test_that_cannot_pass_for_several_contrasts_is_none(tmp_path):
    base = 0.9 + NOISE[:6]
    lower = base - 0.02 + 0.1 * NOISE[4:]
    write_seeds(tmp_path, {"torch": base, "custom": lower, "ghost": lower})
    both = compare(load_runs(tmp_path), baseline="torch")
    # 6 pairs give no p below 0.031, which is twice as much for two contrasts.
    assert both.contrasts["high_all"][0] < 0
    assert judge(both, "higher", 6)[0] == "cannot tell"
    alone = compare(load_runs(tmp_path), baseline="torch", arms=["custom"])
    assert judge(alone, "higher", 6)[0] == "contradicted"


def write_lost(folder, lost):
    """custom is better than torch by 0.05 in 20 seeds, of which one arm lost one."""
    for norm, gain in (("torch", 0.0), ("custom", 0.05)):
        for seed in range(20):
            status = "diverged" if (norm, seed) == (lost, 19) else "finished"
            write_run(folder, norm, seed, 0.9 + gain + 0.0001 * seed, status)


def test_an_arm_that_lost_runs_exceeds_no_margin(tmp_path):
    write_lost(tmp_path, "custom")
    found = compare(load_runs(tmp_path), baseline="torch", margin=0.01)
    row = found.contrasts.iloc[0]
    assert (row["test"], row["verdict"]) == ("ranks", "better")
    assert row["low_holm"] > 0.01
    verdict, reason = judge(found, "higher", 10)
    assert verdict == "cannot tell"
    assert reason.endswith("Whether it exceeds the margin of 0.0100 cannot be told.")
    assert judge(found, "equal", 10)[0] == "cannot tell"
    # Without a margin, ranks suffice.
    found = compare(load_runs(tmp_path), baseline="torch")
    assert judge(found, "higher", 10)[0] == "supported"
    # As the baseline, it is the better side too.
    found = compare(load_runs(tmp_path), baseline="custom", margin=0.01)
    assert judge(found, "lower", 10)[0] == "cannot tell"
    assert judge(found, "equal", 10)[0] == "cannot tell"


def test_runs_that_the_worse_arm_lost_leave_the_margin_exceeded(tmp_path):
    write_lost(tmp_path, "torch")
    found = compare(load_runs(tmp_path), baseline="torch", margin=0.01)
    assert found.contrasts["test"][0] == "ranks"
    assert judge(found, "higher", 10)[0] == "supported"
    assert judge(found, "equal", 10)[0] == "contradicted"
