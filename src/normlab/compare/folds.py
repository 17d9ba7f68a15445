"""Tests over the folds of a cross-validation.

Training sets of two folds share most of their samples. Standard errors, and all tests
that rest on them, are corrected for it, see `intervals.fold_error`.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from normlab.compare.exact_tests import attainable_p
from normlab.compare.inference import SMALLEST_N, Difference, correlation
from normlab.compare.intervals import fold_error, fold_interval, t_quantile


def fold_difference(
    arm: ArrayLike,
    baseline: ArrayLike,
    folds: int,
    confidence: float = 0.95,
) -> Difference:
    """Difference over cross-validation folds, with the corrected t test.

    ``t = mean / fold_error`` with J - 1 degrees of freedom, where J is the number of
    folds that were run. Nadeau and Bengio (2003), see `intervals.fold_error`.

    Args:
        arm: one value of the arm per fold, shape `(J,)`.
        baseline: values of the baseline at the same folds, shape `(J,)`.
        folds: number of folds that the data are split into.
        confidence: of the interval.
    """
    arm = np.asarray(arm, float)
    baseline = np.asarray(baseline, float)
    differences = arm - baseline
    n = len(arm)
    estimate = math.nan
    if n:
        estimate = float(differences.mean())
    return Difference(
        "folds",
        (n, n),
        estimate,
        interval=fold_interval(differences, folds, confidence),
        p=_fold_p(differences, estimate, folds),
        correlation=correlation(arm, baseline),
    )


def _fold_p(differences: NDArray, estimate: float, folds: int) -> float:
    n = len(differences)
    if n < SMALLEST_N:
        return math.nan
    error = fold_error(differences, folds)
    if not error:  # as in the sign-flip test, no p is below 2 / 2^n
        return 1.0 if estimate == 0 else attainable_p(n)
    t = abs(estimate) / error
    return 2 * float(stats.t.sf(t, n - 1))


def fold_equivalence_p(
    difference: Difference,
    confidence: float,
    margin: float,
) -> float:
    """p-value of two one-sided tests with the corrected standard error of folds.

    ``P(T > (margin - |estimate|) / fold_error)`` for T with J - 1 degrees of freedom;
    NaN below 6 folds, or if all differences are equal. Schuirmann (1987), see
    `equivalence.equivalence_p`; Nadeau and Bengio (2003), see `intervals.fold_error`.

    Args:
        difference: from `fold_difference`.
        confidence: that its interval was computed with.
        margin: the smallest difference that matters, in units of the metric.
    """
    n = difference.n[0]
    if n < SMALLEST_N:
        return math.nan
    low, high = difference.interval
    half = (high - low) / 2
    error = half / t_quantile(confidence, n - 1)
    if error == 0:
        return math.nan
    size = abs(difference.estimate)
    t = (margin - size) / error
    return float(stats.t.sf(t, n - 1))
