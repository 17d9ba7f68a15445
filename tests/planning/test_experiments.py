"""Made-up experiments, and the power that they show."""

import numpy as np
import pytest
from scipy import stats

from normlab.compare.inference import holm
from normlab.planning.experiments import (
    Plan,
    Spread,
    experiments,
    is_shown,
    num_shown,
    standard_error,
    true_room,
)

ONE = Spread(1.0, 1.0, 0.5)  # differences have a standard deviation of 1


def power(plan, n, simulations=1000):
    return num_shown(plan, n, simulations) / simulations


def test_six_pairs_must_have_one_sign():
    expected = stats.norm.cdf(1.5) ** 6
    assert power(Plan("different", 1.5, ONE), 6) == pytest.approx(expected, abs=0.04)


def test_experiments_spread_and_correlate_as_planned():
    spread = Spread(2.0, 0.5, -0.4)
    plan = Plan("different", 3.0, spread, contrasts=2)
    found = list(experiments(plan, 40, 300))
    arm = np.concatenate([samples[0].arm for samples in found])
    other = np.concatenate([samples[1].arm for samples in found])
    baseline = np.concatenate([samples[0].baseline for samples in found])
    assert (arm.mean(), other.mean()) == pytest.approx((3.0, 0.0), abs=0.1)
    assert (arm.std(), baseline.std()) == pytest.approx((2.0, 0.5), rel=0.05)
    assert np.corrcoef(arm, baseline)[0, 1] == pytest.approx(-0.4, abs=0.03)
    differences = arm - baseline
    assert differences.std() == pytest.approx(spread.of_differences, rel=0.03)


def test_the_mean_over_folds_varies_as_its_test_assumes():
    plan = Plan("different", 0.0, ONE, "folds")
    means = [
        (samples[0].arm - samples[0].baseline).mean()
        for samples in experiments(plan, 10, 2000)
    ]
    assert np.std(means) == pytest.approx(standard_error(plan, 10), rel=0.05)


@pytest.mark.parametrize(
    ("claim", "effect", "margin"),
    [("different", 0.0, 0.0), ("higher", 1.0, 1.0), ("not_worse", -1.0, 1.0)],
)
def test_claims_at_their_limit_are_shown_as_often_as_the_level_says(
    claim, effect, margin
):
    found = power(Plan(claim, effect, ONE, margin=margin), 9, 2000)
    assert found == pytest.approx(0.025, abs=0.012)


def test_equivalence_at_the_margin_is_shown_as_often_as_the_level_says():
    plan = Plan("equal", 2.0, ONE, margin=2.0)
    assert power(plan, 12) == pytest.approx(0.05, abs=0.02)
    assert power(plan, 9, 100) == 0  # below ten pairs it is never said


def test_holm_counts_the_other_contrasts():
    plan = Plan("different", 1.0, ONE, contrasts=3)
    from normlab.compare.deciding import decide

    for samples in experiments(plan, 8, 50):
        p_values = [decide(sample, [], None).p for sample in samples]
        better = decide(samples[0], [], None).direction > 0
        assert is_shown(plan, samples, 8) == (better and holm(p_values)[0] < 0.05)
    assert power(plan, 8) < power(Plan("different", 1.0, ONE), 8)


def test_the_room_between_truth_and_limit():
    rooms = {
        claim: true_room(Plan(claim, 0.5, ONE, margin=2.0))
        for claim in ("different", "higher", "equal", "not_worse")
    }
    assert rooms == {
        "different": 0.5,
        "higher": -1.5,
        "equal": 1.5,
        "not_worse": 2.5,
    }
