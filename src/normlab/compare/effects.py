"""Effect sizes, and the number of seeds that it takes to show one."""

import math
from bisect import bisect_left

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from normlab.compare.inference import SMALLEST_N
from normlab.compare.intervals import UNKNOWN, Interval, binomial_interval
from normlab.compare.shapes import spread

MAX_SEEDS = 10_000  # that a power analysis considers
MAX_SIMULATED = 12  # pairs; of more the t test has the same power
SIMULATIONS = 2_000  # of the sign-flip test for every number of pairs
SLACK = 0.02  # by which the sign-flip test may be the better one, in a simulation


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

    arm_squares = (n - 1) * spread(arm) ** 2
    baseline_squares = (m - 1) * spread(baseline) ** 2
    variance = (arm_squares + baseline_squares) / (n + m - 2)
    pooled_sd = math.sqrt(variance)
    difference = arm.mean() - baseline.mean()
    if pooled_sd == 0:
        return 0.0 if difference == 0 else math.nan
    correction = 1 - 3 / (4 * (n + m) - 9)
    return float(correction * difference / pooled_sd)


def probability_of_improvement(
    arm: ArrayLike,
    baseline: ArrayLike,
    higher: bool,
    paired: bool,
    confidence: float = 0.95,
) -> tuple[float, Interval]:
    """Probability that a run of the arm beats a run of the baseline; ties count half.

    Over pairs it is the share of pairs with the same seed that the arm wins, as in
    Bouthillier et al. (2021), Accounting for variance in machine learning benchmarks,
    arXiv 2103.03098. Over independent runs it is ``U / (n m)`` with the U of Mann and
    Whitney (1947), On a test of whether one of two random variables is stochastically
    larger than the other, Annals of Mathematical Statistics 18.

    The interval is Clopper and Pearson's of n trials, or of min(n, m): no distribution
    gives U / (n m) a larger variance than this number of trials has (Birnbaum and
    Klose, 1957, Bounds for the variance of the Mann-Whitney statistic, Annals of
    Mathematical Statistics 28). So 10 of 10 pairs leave 0.69 to 1.

    Args:
        arm: values of the arm, shape `(n,)`; infinite for runs that diverged.
        baseline: values of the baseline, shape `(m,)`.
        higher: whether a higher value is better.
        paired: whether `arm[i]` and `baseline[i]` share their seed.
        confidence: of the interval.

    Returns:
        The probability and its interval; NaN below two runs.
    """
    arm = np.asarray(arm, float)
    baseline = np.asarray(baseline, float)
    if not higher:
        arm = -arm
        baseline = -baseline
    smaller = min(len(arm), len(baseline))
    if smaller < 2:
        return math.nan, UNKNOWN
    if paired:
        wins, ties = num_wins(arm, baseline)
        value = (wins + ties / 2) / smaller
    else:
        found = stats.mannwhitneyu(arm, baseline)
        num_comparisons = len(arm) * len(baseline)
        value = float(found.statistic / num_comparisons)
    return value, binomial_interval(value * smaller, smaller, confidence)


def num_wins(arm: NDArray, baseline: NDArray) -> tuple[int, int]:
    """How many pairs the arm wins, and in how many both values are equal.

    Args:
        arm: values of the arm, of which the higher is better, shape `(n,)`.
        baseline: values of the baseline at the same seeds, shape `(n,)`.
    """
    wins = arm > baseline
    ties = arm == baseline
    return int(wins.sum()), int(ties.sum())


def sample_size(
    effect: float,
    sd: float,
    design: str,
    level: float = 0.05,
    power: float = 0.8,
    contrasts: int = 1,
) -> int | None:
    """Seeds per arm, or folds, with which the test finds a difference of this size.

    The values are taken to be normal and the spread to be known. For pairs the
    sign-flip test itself is simulated up to 12 of them, where it has less power than
    the t test; beyond, and for other designs, the power follows from the noncentral t
    distribution. Cohen (1988), Statistical Power Analysis for the Behavioral Sciences,
    second edition, chapter 2.

    Args:
        effect: difference of the means that should be detected.
        sd: standard deviation of the paired differences, or within arms if independent.
        design: `paired`, `independent` or `folds`.
        level: two-sided significance level over all contrasts.
        power: probability to detect the difference.
        contrasts: among which the level is shared (Bonferroni), as at Holm's first
            step.

    Returns:
        At least 6; above 100 rounded up to the next of some 200 sizes; None if 10,000
        are too few or `effect` or `sd` is not positive.
    """
    if not (effect > 0 and sd > 0):
        return None
    standardized = effect / sd
    level_each = level / contrasts

    def power_of(n: int) -> float:
        return _power(standardized, n, design, level_each, power)

    sizes = _candidate_sizes()
    place = bisect_left(sizes, power, key=power_of)  # more seeds have more power
    if place == len(sizes):
        return None
    return sizes[place]


def _candidate_sizes() -> list[int]:
    """All sizes below 100, and 200 in geometric steps up to the largest."""
    steps = np.geomspace(100, MAX_SEEDS, 200)
    large = np.unique(steps.astype(int))
    return [*range(SMALLEST_N, 100), *large.tolist()]


def _power(
    effect: float,
    n: int,
    design: str,
    level: float,
    wanted: float,
) -> float:
    """Power of the test of a design, for an effect in standard deviations.

    The simulation is left out where even the t test has less power than is wanted.
    """
    error, df = error_of_design(n, design)
    power = _t_power(effect / error, df, level)
    is_simulated = design == "paired" and n <= MAX_SIMULATED
    if is_simulated and power >= wanted - SLACK:
        return sign_flip_power(effect, n, level)
    return power


def error_of_design(n: int, design: str) -> tuple[float, int]:
    """The standard error of a difference in standard deviations, and its freedom.

    Args:
        n: number of pairs, of folds, or of runs per arm.
        design: `paired`, `independent` or `folds`.

    Returns:
        The standard error, and the degrees of freedom of the t test.
    """
    if design == "independent":
        return math.sqrt(2 / n), 2 * n - 2
    variance = 1 / n
    if design == "folds":  # all of them are run, so n - 1 are trained on
        variance += 1 / (n - 1)
    return math.sqrt(variance), n - 1


def _t_power(shift: float, df: int, level: float) -> float:
    """Power of a two-sided t test whose statistic is shifted by this much."""
    critical = stats.t.isf(level / 2, df)
    above = stats.nct.sf(critical, df, shift)
    below = stats.nct.cdf(-critical, df, shift)
    return float(above + below)


def sign_flip_power(effect: float, n: int, level: float) -> float:
    """Power of the sign-flip test of n pairs, by simulation with a fixed seed.

    Args:
        effect: mean of the differences in their standard deviations; they are normal.
        n: number of pairs, at most 12.
        level: two-sided significance level.
    """
    largest = rejected_patterns(n, level)
    if largest < 1:
        return 0.0
    random = np.random.default_rng(0)
    differences = effect + random.standard_normal((SIMULATIONS, n))
    subsets = all_subsets(n).astype(np.float32)
    sums = differences.astype(np.float32) @ subsets
    below = (sums <= 0).sum(axis=1)
    above = (sums >= 0).sum(axis=1)
    rejects = np.minimum(below, above) <= largest
    return float(rejects.mean())


def all_subsets(n: int) -> NDArray:
    """The subsets of n pairs as columns of 0 and 1, the empty one first ``(n, 2^n)``.

    Args:
        n: number of pairs.
    """
    return np.indices((2,) * n).reshape(n, -1)


def rejected_patterns(n: int, level: float) -> int:
    """The most sign patterns that are as extreme as the data if the test rejects.

    They are counted on one side; the test is that of `exact_tests.sign_flip_p`.

    Args:
        n: number of pairs.
        level: two-sided significance level.
    """
    one_sided = level * 2**n / 2
    return math.ceil(one_sided * (1 - 1e-9)) - 1


def seeds_needed(level: float, contrasts: int = 1) -> int:
    """The fewest pairs with which the sign-flip test can be significant after Holm.

    It is the smallest n with ``contrasts * 2 / 2^n <= level``, and at least 6.

    Args:
        level: significance level, such as 0.05.
        contrasts: number of planned contrasts.
    """
    doublings = math.log2(contrasts / level)
    fewest = 1 + math.ceil(doublings)
    return max(SMALLEST_N, fewest)
