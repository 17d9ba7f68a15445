"""Spreads, skewness, collapses, and what a number of runs can have missed."""

import math

import numpy as np
import pytest

from normlab.compare.shapes import (
    num_collapsed,
    skewness,
    spread,
    spread_ratio,
    unseen_share,
)


def test_the_ratio_of_spreads_by_hand():
    assert spread_ratio([1, 2, 3], [10, 14, 18]) == pytest.approx(4)
    assert spread_ratio([10, 14, 18], [1, 2, 3]) == pytest.approx(4)
    assert spread_ratio([5, 5, 5], [1, 2, 3]) == math.inf
    assert spread_ratio([0.1] * 3, [0.2] * 3) == 1
    assert math.isnan(spread_ratio([1, 2], [1, 2, 3]))


def test_the_spread_of_two_values_by_hand():
    assert spread(np.array([1.0, 3.0])) == pytest.approx(2**0.5)
    assert math.isnan(spread(np.array([1.0])))


def test_the_skewness_by_hand():
    # deviations -1, -1, -1, 3: m2 = 3, m3 = 6
    assert skewness([0, 0, 0, 4]) == pytest.approx(6 / 3**1.5)
    assert skewness([4, 4, 4, 0]) == pytest.approx(-6 / 3**1.5)
    assert skewness([0.3] * 5) == 0
    assert skewness([0.3] * 4 + [0.3 + 1e-16]) == 0  # equal but for rounding


@pytest.mark.parametrize("higher", [True, False])
def test_collapsed_runs_lie_far_on_the_worse_side(higher):
    sign = 1 if higher else -1
    values = sign * np.array([0.95, 0.96, 0.97, 0.96, 0.95, 0.97, 0.11, 0.10])
    assert num_collapsed(values, higher) == 2
    assert num_collapsed(values, not higher) == 0
    assert num_collapsed(values[:6], higher) == 0


def test_one_of_three_runs_can_collapse_and_none_of_two():
    # Median 0.90, median distance 0.01: from 0.78 on.
    assert num_collapsed([0.90, 0.91, 0.10], higher=True) == 1
    assert num_collapsed([0.90, 0.10], higher=True) == 0


def test_equal_values_have_no_collapse():
    assert num_collapsed([0.9, 0.9, 0.9, 0.9, 0.1], higher=True) == 0


@pytest.mark.parametrize(("n", "share"), [(6, 0.393), (10, 0.259), (20, 0.139)])
def test_the_rule_of_three(n, share):
    assert unseen_share(n) == pytest.approx(share, abs=5e-4)
    assert (1 - unseen_share(n)) ** n == pytest.approx(0.05)
