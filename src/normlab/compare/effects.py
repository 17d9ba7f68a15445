"""Effect sizes, and the number of seeds that it takes to show one."""

import math
import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from normlab.compare.inference import SMALLEST_N
from normlab.compare.intervals import UNKNOWN, Interval

NUM_RESAMPLES = 1_999  # of the bootstrap over comparisons of runs
MAX_COMPARISONS = 20_000_000  # that the bootstrap holds in memory at a time
MAX_SEEDS = 10_000  # that a power analysis considers


def hedges_g(arm: ArrayLike, baseline: ArrayLike) -> float:
    """Hedges' g, the difference of the means in standard deviations.

    ``(1 - 3 / (4 (n + m) - 9)) (mean difference) / (pooled SD)``, whether the runs are
    paired or not. NaN below two runs per arm, or if only the means differ. Hedges
    (1981), Distribution theory for Glass's estimator of effect size and related
    estimators, Journal of Educational Statistics 6.

    Args:
        arm: values of the arm, shape `(n,)`.
        baseline: values of the baseline, shape `(m,)`.
    """
    arm = np.asarray(arm, float)
    baseline = np.asarray(baseline, float)
    n = len(arm)
    m = len(baseline)
    if min(n, m) < 2:
        return math.nan

    arm_squares = (n - 1) * arm.var(ddof=1)
    baseline_squares = (m - 1) * baseline.var(ddof=1)
    pooled = math.sqrt((arm_squares + baseline_squares) / (n + m - 2))
    difference = arm.mean() - baseline.mean()
    if pooled == 0:
        return 0.0 if difference == 0 else math.nan
    correction = 1 - 3 / (4 * (n + m) - 9)
    return float(correction * difference / pooled)


def probability_of_improvement(
    arm: ArrayLike,
    baseline: ArrayLike,
    higher: bool,
    paired: bool,
    confidence: float = 0.95,
) -> tuple[float, Interval]:
    """Probability that a run of the arm beats a run of the baseline; ties count half.

    It is ``U / (n m)`` with the U of Mann and Whitney (1947), On a test of whether one
    of two random variables is stochastically larger than the other, Annals of
    Mathematical Statistics 18. The difference is meaningful if the value is at least
    .75 and its interval lies above .5, as proposed by Bouthillier et al. (2021),
    Accounting for variance in machine learning benchmarks, arXiv 2103.03098.

    Args:
        arm: values of the arm, shape `(n,)`.
        baseline: values of the baseline, shape `(m,)`.
        higher: whether a higher value is better.
        paired: whether `arm[i]` and `baseline[i]` share their seed; the bootstrap then
            draws pairs.
        confidence: of the interval.

    Returns:
        The probability, and its percentile bootstrap interval; NaN below two runs.
    """
    sign = 1 if higher else -1
    arm = np.asarray(arm, float) * sign
    baseline = np.asarray(baseline, float) * sign
    num_comparisons = len(arm) * len(baseline)
    if min(len(arm), len(baseline)) < 2:
        return math.nan, UNKNOWN
    value = stats.mannwhitneyu(arm, baseline).statistic / num_comparisons

    def share_of_wins(
        arm: NDArray,
        baseline: NDArray,
        axis: int,
    ) -> NDArray:
        differences = arm[..., :, None] - baseline[..., None, :]
        wins = (differences > 0) + 0.5 * (differences == 0)
        return wins.mean((-2, -1))

    with warnings.catch_warnings():
        # The bootstrap is degenerate if every run of one arm beats every other run.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            (arm, baseline),
            share_of_wins,
            vectorized=True,
            paired=paired,
            confidence_level=confidence,
            n_resamples=NUM_RESAMPLES,
            batch=max(1, MAX_COMPARISONS // num_comparisons),
            method="percentile",
            rng=0,
        )
    interval = found.confidence_interval
    return float(value), (float(interval.low), float(interval.high))


def sample_size(
    effect: float,
    sd: float,
    paired: bool,
    level: float = 0.05,
    power: float = 0.8,
) -> int | None:
    """Seeds per arm with which a t test detects a difference with the given power.

    The power follows from the noncentral t distribution with effect size
    ``effect / sd``; Cohen (1988), Statistical Power Analysis for the Behavioral
    Sciences, second edition, chapter 2.

    Args:
        effect: difference of the means that should be detected.
        sd: standard deviation of the paired differences, or within arms if independent.
        paired: whether the runs of both arms share their seeds.
        level: two-sided significance level.
        power: probability to detect the difference.

    Returns:
        At least 6; above 100 rounded up to the next of some 200 sizes; None if 10,000
        seeds are too few or `effect` or `sd` is not positive.
    """
    from statsmodels.stats.power import TTestIndPower, TTestPower

    if not (effect > 0 and sd > 0):
        return None
    solver = TTestPower() if paired else TTestIndPower()
    large_sizes = np.unique(np.geomspace(100, MAX_SEEDS, 200).astype(int))
    for n in (*range(SMALLEST_N, 100), *large_sizes.tolist()):
        if solver.power(effect / sd, n, level) >= power:
            return n
    return None


def seeds_needed(level: float, contrasts: int = 1) -> int:
    """The fewest pairs with which the sign-flip test can be significant after Holm.

    It is the smallest n with ``contrasts * 2 / 2^n <= level``, and at least 6.

    Args:
        level: significance level, such as 0.05.
        contrasts: number of planned contrasts.
    """
    fewest = 1 + math.ceil(math.log2(contrasts / level))
    return max(SMALLEST_N, fewest)
