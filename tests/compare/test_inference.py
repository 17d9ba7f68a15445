"""Tests against enumeration, formulas and brute force."""

import math
from itertools import permutations, product

import numpy as np
import pytest
from scipy import stats

from normlab.compare import effects, inference

ARM = np.array([0.95, 0.97, 0.96, 0.98, 0.94, 0.99, 0.93])
BASELINE = np.array([0.94, 0.95, 0.97, 0.93, 0.91, 0.95, 0.92])


def test_sign_flip_p_equals_enumeration():
    differences = ARM - BASELINE
    means = [
        abs((np.array(signs) * differences).mean())
        for signs in product((1, -1), repeat=7)
    ]
    expected = np.mean(np.array(means) >= abs(differences.mean()) - 1e-12)
    assert inference.sign_flip_p(differences) == pytest.approx(expected)


def test_sign_flip_p_is_exact_beyond_enumeration():
    assert inference.sign_flip_p(np.ones(30)) == 2 / 2**30
    # 19 of 20 equal differences: on either side of 0, 20 arrangements with one odd sign
    # and the one without are as far away.
    assert inference.sign_flip_p([1.0] * 19 + [-1.0]) == 2 * 21 / 2**20
    assert inference.sign_flip_p([0.1, 0.2, -0.3]) == 1.0  # a sum of 0, to rounding


def test_sign_flip_p_of_many_pairs_is_sampled():
    assert (
        inference.sign_flip_p(np.ones(41)) == inference.attainable_p(41) == 2 / 10_000
    )
    assert inference.sign_flip_p([1.0, -1.0] * 25) == 1.0


@pytest.mark.parametrize(
    ("n", "smallest"),
    [(3, 0.25), (5, 0.0625), (6, 0.03125), (8, 0.0078125), (10, 0.001953125)],
)
def test_smallest_p_of_the_exact_paired_test(n, smallest):
    assert inference.attainable_p(n) == smallest
    assert inference.sign_flip_p(np.arange(1.0, n + 1)) == pytest.approx(smallest)


def test_paired_difference_is_the_paired_t_interval():
    found = inference.paired_difference(ARM, BASELINE)
    low, high = stats.ttest_rel(ARM, BASELINE).confidence_interval()
    assert found.estimate == pytest.approx(0.15 / 7)
    assert found.interval == pytest.approx((low, high))
    assert found.correlation == pytest.approx(np.corrcoef(ARM, BASELINE)[0, 1])


def test_no_p_below_six_runs():
    assert math.isnan(inference.paired_difference(ARM[:5], BASELINE[:5]).p)
    assert math.isnan(inference.independent_difference(ARM[:5], BASELINE).p)
    assert math.isnan(inference.equivalence_p(ARM[:5], BASELINE[:5], 0.1, paired=True))
    assert math.isnan(inference.fisher_p((5, 0), (5, 5)))


def test_identical_arms_differ_by_nothing():
    found = inference.paired_difference(ARM, ARM)
    assert (found.estimate, found.interval, found.p) == (0, (0, 0), 1)
    assert inference.equivalence_p(ARM, ARM, 0.001, paired=True) == 0
    assert effects.hedges_g(ARM, ARM) == 0


def test_a_difference_without_spread_is_certain():
    found = inference.independent_difference([0.9] * 6, [0.8] * 6)
    assert found.interval == pytest.approx((0.1, 0.1))
    assert found.p == 0


def test_one_arm_may_have_no_spread():
    interval, p = inference.welch(np.array([0.5] * 6), ARM)
    half = 2.446912 * ARM.std(ddof=1) / math.sqrt(7)  # t(.975, 6)
    assert interval == pytest.approx((0.5 - 0.96 - half, 0.5 - 0.96 + half), abs=1e-6)
    assert p < 0.001


def test_permutation_p_equals_enumeration():
    arm, baseline = np.array([3.0, 5.0, 6.0]), np.array([1.0, 2.0, 4.0])
    both = np.concatenate([arm, baseline])
    shuffled = np.array([both[list(order)] for order in permutations(range(6))])
    # scipy's two-sided p is twice the smaller tail
    differences = shuffled[:, :3].mean(1) - shuffled[:, 3:].mean(1)
    tail = np.mean(differences >= arm.mean() - baseline.mean() - 1e-12)
    assert inference.permutation_p(arm, baseline) == pytest.approx(2 * tail)


def test_holm_by_hand():
    # .01 * 4, max(.02 * 3, .04), max(.03 * 2, .06), max(.04, .06)
    assert inference.holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx(
        [0.06, 0.04, 0.06, 0.06]
    )
    # A missing p-value counts and stays missing.
    found = inference.holm([0.01, math.nan])
    assert found[0] == pytest.approx(0.02)
    assert math.isnan(found[1])


@pytest.mark.parametrize("paired", [True, False])
def test_equivalence_is_two_one_sided_tests(paired):
    test, options = (
        (stats.ttest_rel, {}) if paired else (stats.ttest_ind, {"equal_var": False})
    )
    margin = 0.05
    above = test(ARM + margin, BASELINE, alternative="greater", **options).pvalue
    below = test(ARM - margin, BASELINE, alternative="less", **options).pvalue
    assert inference.equivalence_p(ARM, BASELINE, margin, paired) == pytest.approx(
        max(above, below)
    )


def test_fisher_p_by_hand():
    # 0 of 6 against 6 of 6: one table of comb(12, 6) = 924 at either end
    assert inference.fisher_p((0, 6), (6, 6)) == pytest.approx(2 / 924)
