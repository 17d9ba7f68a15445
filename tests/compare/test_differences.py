"""Intervals of a difference by design, and of one further run."""

import math

import numpy as np
import pytest

from compare.published import AUTOMATIC, MANUAL, SLEEP_1, SLEEP_2
from normlab.compare.differences import (
    difference_of,
    interval_of,
    prediction_of,
    t_interval_of,
    welch_interval_of,
)
from normlab.compare.exact_tests import sign_flip_interval
from normlab.compare.samples import Sample

SLEEP = Sample(SLEEP_2, SLEEP_1, True)
CARS = Sample(MANUAL, AUTOMATIC, False)


def test_t_intervals_are_those_of_r():
    assert t_interval_of(SLEEP, None, 0.95) == pytest.approx(
        (0.7001142367, 2.459885763)
    )
    assert t_interval_of(CARS, None, 0.95) == pytest.approx((3.209684, 11.280194))
    assert welch_interval_of(SLEEP, None, 0.95) == pytest.approx(
        (-0.20548, 3.36548), abs=5e-6
    )


def test_two_pairs_have_an_interval_of_welch_and_one_has_none():
    arm, baseline = np.array([1.0, 3]), np.array([0.0, 2])
    half = 6.084870  # t(0.975, 2) * sqrt(2 / 2 + 2 / 2)
    found = welch_interval_of(Sample(arm, baseline, True), None, 0.95)
    assert found == pytest.approx((1 - half, 1 + half))
    single = Sample(arm[:1], baseline[:1], True)
    assert np.isnan(welch_interval_of(single, None, 0.95)).all()


def test_the_interval_belongs_to_the_test():
    assert interval_of(SLEEP, None, 0.95) == sign_flip_interval(SLEEP_2 - SLEEP_1)
    assert interval_of(CARS, None, 0.95) == t_interval_of(CARS, None, 0.95)
    assert difference_of(SLEEP, None, 0.95).interval == interval_of(SLEEP, None, 0.95)
    # Five pairs have no test, and six none at this level.
    few = Sample(SLEEP_2[:5], SLEEP_1[:5], True)
    assert interval_of(few, None, 0.95) == t_interval_of(few, None, 0.95)
    six = Sample(SLEEP_2[:6], SLEEP_1[:6], True)
    assert interval_of(six, None, 0.99) == t_interval_of(six, None, 0.99)


def test_a_further_pair_is_predicted_by_hand():
    arm = np.array([1.0, 2.0, 3.0])
    sample = Sample(arm, np.zeros(3), True)
    half = 4.302653 * math.sqrt(1 + 1 / 3)  # t(0.975, 2), SD 1
    assert prediction_of(sample, None, 0.95) == pytest.approx((2 - half, 2 + half))


def test_a_further_fold_is_predicted_by_hand():
    arm = np.array([1.0, 2.0, 3.0])
    sample = Sample(arm, np.zeros(3), True)
    half = 4.302653 * math.sqrt(1 + 1 / 3 + 1 / 4)
    assert prediction_of(sample, 5, 0.95) == pytest.approx((2 - half, 2 + half))


def test_a_further_run_of_each_arm_is_predicted():
    low, high = t_interval_of(CARS, None, 0.95)
    variances = MANUAL.var(ddof=1), AUTOMATIC.var(ddof=1)
    error = variances[0] / 13 + variances[1] / 19
    half = (high - low) / 2 * math.sqrt((sum(variances) + error) / error)
    middle = MANUAL.mean() - AUTOMATIC.mean()
    assert prediction_of(CARS, None, 0.95) == pytest.approx(
        (middle - half, middle + half)
    )


def test_one_pair_predicts_nothing():
    one = Sample(np.array([1.0]), np.array([0.0]), True)
    assert np.isnan(prediction_of(one, None, 0.95)).all()
    assert np.isnan(interval_of(one, None, 0.95)).all()
