"""Tests for a handful of seeds.

With n seeds an exact paired test cannot give a p-value below ``2 / 2^n``: 0.25 at 3,
0.031 at 6. Below 6 seeds none is given. The permutation tests are in `exact_tests`, and
`deciding` has the rule which test decides.
"""

import math
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from normlab.compare.exact_tests import (
    attainable_p,
    permutation_p,
    sign_flip_interval,
    sign_flip_p,
)
from normlab.compare.intervals import UNKNOWN, Interval, t_interval
from normlab.compare.shapes import all_equal

SMALLEST_N = 6  # no p-value is given below


@dataclass(frozen=True)
class Difference:
    """The difference between an arm and the baseline, arm minus baseline.

    Attributes:
        design: `paired`, `independent` or `folds`.
        n: number of values of the arm and of the baseline (pairs, runs or folds).
        estimate: difference of the means, in units of the metric; NaN without values.
        interval: confidence interval of the difference, the one that belongs to the
            test: inverted sign flips if paired (Student's t where no test is made),
            Welch's if independent, Nadeau and Bengio's for folds.
        p: two-sided p-value: sign-flip test if paired, Welch's t test if independent,
            corrected t test for folds; NaN below n = 6.
        permutation_p: permutation test next to Welch's; NaN in other designs.
        correlation: Pearson's r between the arms over pairs; NaN if independent.
        attainable_p: the smallest p-value that the test can give with this n.
    """

    design: str
    n: tuple[int, int]
    estimate: float
    interval: Interval
    p: float
    permutation_p: float = math.nan
    correlation: float = math.nan
    attainable_p: float = 0.0


def paired_difference(
    arm: ArrayLike,
    baseline: ArrayLike,
    confidence: float = 0.95,
) -> Difference:
    """Difference over pairs of runs, with the sign-flip test and its interval.

    Args:
        arm: values of the arm, shape `(n,)`.
        baseline: values of the baseline, shape `(n,)`; `baseline[i]` and `arm[i]` share
            their seed.
        confidence: of the interval.
    """
    arm = np.asarray(arm, float)
    baseline = np.asarray(baseline, float)
    differences = arm - baseline
    n = len(arm)
    estimate = math.nan
    p = math.nan
    if n:
        estimate = float(differences.mean())
    if n >= SMALLEST_N:
        p = sign_flip_p(differences)
    return Difference(
        "paired",
        (n, n),
        estimate,
        interval=paired_interval(differences, confidence),
        p=p,
        correlation=correlation(arm, baseline),
        attainable_p=attainable_p(n),
    )


def paired_interval(differences: NDArray, confidence: float = 0.95) -> Interval:
    """The interval of the sign-flip test, or Student's where it can reject nothing.

    Args:
        differences: arm minus baseline of every pair, shape `(n,)`.
        confidence: of the interval.
    """
    if len(differences) < SMALLEST_N:
        return t_interval(differences, confidence)
    interval = sign_flip_interval(differences, confidence)
    if math.isinf(interval[0]):
        return t_interval(differences, confidence)
    return interval


def correlation(arm: NDArray, baseline: NDArray) -> float:
    """Pearson's r over pairs; NaN below three pairs or if one arm has no spread.

    Args:
        arm: values of the arm, shape `(n,)`.
        baseline: values of the baseline in the same order, shape `(n,)`.
    """
    if len(arm) < 3 or all_equal(arm) or all_equal(baseline):
        return math.nan
    matrix = np.corrcoef(arm, baseline)
    return float(matrix[0, 1])


def independent_difference(
    arm: ArrayLike,
    baseline: ArrayLike,
    confidence: float = 0.95,
) -> Difference:
    """Difference between runs without common seeds, by Welch's t test.

    A permutation test is computed next to it, which does not assume normality.

    Args:
        arm: values of the arm, shape `(n,)`.
        baseline: values of the baseline, shape `(m,)`.
        confidence: of the interval.
    """
    arm = np.asarray(arm, float)
    baseline = np.asarray(baseline, float)
    n = (len(arm), len(baseline))
    smaller = min(n)
    estimate = math.nan
    if smaller:
        estimate = float(arm.mean() - baseline.mean())
    if smaller < 2:
        return Difference("independent", n, estimate, UNKNOWN, math.nan)

    interval, p = welch(arm, baseline, confidence)
    if smaller < SMALLEST_N:
        return Difference("independent", n, estimate, interval, math.nan)
    return Difference(
        "independent",
        n,
        estimate,
        interval,
        p,
        permutation_p=permutation_p(arm, baseline),
    )


def welch(
    arm: NDArray,
    baseline: NDArray,
    confidence: float = 0.95,
) -> tuple[Interval, float]:
    """Welch's t test, which does not assume equal variances.

    Welch (1947), The generalization of 'Student's' problem when several different
    population variances are involved, Biometrika 34.

    Args:
        arm: values of the arm, shape `(n,)`.
        baseline: values of the baseline, shape `(m,)`.
        confidence: of the interval.

    Returns:
        Interval of the difference of the means, and two-sided p-value. Without any
        spread the interval is the difference itself and p that of the permutation test.
    """
    if all_equal(arm) and all_equal(baseline):
        estimate = float(arm[0] - baseline[0])
        return (estimate, estimate), permutation_p(arm, baseline)
    with warnings.catch_warnings():
        # scipy warns if one of the arms has no spread, which is no mistake here.
        warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)
        found = stats.ttest_ind(arm, baseline, equal_var=False)
    low, high = found.confidence_interval(confidence)
    return (float(low), float(high)), float(found.pvalue)


def holm(p_values: ArrayLike) -> NDArray:
    """Holm's correction for several tests.

    The i-th smallest of m p-values is multiplied by ``m - i + 1``, and no corrected
    p-value is below an earlier one. Holm (1979), A simple sequentially rejective
    multiple test procedure, Scandinavian Journal of Statistics 6.

    Args:
        p_values: of all planned contrasts, shape `(m,)`. NaN (no p-value was given)
            stays NaN and counts as one of the m.

    Returns:
        The corrected p-values in the same order, shape `(m,)`.
    """
    p_values = np.asarray(p_values, float)
    # statsmodels has this too, and collects garbage in every call, for 0.2 seconds.
    known = np.nan_to_num(p_values, nan=1.0)
    order = np.argsort(known, kind="stable")
    factors = np.arange(len(known), 0, -1)
    multiplied = known[order] * factors
    corrected = np.empty_like(known)
    corrected[order] = np.maximum.accumulate(multiplied)
    corrected = np.minimum(corrected, 1.0)
    corrected[np.isnan(p_values)] = np.nan
    return corrected


def holm_divisors(p_values: ArrayLike, level: float) -> NDArray:
    """What Holm's method divides the level by at the step that decides each test.

    A test is rejected exactly if its p-value is below the level divided by this number,
    so an interval at that level agrees with the corrected p-value. The i-th smallest of
    m p-values has ``m - i + 1`` until the first that is not rejected, and so have all
    after it.

    Args:
        p_values: of all planned contrasts, shape `(m,)`; NaN counts as not rejected.
        level: probability of a false alarm over all contrasts.
    """
    p_values = np.asarray(p_values, float)
    known = np.nan_to_num(p_values, nan=1.0)
    divisors = np.ones(len(known), dtype=np.int64)
    divisor = len(known)
    for index in np.argsort(known, kind="stable"):
        divisors[index] = divisor
        if known[index] * divisor < level:
            divisor = max(1, divisor - 1)
    return divisors


def fisher_p(trained: tuple[int, int], total: tuple[int, int]) -> float:
    """p-value of Fisher's exact test that two arms train equally often.

    NaN below 6 runs. Fisher (1935), The logic of inductive inference, Journal of the
    Royal Statistical Society 98.

    Args:
        trained: number of runs of the arm and of the baseline that finished.
        total: number of runs of the arm and of the baseline, diverged ones included.
    """
    if min(total) < SMALLEST_N:
        return math.nan
    lost = np.subtract(total, trained)
    table = np.column_stack([trained, lost])
    found = stats.fisher_exact(table)
    return float(found.pvalue)
