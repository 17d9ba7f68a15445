"""Arms ranked over several tasks, such as data sets and models.

Differences on different tasks have no common unit; ranks within each task have (Demšar,
2006, Statistical comparisons of classifiers over multiple data sets, JMLR 7).

Shapes: T tasks, A arms, R runs.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from normlab.compare.exact_tests import sign_test_p
from normlab.compare.inference import holm
from normlab.compare.intervals import Interval

RESAMPLES = 2_000
TRIMMED = 0.25  # of each end, for the interquartile mean


@dataclass(frozen=True)
class Ranking:
    """Arms ranked over tasks.

    Attributes:
        ranks: of the arms in every task ``(T, A)``; 1 is the best.
        friedman_p: p-value of Friedman's test of all arms; NaN for two arms.
        p: p-values of the comparisons with the baseline, by arm.
        p_holm: the same after Holm's correction.
    """

    ranks: pd.DataFrame
    friedman_p: float
    p: pd.Series
    p_holm: pd.Series

    @property
    def mean_ranks(self) -> pd.Series:
        """The mean rank over tasks of every arm."""
        return self.ranks.mean()


def tasks_needed(num_arms: int, level: float) -> int:
    """The number of tasks from which a verdict is given.

    An arm that beats the baseline on each of T tasks has ``2 / 2^T`` by the sign test;
    this has to be at most the level after the correction for all arms. It is a bound
    for the normal approximation of mean ranks, too, whose error is below the level from
    there on.

    Args:
        num_arms: with the baseline.
        level: probability of a false alarm over all arms.
    """
    num_others = max(1, num_arms - 1)
    doublings = math.log2(2 * num_others / level)
    return math.ceil(doublings)


def rank_arms(scores: pd.DataFrame, baseline: str) -> Ranking:
    """Rank the arms in every task, and test their mean ranks.

    Three arms or more: Friedman's test of all, and against the baseline
    ``z = (r_i - r_j) / sqrt(A (A + 1) / (6 T))`` with Holm's correction. Two arms: the
    exact sign test, in which tasks on which both are equal do not count.

    Args:
        scores: a row per task and a column per arm ``(T, A)``; higher is better, and
            equal scores share a rank.
        baseline: the arm that the others are compared to.
    """
    ranks = scores.rank(axis=1, ascending=False)
    others = [arm for arm in scores if arm != baseline]
    if len(others) == 1:
        (arm,) = others
        wins = scores[arm] > scores[baseline]
        losses = scores[arm] < scores[baseline]
        p_value = sign_test_p(int(wins.sum()), int(losses.sum()))
        p = pd.Series({arm: p_value})
        return Ranking(ranks, math.nan, p, p)

    import scikit_posthocs

    friedman = 1.0
    if (ranks.nunique(axis=1) > 1).any():  # else the statistic is 0 / 0
        columns = [ranks[arm] for arm in ranks]
        friedman = float(stats.friedmanchisquare(*columns).pvalue)
    pairs = scikit_posthocs.posthoc_siegel_friedman(ranks)
    p = pd.Series(pairs.loc[others, baseline])
    corrected = pd.Series(holm(p), index=others)
    return Ranking(ranks, friedman, p, corrected)


def nemenyi_p(ranks: pd.DataFrame) -> pd.DataFrame:
    """Nemenyi's test of every two of three or more arms ``(A, A)``.

    Args:
        ranks: of the arms in every task ``(T, A)``.
    """
    import scikit_posthocs

    table: pd.DataFrame = scikit_posthocs.posthoc_nemenyi_friedman(ranks)
    return table


def interquartile_mean(values: NDArray) -> float:
    """Mean of the middle half of all runs over all tasks.

    Agarwal et al. (2021), Deep reinforcement learning at the edge of the statistical
    precipice, arXiv 2108.13264.
    """
    return float(stats.trim_mean(values, TRIMMED))


def stratified_draws(tasks: list[NDArray]) -> NDArray:
    """Runs drawn with replacement within every task ``(B, R)``.

    Args:
        tasks: the scores of an arm in each task.
    """
    random = np.random.default_rng(0)
    drawn = []
    for values in tasks:
        num_runs = len(values)
        chosen = random.integers(num_runs, size=(RESAMPLES, num_runs))
        drawn.append(values[chosen])
    return np.concatenate(drawn, axis=1)


def interquartile_interval(tasks: list[NDArray], confidence: float) -> Interval:
    """Percentile interval of the interquartile mean, by the stratified bootstrap.

    Args:
        tasks: the scores of an arm in each task.
        confidence: of the interval.
    """
    draws = stratified_draws(tasks)
    means = stats.trim_mean(draws, TRIMMED, axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def performance_profile(values: NDArray, thresholds: NDArray) -> NDArray:
    """Share of the runs whose score is above each threshold.

    Args:
        values: scores of runs ``(R,)``, or of draws of them ``(B, R)``.
        thresholds: ``(N,)``.

    Returns:
        ``(N,)``, or ``(B, N)`` for draws.
    """
    shares = []
    for threshold in thresholds:
        is_above = values > threshold
        shares.append(is_above.mean(-1))
    return np.stack(shares, axis=-1)
