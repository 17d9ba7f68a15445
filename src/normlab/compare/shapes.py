"""Do two arms spread alike? Where they do not, tests of a mean say less than they seem.

If one arm has a tail of bad runs and the other has none, a handful of runs often misses
the tail. The means then look equal or better than they are, and no test of the runs
that were seen can know. So unequal shapes are noticed and named, and for what was never
seen there is a bound on how frequent it may be.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

UNEQUAL_SPREADS = 3.0  # ratio of standard deviations from which a reader is warned
# Equivalence rests on the tails, so it is not claimed beyond these.
EQUIVALENT_SPREADS = 2.0  # ratio of standard deviations
EQUIVALENT_SKEWNESS = 1.0  # of the differences, in either direction
FEWEST_FOR_EQUIVALENCE = 10  # runs per arm; six miss a third of the runs too easily
COLLAPSED = 8.0  # robust standard deviations from the median
MAD_TO_SD = 1.4826  # of a normal distribution
ROUNDING = 1e-13  # share of a value; differences of logarithms are rounded so far


def spread_ratio(arm: ArrayLike, baseline: ArrayLike) -> float:
    """The larger standard deviation over the smaller one.

    Infinite if one arm has no spread, 1 if neither has; NaN below 3 values.

    Args:
        arm: values of the arm, shape `(n,)`.
        baseline: values of the baseline, shape `(m,)`.
    """
    arm = np.asarray(arm, float)
    baseline = np.asarray(baseline, float)
    if min(len(arm), len(baseline)) < 3:
        return math.nan
    spreads = [spread(arm), spread(baseline)]
    smaller, larger = sorted(spreads)
    if larger == 0:
        return 1.0
    if smaller == 0:
        return math.inf
    return larger / smaller


def spread(values: NDArray) -> float:
    """Standard deviation; exactly 0 if all values are equal, NaN below two values."""
    if len(values) < 2:
        return math.nan
    if all_equal(values):  # their mean may be rounded, which would leave a spread
        return 0.0
    return float(values.std(ddof=1))


def all_equal(values: NDArray) -> bool:
    """Whether all of at least one value are the same."""
    return bool(np.ptp(values) == 0)


def skewness(values: ArrayLike) -> float:
    """Third standardized moment ``m3 / m2^(3/2)``; NaN below 3 values.

    It is 0 if the values are equal but for their rounding.

    Args:
        values: such as the differences of pairs, shape `(n,)`.
    """
    values = np.asarray(values, float)
    if len(values) < 3:
        return math.nan
    if np.ptp(values) <= ROUNDING * np.abs(values).max():
        return 0.0
    return float(stats.skew(values))


def num_collapsed(values: ArrayLike, higher: bool) -> int:
    """Finished runs that are far worse than the rest of their arm.

    They lie more than eight robust standard deviations, ``1.4826 MAD``, on the worse
    side of the median; none if more than half of the values are equal.

    Args:
        values: values of one arm, shape `(n,)`.
        higher: whether a higher value is better.
    """
    values = np.asarray(values, float)
    if len(values) < 3:
        return 0
    shortfall = np.median(values) - values
    if not higher:
        shortfall = -shortfall
    distances = np.abs(shortfall)
    deviation = MAD_TO_SD * np.median(distances)
    if deviation == 0:
        return 0
    is_far = shortfall > COLLAPSED * deviation
    return int(is_far.sum())


def unseen_share(n: int, level: float = 0.05) -> float:
    """The largest share of runs that may behave otherwise though none of n did.

    It is ``1 - level^(1/n)``, about ``3 / n`` for a level of 0.05 (the rule of three):
    0.39 for 6, 0.26 for 10 and 0.14 for 20. Hanley and Lippman-Hand (1983), If nothing
    goes wrong, is everything all right?, JAMA 249.

    Args:
        n: number of runs or pairs that were seen.
        level: 1 minus the confidence of the bound.
    """
    return 1 - level ** (1 / n)
