"""Tests and effect sizes for a handful of seeds; every test is scipy's or statsmodels', the rules are ours.

With n seeds an exact paired test cannot give a p-value below ``2 / 2^n``: .25 at 3, .031 at 6. Below 6 none is given.
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
    fold_error,
    fold_interval,
    t_interval,
)

SMALLEST_N = 6  # no p-value below
EXACT_UP_TO = (
    100_000  # exchanges that a permutation test goes through; more are sampled
)
EXACT_PAIRS = (
    40  # whose signs are all counted, half against half; of more they are sampled
)


@dataclass(frozen=True)
class Difference:
    """Arm minus baseline.

    Attributes:
        design: `paired`, `independent` or `folds`.
        n: number of pairs, or runs of the arm and of the baseline.
        estimate: difference of the means.
        interval: t interval at the level asked for (Welch's where independent, Nadeau and Bengio's for folds).
        p: sign-flip test where paired, Welch's where independent, corrected t for folds; NaN below n = 6.
        permutation_p: permutation test beside Welch's; NaN elsewhere.
        correlation: between the arms over pairs; NaN where independent.
        attainable: the smallest p that the test can give with this n.
    """

    design: str
    n: tuple[int, int]
    estimate: float
    interval: Interval
    p: float
    permutation_p: float = math.nan
    correlation: float = math.nan
    attainable: float = 0.0


def attainable_p(n: int) -> float:
    """The smallest two-sided p of the sign-flip test over n pairs: ``2 / 2^n`` where it is exact."""
    return 2.0 ** (1 - n) if n <= EXACT_PAIRS else 2 / (RESAMPLES + 1)


def seeds_needed(level: float, contrasts: int = 1) -> int:
    """The fewest pairs at which the exact test can reach the level after Holm's correction."""
    return max(SMALLEST_N, 1 + math.ceil(math.log2(contrasts / level)))


def paired_difference(
    arm: ArrayLike, baseline: ArrayLike, confidence: float = 0.95
) -> Difference:
    """Difference over pairs that share a seed, with the exact sign-flip permutation test."""
    arm, baseline = np.asarray(arm, float), np.asarray(baseline, float)
    differences, n = arm - baseline, len(arm)
    p = sign_flip_p(differences) if n >= SMALLEST_N else math.nan
    return Difference(
        "paired",
        (n, n),
        float(differences.mean()) if n else math.nan,
        t_interval(differences, confidence),
        p,
        correlation=correlation(arm, baseline),
        attainable=attainable_p(n),
    )


def sign_flip_p(differences: ArrayLike) -> float:
    """Two-sided p of the mean under all ``2^n`` signs: the share of them whose mean is as far from 0 (exact to 40)."""
    differences = np.asarray(differences, float)
    if len(differences) > EXACT_PAIRS:
        return _sampled_sign_flip_p(differences)
    scale = np.abs(differences).sum()
    observed = (
        abs(differences.sum()) - 1e-12 * scale
    )  # equal sums may be rounded differently
    if observed <= 0:
        return 1.0
    first, second = (
        np.sort(_signed_sums(half)) for half in np.array_split(differences, 2)
    )
    as_large = (
        len(second) * len(first) - np.searchsorted(second, observed - first).sum()
    )
    return float(2 * as_large / 2.0 ** len(differences))


def _signed_sums(values: NDArray) -> NDArray:
    """The sums under all ``2^n`` signs."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums - value, sums + value])
    return sums


def _sampled_sign_flip_p(differences: NDArray) -> float:
    found = stats.permutation_test(
        (differences, np.zeros_like(differences)),
        lambda arm, baseline, axis: (arm - baseline).mean(axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        rng=0,
    )
    return float(found.pvalue)


def correlation(arm: NDArray, baseline: NDArray) -> float:
    """Pearson's r; NaN below three pairs or without spread."""
    if len(arm) < 3 or np.ptp(arm) == 0 or np.ptp(baseline) == 0:
        return math.nan
    return float(np.corrcoef(arm, baseline)[0, 1])


def independent_difference(
    arm: ArrayLike, baseline: ArrayLike, confidence: float = 0.95
) -> Difference:
    """Difference between runs without common seeds: Welch's t test, with a permutation test beside it."""
    arm, baseline = np.asarray(arm, float), np.asarray(baseline, float)
    n = (len(arm), len(baseline))
    estimate = float(arm.mean() - baseline.mean()) if min(n) else math.nan
    if min(n) < 2:
        return Difference("independent", n, estimate, UNKNOWN, math.nan)
    interval, p = welch(arm, baseline, confidence)
    if min(n) < SMALLEST_N:
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
    arm: NDArray, baseline: NDArray, confidence: float = 0.95
) -> tuple[Interval, float]:
    """Interval and p of Welch's t test; without any spread, the difference itself and 0 or 1."""
    if np.ptp(arm) == 0 and np.ptp(baseline) == 0:
        estimate = float(arm[0] - baseline[0])
        return (estimate, estimate), float(estimate == 0)
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "Precision loss", RuntimeWarning
        )  # one arm without spread is no error
        found = stats.ttest_ind(arm, baseline, equal_var=False)
    low, high = found.confidence_interval(confidence)
    return (float(low), float(high)), float(found.pvalue)


def permutation_p(arm: NDArray, baseline: NDArray) -> float:
    """Twice the smaller one-sided p of the difference of means under all exchanges between the arms.

    Above 100,000 exchanges they are sampled.
    """
    exchanges = math.comb(len(arm) + len(baseline), len(arm))
    found = stats.permutation_test(
        (arm, baseline),
        lambda arm, baseline, axis: arm.mean(axis) - baseline.mean(axis),
        vectorized=True,
        n_resamples=exchanges if exchanges <= EXACT_UP_TO else RESAMPLES,
        rng=0,
    )
    return float(found.pvalue)


def fold_difference(
    arm: ArrayLike, baseline: ArrayLike, folds: int, confidence: float = 0.95
) -> Difference:
    """Difference over cross-validation folds, one value a fold: Nadeau and Bengio's corrected t test (`fold_error`)."""
    arm, baseline = np.asarray(arm, float), np.asarray(baseline, float)
    differences, n = arm - baseline, len(arm)
    estimate = float(differences.mean()) if n else math.nan
    p = math.nan
    if n >= SMALLEST_N:
        error = fold_error(differences, folds)
        p = (
            2 * float(stats.t.sf(abs(estimate) / error, n - 1))
            if error
            else float(estimate == 0)
        )
    interval = fold_interval(differences, folds, confidence)
    return Difference(
        "folds", (n, n), estimate, interval, p, correlation=correlation(arm, baseline)
    )


def holm(p_values: ArrayLike) -> NDArray:
    """Holm's correction over the planned contrasts; NaN (no p-value given) stays and still counts."""
    from statsmodels.stats.multitest import multipletests

    p_values = np.asarray(p_values, float)
    if not len(p_values):
        return p_values
    corrected = multipletests(
        np.where(np.isnan(p_values), 1.0, p_values), method="holm"
    )[1]
    return np.where(np.isnan(p_values), np.nan, corrected)


def hedges_g(arm: ArrayLike, baseline: ArrayLike) -> float:
    """``(1 - 3 / (4 (n + m) - 9)) (mean difference) / (pooled SD)``, whether paired or not. Hedges (1981)."""
    arm, baseline = np.asarray(arm, float), np.asarray(baseline, float)
    n, m = len(arm), len(baseline)
    if min(n, m) < 2:
        return math.nan
    pooled = math.sqrt(
        ((n - 1) * arm.var(ddof=1) + (m - 1) * baseline.var(ddof=1)) / (n + m - 2)
    )
    difference = arm.mean() - baseline.mean()
    if pooled == 0:
        return 0.0 if difference == 0 else math.nan
    return float((1 - 3 / (4 * (n + m) - 9)) * difference / pooled)


def probability_of_improvement(
    arm: ArrayLike,
    baseline: ArrayLike,
    higher: bool,
    paired: bool,
    confidence: float = 0.95,
) -> tuple[float, Interval]:
    """How often a run of the arm beats a run of the baseline, ties half: Mann and Whitney's ``U / (n m)``.

    The interval is a percentile bootstrap, over pairs where the runs are paired. Meaningful (Bouthillier et al., 2021)
    if it lies above .5 and the value is at least .75.
    """
    arm, baseline = (
        np.asarray(values, float) * (1 if higher else -1) for values in (arm, baseline)
    )
    if min(len(arm), len(baseline)) < 2:
        return math.nan, UNKNOWN
    value = stats.mannwhitneyu(arm, baseline).statistic / (len(arm) * len(baseline))

    def wins(arm: NDArray, baseline: NDArray, axis: int) -> NDArray:
        each = arm[..., :, None] - baseline[..., None, :]
        return ((each > 0) + 0.5 * (each == 0)).mean((-2, -1))

    batch = max(1, int(2e7 // (len(arm) * len(baseline))))
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", stats.DegenerateDataWarning
        )  # every run of one arm above the other
        found = stats.bootstrap(
            (arm, baseline),
            wins,
            vectorized=True,
            paired=paired,
            confidence_level=confidence,
            n_resamples=1999,
            batch=batch,
            method="percentile",
            rng=0,
        )
    return float(value), (
        float(found.confidence_interval.low),
        float(found.confidence_interval.high),
    )


def equivalence_p(
    arm: ArrayLike, baseline: ArrayLike, margin: float, paired: bool
) -> float:
    """p of two one-sided t tests that the means differ by less than the margin; NaN below n = 6.

    Small p: equivalent. Schuirmann (1987).
    """
    from statsmodels.stats.weightstats import ttost_ind, ttost_paired

    arm, baseline = np.asarray(arm, float), np.asarray(baseline, float)
    if min(len(arm), len(baseline)) < SMALLEST_N:
        return math.nan
    spread = np.ptp(arm - baseline) if paired else max(np.ptp(arm), np.ptp(baseline))
    if spread == 0:
        return 0.0 if abs(arm.mean() - baseline.mean()) < margin else 1.0
    if paired:
        return float(ttost_paired(arm, baseline, -margin, margin)[0])
    return float(ttost_ind(arm, baseline, -margin, margin, usevar="unequal")[0])


def fold_equivalence_p(
    difference: Difference, confidence: float, margin: float
) -> float:
    """Two one-sided tests with the corrected standard error of a difference over folds; NaN below n = 6."""
    n = difference.n[0]
    if n < SMALLEST_N:
        return math.nan
    half = (difference.interval[1] - difference.interval[0]) / 2
    error = half / stats.t.ppf(0.5 + confidence / 2, n - 1)
    if error == 0:
        return 0.0 if abs(difference.estimate) < margin else 1.0
    return float(stats.t.sf((margin - abs(difference.estimate)) / error, n - 1))


def sample_size(
    effect: float, sd: float, paired: bool, level: float = 0.05, power: float = 0.8
) -> int | None:
    """Seeds per arm at which a difference of `effect` is shown with the given power; None above 10,000."""
    from statsmodels.stats.power import TTestIndPower, TTestPower

    if not (effect > 0 and sd > 0):
        return None
    solver = TTestPower() if paired else TTestIndPower()
    for n in (
        *range(SMALLEST_N, 100),
        *np.unique(np.geomspace(100, 10_000, 200).astype(int)),
    ):
        if solver.power(effect / sd, int(n), level) >= power:
            return int(n)
    return None


def fisher_p(trained: tuple[int, int], total: tuple[int, int]) -> float:
    """Fisher's exact p that two arms train equally often; NaN below n = 6."""
    if min(total) < SMALLEST_N:
        return math.nan
    table = [[trained[0], total[0] - trained[0]], [trained[1], total[1] - trained[1]]]
    return float(stats.fisher_exact(table).pvalue)
