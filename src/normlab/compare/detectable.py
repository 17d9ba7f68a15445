"""The smallest difference that a number of seeds would show."""

import math
from functools import lru_cache

import numpy as np
from scipy import optimize, stats

from normlab.compare.effects import (
    MAX_SIMULATED,
    SIMULATIONS,
    all_subsets,
    error_of_design,
    rejected_patterns,
)
from normlab.compare.inference import SMALLEST_N

MOST_ERRORS = 1_000.0  # standard errors; no test of six values needs as many


def detectable_difference(
    n: int,
    sd: float,
    design: str,
    level: float = 0.05,
    power: float = 0.8,
    contrasts: int = 1,
) -> float:
    """The smallest true difference that the test finds with this power.

    The values are taken to be normal and the spread to be known, as in
    `effects.sample_size`, of which this is the inverse.

    Args:
        n: number of pairs, of folds, or of runs of the smaller arm.
        sd: standard deviation of the paired differences, or within arms if independent.
        design: `paired`, `independent` or `folds`.
        level: two-sided significance level over all contrasts.
        power: probability to find the difference.
        contrasts: among which the level is shared (Bonferroni), as at Holm's first
            step.

    Returns:
        In units of the metric; infinite if the test of n values can show nothing; NaN
        without a spread.
    """
    if not sd > 0:
        return math.nan
    if n < SMALLEST_N:
        return math.inf
    level_each = level / contrasts
    return sd * _detectable_effect(n, design, level_each, power)


@lru_cache(maxsize=256)
def _detectable_effect(n: int, design: str, level: float, power: float) -> float:
    """The detectable difference in standard deviations."""
    if design == "paired" and n <= MAX_SIMULATED:
        return _sign_flip_effect(n, level, power)
    error, df = error_of_design(n, design)
    return error * _shift(df, level, power)


def _shift(df: int, level: float, power: float) -> float:
    """By how many standard errors the t statistic must be shifted for this power."""
    critical = stats.t.isf(level / 2, df)

    def excess(shift: float) -> float:
        reached = stats.nct.sf(critical, df, shift)
        return float(reached) - power

    largest = critical + MOST_ERRORS
    return float(optimize.brentq(excess, 0.0, largest))


def _sign_flip_effect(n: int, level: float, power: float) -> float:
    """The effect that the sign-flip test of n normal differences finds.

    The test finds an effect exactly if it exceeds minus the lower end of the interval
    of the differences without it, see `exact_tests.sign_flip_interval`. So the effect
    is a quantile of these ends over simulated differences.
    """
    fewest = rejected_patterns(n, level)
    if fewest < 1:
        return math.inf
    random = np.random.default_rng(0)
    differences = random.standard_normal((SIMULATIONS, n))
    subsets = all_subsets(n)[:, 1:]  # but the empty one
    weights = subsets / subsets.sum(axis=0)
    means = differences.astype(np.float32) @ weights.astype(np.float32)
    place = fewest - 1
    low = np.partition(means, place, axis=1)[:, place]
    return float(np.quantile(-low, power))
