"""Tests against enumeration, formulas and brute force."""

import math

import numpy as np
import pytest
from scipy import stats

from normlab.compare import effects, inference
from normlab.compare.exact_tests import sign_flip_interval, sign_flip_p

ARM = np.array([0.95, 0.97, 0.96, 0.98, 0.94, 0.99, 0.93])
BASELINE = np.array([0.94, 0.95, 0.97, 0.93, 0.91, 0.95, 0.92])


def test_paired_difference_has_the_interval_of_its_test():
    found = inference.paired_difference(ARM, BASELINE)
    assert found.estimate == pytest.approx(0.15 / 7)
    assert found.interval == sign_flip_interval(ARM - BASELINE)
    assert found.p == sign_flip_p(ARM - BASELINE)
    assert found.correlation == pytest.approx(np.corrcoef(ARM, BASELINE)[0, 1])


def test_no_p_below_six_runs():
    assert math.isnan(inference.paired_difference(ARM[:5], BASELINE[:5]).p)
    assert math.isnan(inference.independent_difference(ARM[:5], BASELINE).p)
    assert math.isnan(inference.fisher_p((5, 0), (5, 5)))


def test_identical_arms_differ_by_nothing():
    found = inference.paired_difference(ARM, ARM)
    assert (found.estimate, found.interval, found.p) == (0, (0, 0), 1)
    assert effects.hedges_g(ARM, ARM) == 0


def test_six_pairs_have_the_interval_of_their_test():
    found = inference.paired_difference(ARM[:6], BASELINE[:6])
    assert found.interval == sign_flip_interval(ARM[:6] - BASELINE[:6])


def test_the_correlation_of_three_pairs_by_hand():
    # covariance 1 and variances 2, each times 2
    found = inference.correlation(np.array([1.0, 2, 3]), np.array([1.0, 3, 2]))
    assert found == pytest.approx(0.5)
    assert math.isnan(inference.correlation(ARM[:2], BASELINE[:2]))


def test_two_runs_per_arm_have_an_interval_and_one_has_none():
    found = inference.independent_difference([1, 3], [0, 2])
    # 1, plus or minus t(0.975, 2) = 4.302653 times sqrt(2 / 2 + 2 / 2)
    assert found.interval == pytest.approx((1 - 6.084870, 1 + 6.084870))
    single = inference.independent_difference([3], [1])
    assert single.estimate == 2
    assert np.isnan([*single.interval, single.p]).all()


def test_pairs_without_a_test_have_the_t_interval():
    found = inference.paired_difference(ARM[:5], BASELINE[:5])
    low, high = stats.ttest_rel(ARM[:5], BASELINE[:5]).confidence_interval()
    assert found.interval == pytest.approx((low, high))


def test_a_difference_without_spread_has_the_smallest_p():
    found = inference.independent_difference([0.9] * 6, [0.8] * 6)
    assert found.interval == pytest.approx((0.1, 0.1))
    assert found.p == pytest.approx(2 / 924)


def test_one_arm_may_have_no_spread():
    interval, p = inference.welch(np.array([0.5] * 6), ARM)
    half = 2.446912 * ARM.std(ddof=1) / math.sqrt(7)  # t(0.975, 6)
    assert interval == pytest.approx((0.5 - 0.96 - half, 0.5 - 0.96 + half), abs=1e-6)
    assert p < 0.001


def test_holm_by_hand():
    # 0.01 * 4, max(0.02 * 3, 0.04), max(0.03 * 2, 0.06), max(0.04, 0.06)
    assert inference.holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx(
        [0.06, 0.04, 0.06, 0.06]
    )
    # A missing p-value counts and stays missing.
    found = inference.holm([0.01, math.nan])
    assert found[0] == pytest.approx(0.02)
    assert math.isnan(found[1])


def test_holm_has_the_result_of_r():
    found = inference.holm([0.01, 0.04, 0.03, 0.005])  # p.adjust
    assert found == pytest.approx([0.03, 0.06, 0.06, 0.02])


@pytest.mark.parametrize("seed", range(5))
def test_the_steps_of_holm_agree_with_its_p_values(seed):
    p_values = np.random.default_rng(seed).uniform(0, 0.05, 5)
    rejected = inference.holm(p_values) < 0.05
    divisors = inference.holm_divisors(p_values, 0.05)
    assert (p_values * divisors < 0.05).tolist() == rejected.tolist()


def test_the_steps_of_holm_by_hand():
    found = inference.holm_divisors([0.03, 0.001, 0.04, math.nan], 0.05)
    assert found.tolist() == [3, 4, 3, 3]
    assert inference.holm_divisors([0.01, 0.02, 0.03], 0.1).tolist() == [3, 2, 1]


def test_fisher_p_by_hand():
    # 0 of 6 against 6 of 6: one table of comb(12, 6) = 924 at either end
    assert inference.fisher_p((0, 6), (6, 6)) == pytest.approx(2 / 924)
