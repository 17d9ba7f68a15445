"""Two one-sided tests, and when they must not be believed."""

import math

import numpy as np
import pytest
from scipy import stats

from compare.published import SLEEP_1, SLEEP_2
from normlab.compare.differences import t_interval_of
from normlab.compare.equivalence import doubts, equivalence_p, spread_beside
from normlab.compare.samples import Sample

NAMES = ("custom", "torch")
ARM = np.array([0.95, 0.97, 0.96, 0.98, 0.94, 0.99, 0.93])
BASELINE = np.array([0.94, 0.95, 0.97, 0.93, 0.91, 0.95, 0.92])
EVEN = np.array([0.1, -0.1, 0.3, -0.3, 0.5, -0.5, 0.7, -0.7, 0.9, -0.9])


@pytest.mark.parametrize("paired", [True, False])
def test_equivalence_is_two_one_sided_tests(paired):
    test, options = (
        (stats.ttest_rel, {}) if paired else (stats.ttest_ind, {"equal_var": False})
    )
    margin = 0.05
    above = test(ARM + margin, BASELINE, alternative="greater", **options).pvalue
    below = test(ARM - margin, BASELINE, alternative="less", **options).pvalue
    found = equivalence_p(Sample(ARM, BASELINE, paired), None, margin)
    assert found == pytest.approx(max(above, below))


@pytest.mark.parametrize(
    ("paired", "margin", "expected"),
    [(True, 0.5, 0.98924), (True, 3, 0.0026556), (False, 0.5, 0.89011)],
)
def test_the_sleep_data_have_the_p_of_r(paired, margin, expected):
    found = equivalence_p(Sample(SLEEP_1, SLEEP_2, paired), None, margin)
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("paired", [True, False])
def test_the_interval_lies_in_the_margin_if_both_tests_reject(paired):
    sample = Sample(ARM, BASELINE, paired)
    low, high = t_interval_of(sample, None, 0.9)
    farthest = max(-low, high)
    assert equivalence_p(sample, None, farthest) == pytest.approx(0.05)


def test_no_p_below_six_runs():
    assert math.isnan(equivalence_p(Sample(ARM[:5], BASELINE[:5], True), None, 0.1))


def test_equal_pairs_have_a_p_by_what_they_can_have_missed():
    values = np.linspace(0.90, 0.94, 20)
    # One pair in eight that differed by 0.04 would move the mean by the margin.
    same = Sample(values, values, True)
    assert equivalence_p(same, None, 0.005) == pytest.approx(0.875**20)
    assert equivalence_p(same, None, 0.02) == 0.5**20
    six = Sample(values[::3][:6], values[::3][:6], True)
    assert equivalence_p(six, None, 0.005) > 0.05
    constant = Sample(np.full(8, 0.9), np.full(8, 0.9), False)
    assert equivalence_p(constant, None, 0.01) == 0.5**8
    shifted = Sample(values + 0.25, values, True)
    assert equivalence_p(shifted, None, 0.2) == 1.0


def test_equal_folds_are_tested_the_same_way():
    values = np.linspace(0.90, 0.94, 10)
    found = equivalence_p(Sample(values, values, True), 10, 0.005)
    assert found == pytest.approx(0.875**10)


def test_arms_of_like_shape_raise_no_doubt():
    assert doubts(Sample(EVEN, EVEN[::-1], True), NAMES) == ""
    assert doubts(Sample(EVEN, EVEN[::-1], False), NAMES) == ""


def test_few_pairs_raise_a_doubt():
    assert doubts(Sample(EVEN[:9], EVEN[:9], True), NAMES) == (
        "9 pairs miss rare runs too easily; at least 10 are needed"
    )


def test_unequal_spreads_raise_a_doubt():
    assert doubts(Sample(4 * EVEN, EVEN[::-1], True), NAMES) == (
        "the runs of custom spread 4.0 times as much as those of the other"
    )
    assert doubts(Sample(np.zeros(10), EVEN, False), NAMES) == (
        "the runs of torch spread, while those of the other do not vary"
    )


def test_a_collapsed_run_raises_a_doubt_by_skewness():
    fallen = EVEN.copy()
    fallen[0] = -3.0
    assert doubts(Sample(fallen, np.roll(EVEN, 5), False), NAMES) == (
        "the runs of custom are skewed (skewness −1.3)"
    )


def test_ratios_of_spreads_in_words():
    ratios = [2.04, 10.4, 19.3, 193.0, math.inf]
    assert [spread_beside(ratio, "those of none") for ratio in ratios] == [
        "spread 2.0 times as much as those of none",
        "spread 10 times as much as those of none",
        "spread 19 times as much as those of none",
        "spread 193 times as much as those of none",
        "spread, while those of none do not vary",
    ]
