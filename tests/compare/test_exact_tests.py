"""Permutation tests against enumeration, scipy, and what R's coin gives."""

import math
from itertools import permutations, product

import numpy as np
import pytest
from scipy import stats

from compare.published import AUTOMATIC, MANUAL, SLEEP_1, SLEEP_2
from normlab.compare.exact_tests import (
    attainable_p,
    permutation_p,
    sign_flip_interval,
    sign_flip_p,
    sign_test_p,
)

ARM = np.array([0.95, 0.97, 0.96, 0.98, 0.94, 0.99, 0.93])
BASELINE = np.array([0.94, 0.95, 0.97, 0.93, 0.91, 0.95, 0.92])


@pytest.mark.parametrize("seed", range(5))
def test_sign_flip_p_equals_enumeration(seed):
    random = np.random.default_rng(seed)
    differences = np.round(random.normal(0.4, 1, 7), 1)  # rounded, so that some tie
    means = [
        abs((np.array(signs) * differences).mean())
        for signs in product((1, -1), repeat=7)
    ]
    expected = np.mean(np.array(means) >= abs(differences.mean()) - 1e-12)
    assert sign_flip_p(differences) == pytest.approx(expected)


def test_sign_flip_p_is_exact_beyond_enumeration():
    assert sign_flip_p(np.ones(30)) == 2 / 2**30
    # 19 of 20 equal differences: on either side of 0, 20 arrangements with one odd sign
    # and the one without are as far away.
    assert sign_flip_p([1.0] * 19 + [-1.0]) == 2 * 21 / 2**20
    assert sign_flip_p([0.1, 0.2, -0.3]) == 1.0  # a sum of 0, to rounding


def test_sign_flip_p_of_many_pairs_is_sampled():
    assert sign_flip_p(np.ones(31)) == attainable_p(31) == 2 / 10_000
    assert sign_flip_p([1.0, -1.0] * 25) == 1.0


@pytest.mark.parametrize(
    ("n", "smallest"),
    [(3, 0.25), (5, 0.0625), (6, 0.03125), (8, 0.0078125), (10, 0.001953125)],
)
def test_smallest_p_of_the_exact_paired_test(n, smallest):
    assert attainable_p(n) == smallest
    assert sign_flip_p(np.arange(1.0, n + 1)) == pytest.approx(smallest)


def test_sign_flip_p_of_the_sleep_data_is_that_of_r():
    assert sign_flip_p(SLEEP_2 - SLEEP_1) == 0.00390625


@pytest.mark.parametrize("n", [6, 7, 10, 12])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_the_interval_holds_exactly_what_is_not_rejected(n, confidence):
    random = np.random.default_rng(n)
    level = 1 - confidence
    differences = np.round(random.normal(0.5, 1, n), 1)
    low, high = sign_flip_interval(differences, confidence)
    if attainable_p(n) > level:
        assert (low, high) == (-math.inf, math.inf)
        return
    for end, inside in ((low, 1), (high, -1)):
        assert sign_flip_p(differences - end) >= level * (1 - 1e-9)
        assert sign_flip_p(differences - (end - inside * 1e-6)) < level
        assert sign_flip_p(differences - (end + inside * 1e-6)) >= level * (1 - 1e-9)


def test_the_interval_of_six_pairs_by_hand():
    # Two of 64 patterns have p = 0.031, four p = 0.0625: the ends are the smallest and
    # the largest subset means, which are the extreme values.
    differences = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert sign_flip_interval(differences, 0.95) == (1.0, 6.0)
    # Level 0.1 rejects up to 3 of 64 on a side: means 1, 1.5 and 2 (twice) lie below.
    assert sign_flip_interval(differences, 0.875) == (2.0, 5.0)


@pytest.mark.parametrize("n", [19, 24])
def test_the_interval_of_many_pairs_is_found_by_bisection(n):
    differences = np.random.default_rng(n).normal(1, 1, n)
    low, high = sign_flip_interval(differences, 0.95)
    assert (
        sign_flip_p(differences - low + 1e-4)
        < 0.05
        <= sign_flip_p(differences - low - 1e-4)
    )
    assert (
        sign_flip_p(differences - high - 1e-4)
        < 0.05
        <= sign_flip_p(differences - high + 1e-4)
    )


def test_the_sampled_interval_agrees_with_the_sampled_test():
    differences = np.random.default_rng(3).normal(0.6, 1, 35)
    low, high = sign_flip_interval(differences, 0.95)
    assert low == pytest.approx(
        stats.ttest_1samp(differences, 0).confidence_interval()[0], abs=0.03
    )
    assert sign_flip_p(differences - low + 1e-3) < 0.05
    assert sign_flip_p(differences - high + 1e-3) >= 0.05


def test_one_pair_has_no_interval():
    assert np.isnan(sign_flip_interval([0.1])).all()


def test_permutation_p_equals_enumeration():
    arm, baseline = np.array([3.0, 5.0, 6.0]), np.array([1.0, 2.0, 4.0])
    both = np.concatenate([arm, baseline])
    shuffled = np.array([both[list(order)] for order in permutations(range(6))])
    differences = np.abs(shuffled[:, :3].mean(1) - shuffled[:, 3:].mean(1))
    share = np.mean(differences >= arm.mean() - baseline.mean() - 1e-12)
    assert permutation_p(arm, baseline) == pytest.approx(share)


@pytest.mark.parametrize(("n", "m"), [(3, 5), (5, 4), (6, 6)])
def test_permutation_p_equals_that_of_scipy(n, m):
    random = np.random.default_rng(n)
    arm = np.round(random.normal(1, 1, n), 1)
    baseline = np.round(random.normal(0, 1, m), 1)
    expected = stats.permutation_test(
        (arm, baseline),
        lambda x, y: abs(x.mean() - y.mean()),
        n_resamples=math.inf,
        alternative="greater",
    )
    assert permutation_p(arm, baseline) == pytest.approx(expected.pvalue)


def test_permutation_p_of_ten_against_ten_is_that_of_r():
    # coin's exact oneway_test; all 184,756 exchanges
    assert permutation_p(SLEEP_1, SLEEP_2) == pytest.approx(0.0814, abs=5e-5)


def test_permutation_p_of_32_cars_is_that_of_r():
    assert permutation_p(MANUAL, AUTOMATIC) == pytest.approx(0.000276, abs=5e-7)


def test_permutation_p_of_many_runs_is_sampled():
    random = np.random.default_rng(0)
    arm = random.normal(0.8, 1, 20)
    baseline = random.normal(0, 1, 20)
    expected = stats.ttest_ind(arm, baseline).pvalue
    assert permutation_p(arm, baseline) == pytest.approx(expected, abs=0.01)
    assert permutation_p(np.arange(20.0), np.arange(20.0) + 100) == 1 / 10_000


def test_arms_without_spread_have_the_smallest_p():
    assert permutation_p([0.9] * 6, [0.8] * 6) == pytest.approx(2 / 924)
    assert permutation_p([0.9] * 6, [0.9] * 6) == 1.0


def test_the_sign_test_by_hand():
    # P(at most 1 of 6) + P(at least 5 of 6) = 2 * 7 / 64.
    assert sign_test_p(1, 5) == pytest.approx(14 / 64)
    assert sign_test_p(5, 1) == sign_test_p(1, 5)
    assert sign_test_p(0, 6) == pytest.approx(2 / 64)
    assert sign_test_p(3, 3) == 1.0
    assert sign_test_p(0, 0) == 1.0
