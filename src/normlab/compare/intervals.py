"""Intervals for a handful of seeds.

Bootstrap intervals of a mean cover too little below about 20 seeds (.84 for .95 at 5), so the t interval comes first
and the bootstrap's stands beside it from 10.
"""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

SMALLEST_N_BOOTSTRAP = 10
RESAMPLES = 9_999
Interval = tuple[float, float]
UNKNOWN: Interval = (math.nan, math.nan)


def t_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """``mean ± t sd / sqrt(n)``; NaN for fewer than two values."""
    values = np.asarray(values, float)
    if len(values) < 2:
        return UNKNOWN
    half = (
        stats.t.ppf(0.5 + confidence / 2, len(values) - 1)
        * values.std(ddof=1)
        / math.sqrt(len(values))
    )
    return values.mean() - half, values.mean() + half


def fold_error(values: ArrayLike, folds: int) -> float:
    """Standard error of a mean over cross-validation folds: ``sd sqrt(1/J + n_test/n_train)``.

    Training sets of two folds share most of their samples, so that their scores are not independent and
    ``sd / sqrt(J)`` is too small. Nadeau and Bengio (2003).

    Args:
        values: one score for each of J folds; scores of several seeds at the same fold are averaged before.
        folds: k. One fold is the test part and the others are what learning may use, so ``n_test/n_train`` is
            ``1/(k - 1)``; the validation share picks the epoch and counts as used.
    """
    values = np.asarray(values, float)
    return float(values.std(ddof=1) * math.sqrt(1 / len(values) + 1 / (folds - 1)))


def fold_interval(values: ArrayLike, folds: int, confidence: float = 0.95) -> Interval:
    """``mean ± t(J - 1) fold_error``; NaN for fewer than two folds."""
    values = np.asarray(values, float)
    if len(values) < 2:
        return UNKNOWN
    half = stats.t.ppf(0.5 + confidence / 2, len(values) - 1) * fold_error(
        values, folds
    )
    return values.mean() - half, values.mean() + half


def bca_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Bias-corrected accelerated bootstrap interval of the mean; NaN below n = 10."""
    values = np.asarray(values, float)
    if len(values) < SMALLEST_N_BOOTSTRAP or np.ptp(values) == 0:
        return UNKNOWN
    found = stats.bootstrap(
        (values,), np.mean, n_resamples=RESAMPLES, confidence_level=confidence, rng=0
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def wilson_interval(successes: int, total: int, confidence: float = 0.95) -> Interval:
    """Wilson interval of a proportion; NaN without trials."""
    if total == 0:
        return UNKNOWN
    found = stats.binomtest(successes, total).proportion_ci(confidence, method="wilson")
    return float(found.low), float(found.high)
