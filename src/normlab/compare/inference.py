"""Tests for a handful of seeds.

Every test is scipy's or statsmodels', the rules are ours. With n seeds an exact paired
test cannot give a p-value below ``2 / 2^n``: .25 at 3, .031 at 6. Below 6 seeds none is
given.
"""

import math
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from normlab.compare.intervals import (
    RESAMPLES,
    UNKNOWN,
    Interval,
    t_interval,
)

SMALLEST_N = 6  # no p-value is given below
MAX_EXCHANGES = 100_000  # that a permutation test enumerates; of more it takes a sample
MAX_EXACT_PAIRS = 40  # whose signs are all counted; of more a sample is taken


@dataclass(frozen=True)
class Difference:
    """The difference between an arm and the baseline, arm minus baseline.

    Attributes:
        design: `paired`, `independent` or `folds`.
        n: number of values of the arm and of the baseline (pairs, runs or folds).
        estimate: difference of the means, in units of the metric; NaN without values.
        interval: confidence interval of the difference: Student's t if paired, Welch's
            if independent, Nadeau and Bengio's for folds.
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


def attainable_p(n: int) -> float:
    """The smallest two-sided p-value of the sign-flip test over n pairs.

    It is ``2 / 2^n`` up to 40 pairs, where the test is exact, and ``2 / (R + 1)`` for a
    sample of R sign patterns.
    """
    if n <= MAX_EXACT_PAIRS:
        return 2.0 ** (1 - n)
    return 2 / (RESAMPLES + 1)


def paired_difference(
    arm: ArrayLike,
    baseline: ArrayLike,
    confidence: float = 0.95,
) -> Difference:
    """Difference over pairs of runs, with the sign-flip test and the paired t interval.

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
    return Difference(
        "paired",
        (n, n),
        estimate=float(differences.mean()) if n else math.nan,
        interval=t_interval(differences, confidence),
        p=sign_flip_p(differences) if n >= SMALLEST_N else math.nan,
        correlation=correlation(arm, baseline),
        attainable_p=attainable_p(n),
    )


def sign_flip_p(differences: ArrayLike) -> float:
    """Two-sided p-value of the mean of paired differences under random signs.

    The p-value is the share of the ``2^n`` sign patterns under which the mean is at
    least as far from 0 as the observed one. It is exact up to 40 pairs and estimated
    from a sample beyond. Fisher (1935), The Design of Experiments.

    Args:
        differences: arm minus baseline of every pair, shape `(n,)`.
    """
    differences = np.asarray(differences, float)
    if len(differences) > MAX_EXACT_PAIRS:
        return _sampled_sign_flip_p(differences)

    # Sums that are equal in theory may differ by rounding.
    tolerance = 1e-12 * np.abs(differences).sum()
    observed = abs(differences.sum()) - tolerance
    if observed <= 0:
        return 1.0

    # The sum of all differences is a sum of the first half plus one of the second. For
    # every sum of the first half, a binary search counts how many sums of the second
    # make the whole large enough: 2^(n/2) log 2^(n/2) operations instead of 2^n.
    first_half, second_half = np.array_split(differences, 2)
    first = np.sort(_signed_sums(first_half))
    second = np.sort(_signed_sums(second_half))
    num_smaller = np.searchsorted(second, observed - first).sum()
    num_as_large = len(second) * len(first) - num_smaller
    return float(2 * num_as_large / 2.0 ** len(differences))


def _signed_sums(values: NDArray) -> NDArray:
    """The sums under all sign patterns, shape `(2^n,)`."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums - value, sums + value])
    return sums


def _sampled_sign_flip_p(differences: NDArray) -> float:
    def mean_difference(
        arm: NDArray,
        baseline: NDArray,
        axis: int,
    ) -> NDArray:
        return (arm - baseline).mean(axis)

    found = stats.permutation_test(
        (differences, np.zeros_like(differences)),
        mean_difference,
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        rng=0,
    )
    return float(found.pvalue)


def correlation(arm: NDArray, baseline: NDArray) -> float:
    """Pearson's r over pairs; NaN below three pairs or if one arm has no spread.

    Args:
        arm: values of the arm, shape `(n,)`.
        baseline: values of the baseline in the same order, shape `(n,)`.
    """
    if len(arm) < 3 or np.ptp(arm) == 0 or np.ptp(baseline) == 0:
        return math.nan
    return float(np.corrcoef(arm, baseline)[0, 1])


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
        spread the interval is the difference itself and p is 0 or 1.
    """
    if np.ptp(arm) == 0 and np.ptp(baseline) == 0:
        estimate = float(arm[0] - baseline[0])
        return (estimate, estimate), float(estimate == 0)
    with warnings.catch_warnings():
        # scipy warns if one of the arms has no spread, which is no mistake here.
        warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)
        found = stats.ttest_ind(arm, baseline, equal_var=False)
    low, high = found.confidence_interval(confidence)
    return (float(low), float(high)), float(found.pvalue)


def permutation_p(arm: NDArray, baseline: NDArray) -> float:
    """Two-sided p-value of the difference of means under exchanges between the arms.

    It is twice the smaller one-sided p-value (scipy's definition). All exchanges are
    enumerated up to 100,000, and sampled beyond. Pitman (1937), Significance tests
    which may be applied to samples from any populations, Supplement to the Journal of
    the Royal Statistical Society 4.

    Args:
        arm: values of the arm, shape `(n,)`.
        baseline: values of the baseline, shape `(m,)`.
    """

    def difference_of_means(
        arm: NDArray,
        baseline: NDArray,
        axis: int,
    ) -> NDArray:
        return arm.mean(axis) - baseline.mean(axis)

    total = len(arm) + len(baseline)
    exchanges = math.comb(total, len(arm))
    found = stats.permutation_test(
        (arm, baseline),
        difference_of_means,
        vectorized=True,
        n_resamples=exchanges if exchanges <= MAX_EXCHANGES else RESAMPLES,
        rng=0,
    )
    return float(found.pvalue)


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
    # statsmodels takes long to import, and loading runs does not need it.
    from statsmodels.stats.multitest import multipletests

    p_values = np.asarray(p_values, float)
    if not len(p_values):
        return p_values
    missing = np.isnan(p_values)
    known = np.where(missing, 1.0, p_values)
    _, corrected, *_ = multipletests(known, method="holm")
    return np.where(missing, np.nan, corrected)


def equivalence_p(
    arm: ArrayLike,
    baseline: ArrayLike,
    margin: float,
    paired: bool,
) -> float:
    """p-value of two one-sided t tests (TOST).

    The null hypothesis is that the means differ by at least the margin, so a small
    p-value shows that the arms are equivalent. NaN below n = 6. Schuirmann (1987), A
    comparison of the two one-sided tests procedure and the power approach for assessing
    the equivalence of average bioavailability, Journal of Pharmacokinetics and
    Biopharmaceutics 15.

    Args:
        arm: values of the arm, shape `(n,)`.
        baseline: values of the baseline, shape `(m,)`.
        margin: the smallest difference that matters, in units of the metric.
        paired: whether `arm[i]` and `baseline[i]` share their seed; Welch's test is
            used otherwise.
    """
    from statsmodels.stats.weightstats import ttost_ind, ttost_paired

    arm = np.asarray(arm, float)
    baseline = np.asarray(baseline, float)
    if min(len(arm), len(baseline)) < SMALLEST_N:
        return math.nan
    spread = max(np.ptp(arm), np.ptp(baseline))
    if paired:
        spread = np.ptp(arm - baseline)
    if spread == 0:
        size = abs(arm.mean() - baseline.mean())
        return 0.0 if size < margin else 1.0
    if paired:
        p, *_ = ttost_paired(arm, baseline, -margin, margin)
    else:
        p, *_ = ttost_ind(arm, baseline, -margin, margin, usevar="unequal")
    return float(p)


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
    table = [
        [trained[0], total[0] - trained[0]],
        [trained[1], total[1] - trained[1]],
    ]
    return float(stats.fisher_exact(table).pvalue)
