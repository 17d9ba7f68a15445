"""Intervals against numbers by hand and, for the bootstrap, its definition."""

import math

import numpy as np
import pytest

from normlab.compare.intervals import (
    bca_interval,
    binomial_interval,
    fold_interval,
    prediction_interval,
    t_interval,
    wilson_interval,
)


def test_t_interval_is_the_textbook_one():
    # mean 3, SD sqrt(2.5), t(0.975, 4) = 2.776445: 3 ± 2.776445 * 1.581139 / 2.236068
    assert t_interval([1, 2, 3, 4, 5]) == pytest.approx((1.036757, 4.963243), abs=1e-6)


def test_t_interval_of_one_run_is_unknown():
    assert all(map(math.isnan, t_interval([0.9])))


def test_fold_interval_is_wider_by_the_overlap_of_training_sets():
    # Nadeau and Bengio for 5 folds: sqrt(1/5 + 1/4) is 1.5 times sqrt(1/5).
    low, high = t_interval([1, 2, 3, 4, 5])
    assert fold_interval([1, 2, 3, 4, 5], folds=5) == pytest.approx(
        (3 - 1.5 * (3 - low), 3 + 1.5 * (high - 3))
    )


def test_wilson_interval_is_the_textbook_one():
    # 4 of 10: centre (4 + 1.92073) / 13.84146,
    # half width 1.959964 sqrt(0.24 * 10 + 0.960365) / 13.84146
    assert wilson_interval(4, 10) == pytest.approx((0.168180, 0.687326), abs=1e-6)
    assert wilson_interval(10, 10)[1] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("wins", "n", "ends"),  # R's binom.test
    [
        (10, 10, (0.6915029, 1.0)),
        (7, 10, (0.3475471, 0.9332605)),
        (0, 6, (0.0, 0.4592581)),
    ],
)
def test_binomial_interval_is_that_of_r(wins, n, ends):
    assert binomial_interval(wins, n) == pytest.approx(ends, abs=1e-6)


def test_half_a_win_lies_between_two_intervals():
    low, high = binomial_interval(7.5, 10)
    assert binomial_interval(7, 10)[0] < low < binomial_interval(8, 10)[0]
    assert binomial_interval(7, 10)[1] < high < binomial_interval(8, 10)[1]
    assert all(map(math.isnan, binomial_interval(0, 0)))


def test_prediction_interval_by_hand():
    # mean 3, SD sqrt(2.5), t(0.975, 4) = 2.776445, sqrt(1 + 1/5)
    half = 2.776445 * math.sqrt(2.5 * 1.2)
    assert prediction_interval([1, 2, 3, 4, 5]) == pytest.approx(
        (3 - half, 3 + half), abs=1e-5
    )
    assert all(map(math.isnan, prediction_interval([0.9])))


def test_bootstrap_needs_twenty_values_and_spread():
    assert all(map(math.isnan, bca_interval(np.arange(19))))
    assert all(map(math.isnan, bca_interval([0.5] * 22)))


def test_bootstrap_of_symmetric_values_is_nearly_the_percentile_interval():
    values = np.arange(20.0)
    means = np.random.default_rng(1).choice(values, (20_000, 20)).mean(1)
    assert bca_interval(values) == pytest.approx(
        tuple(np.quantile(means, [0.025, 0.975])), abs=0.15
    )
