"""Ranks over tasks, held against published numbers and scipy."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from normlab.compare.ranks import (
    interquartile_interval,
    interquartile_mean,
    nemenyi_p,
    performance_profile,
    rank_arms,
    stratified_draws,
    tasks_needed,
)

# Demšar (2006), table 6: ranks of four variants of C4.5 on 14 data sets, by their AUC.
ARMS = ["C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf"]
RANKS = [
    [4, 3, 2, 1],
    [1, 2, 3, 4],
    [4, 1, 2, 3],
    [4, 1, 3, 2],
    [4, 2, 3, 1],
    [1, 2.5, 4, 2.5],
    [3, 2, 4, 1],
    [2.5, 2.5, 4, 1],
    [4, 3, 2, 1],
    [2.5, 2.5, 2.5, 2.5],
    [4, 2.5, 1, 2.5],
    [3, 2, 4, 1],
    [4, 1, 2, 3],
    [3, 1, 4, 2],
]


def test_demsars_example_has_its_published_numbers():
    scores = -pd.DataFrame(RANKS, columns=ARMS)
    found = rank_arms(scores, "C4.5")
    assert found.mean_ranks.round(3).tolist() == [3.143, 2.000, 2.893, 1.964]
    # Against the control: z = 2.343, 0.512 and 2.416.
    assert found.p.round(3).to_dict() == {
        "C4.5+m": 0.019,
        "C4.5+cf": 0.608,
        "C4.5+m+cf": 0.016,
    }
    # Holm: three times the smallest, which the next one cannot be below.
    smallest = 3 * found.p["C4.5+m+cf"]
    expected = [smallest, found.p["C4.5+cf"], smallest]
    assert found.p_holm.tolist() == pytest.approx(expected)
    # No difference reaches the critical one at 0.05, 1.25; two reach that at 0.1, 1.12.
    pairs = nemenyi_p(found.ranks)
    assert pairs.to_numpy()[np.triu_indices(4, 1)].min() > 0.05
    assert sorted(pairs.loc["C4.5"][pairs.loc["C4.5"] < 0.1].index) == [
        "C4.5+m",
        "C4.5+m+cf",
    ]
    # The statistic 9.28 of the paper lacks the correction for ties.
    expected = stats.friedmanchisquare(*scores.T.to_numpy()).pvalue
    assert found.friedman_p == pytest.approx(expected)
    assert 0.01 < found.friedman_p < stats.chi2.sf(9.28, 3)


def test_two_arms_are_compared_by_the_sign_test():
    scores = pd.DataFrame({"none": [1, 2, 3, 4, 5, 6, 7.0], "custom": [2.0] * 7})
    scores["custom"] = scores["none"] + [1, 1, 1, 1, 1, -1, 0]
    found = rank_arms(scores, "none")
    # One task is a tie; at most 1 of the other 6 the other way: 2 * (1 + 6) / 64.
    assert found.p_holm["custom"] == pytest.approx(14 / 64)
    assert found.mean_ranks["custom"] == pytest.approx((5 * 1 + 2 + 1.5) / 7)
    assert math.isnan(found.friedman_p)


def test_arms_that_are_alike_everywhere_are_not_told_apart():
    scores = pd.DataFrame(np.ones((4, 3)), columns=list("abc"))
    found = rank_arms(scores, "a")
    assert found.friedman_p == 1
    assert found.p_holm.tolist() == [1, 1]


def test_two_of_three_arms_may_tie_in_every_task():
    scores = pd.DataFrame({"a": [2.0] * 4, "b": [2.0] * 4, "c": [1.0] * 4})
    # Full agreement of 4 tasks on 3 arms: the statistic is 4 * 2, with 2 degrees.
    assert rank_arms(scores, "a").friedman_p == pytest.approx(math.exp(-8 / 2))


@pytest.mark.parametrize(("arms", "needed"), [(2, 6), (3, 7), (5, 8), (10, 9)])
def test_a_verdict_needs_tasks(arms, needed):
    assert tasks_needed(arms, 0.05) == needed
    assert 2 / 2**needed <= 0.05 / (arms - 1) < 2 / 2 ** (needed - 1)


def test_false_alarms_stay_below_the_level():
    random = np.random.default_rng(2)
    trials = 400
    alarms = 0
    for _ in range(trials):
        scores = pd.DataFrame(random.random((tasks_needed(2, 0.05), 2)))
        alarms += rank_arms(scores, 0).p_holm.min() <= 0.05
    assert alarms / trials <= 0.05


def test_the_interquartile_mean_is_that_of_the_middle_half():
    values = np.array([9, 0.2, 0.4, 0.3, -5, 0.1, 0.5, 0.6])
    assert interquartile_mean(values) == pytest.approx((0.2 + 0.3 + 0.4 + 0.5) / 4)
    assert interquartile_mean(values) == stats.trim_mean(values, 0.25)


def test_runs_are_drawn_within_their_task():
    tasks = [np.array([0.0, 0.25]), np.array([1.0, 1.0, 1.0])]
    drawn = stratified_draws(tasks)
    assert set(drawn[:, :2].ravel()) == {0.0, 0.25}
    assert (drawn[:, 2:] == 1).all()
    low, high = interquartile_interval(tasks, 0.95)
    means = stats.trim_mean(drawn, 0.25, axis=1)
    assert (low, high) == tuple(np.quantile(means, [0.025, 0.975]))
    assert interquartile_interval([np.full(3, 0.4)], 0.95) == pytest.approx((0.4, 0.4))


def test_a_profile_counts_the_runs_above_each_threshold():
    values = np.array([0.0, 0.5, 0.5, 1.0])
    thresholds = np.array([0.0, 0.5, 0.9, 1.0])
    assert performance_profile(values, thresholds).tolist() == [0.75, 0.25, 0.25, 0]
    twice = performance_profile(np.stack([values, values + 1]), thresholds)
    assert twice[1].tolist() == [1, 1, 1, 0.75]
