"""Exact permutation tests of a handful of values, and the interval of the sign flips.

A test over n pairs has 2^n patterns of signs, and one between two arms as many
exchanges as there are subsets of their size. They are counted in halves: for every sum
over a subset of the first half, a binary search finds how many sums of the second half
make the whole small enough, in about 2^(n/2) steps.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from normlab.compare.intervals import RESAMPLES, UNKNOWN, Interval

MAX_EXACT_PAIRS = 30  # whose signs are all counted; of more a sample is taken
MAX_EXACT_RUNS = 36  # of two arms, whose exchanges are all counted
MAX_LISTED_PAIRS = 18  # whose subset means are all listed for an interval
BISECTIONS = 40  # of an end of an interval
UNBOUNDED: Interval = (-math.inf, math.inf)


def attainable_p(n: int) -> float:
    """The smallest two-sided p-value of the sign-flip test over n pairs.

    It is ``2 / 2^n`` up to 30 pairs, where the test is exact, and ``2 / (R + 1)`` for a
    sample of R sign patterns.
    """
    if n <= MAX_EXACT_PAIRS:
        return 2.0 ** (1 - n)
    return 2 / (RESAMPLES + 1)


def sign_flip_p(differences: ArrayLike) -> float:
    """Two-sided p-value of the mean of paired differences under random signs.

    The p-value is the share of the ``2^n`` sign patterns under which the mean is at
    least as far from 0 as the observed one. It is exact up to 30 pairs and estimated
    from a sample beyond. Fisher (1935), The Design of Experiments.

    What is tested is that the arm changes nothing in any run, so that the sign of every
    difference is a coin flip. Equal means alone do not make it so: under arms of
    unequal shapes the test finds the shapes, see `shapes`. Dividing the mean by its
    standard error would change nothing, since no flip changes the sum of the squares.

    Args:
        differences: arm minus baseline of every pair, shape `(n,)`.
    """
    differences = np.asarray(differences, float)
    # Sums that are equal in theory may differ by rounding.
    tolerance = 1e-12 * np.abs(differences).sum()
    total = differences.sum()
    if abs(total) <= tolerance:
        return 1.0
    towards_positive = differences * np.sign(total)
    return min(1.0, 2 * _one_sided_p(towards_positive, tolerance))


def sign_test_p(wins: int, losses: int) -> float:
    """Exact two-sided p-value that wins and losses are equally likely; 1 without any.

    Args:
        wins: in how many cases one side is better. Cases without a difference do not
            count.
        losses: in how many the other side is.
    """
    total = wins + losses
    if total == 0:
        return 1.0
    return float(stats.binomtest(wins, total).pvalue)


def _one_sided_p(differences: NDArray, tolerance: float) -> float:
    """Share of the sign patterns whose sum is as large as the one observed.

    Turning the signs of a subset lowers the sum by twice the sum over the subset, so
    these are the patterns that turn a subset whose sum is not above 0.
    """
    n = len(differences)
    if n > MAX_EXACT_PAIRS:
        sums = _drawn_subsets(n) @ differences
        num_small = int((sums <= tolerance).sum())
        return (1 + num_small) / (RESAMPLES + 1)
    first_half, second_half = np.array_split(differences, 2)
    first, _ = _subset_sums(first_half)
    second, _ = _subset_sums(second_half)
    count = _num_pairs_up_to(tolerance, first, second)
    return float(count / 2.0**n)


def _num_pairs_up_to(limit: float, first: NDArray, second: NDArray) -> int:
    """How many sums of one value of each array are at most the limit."""
    ordered = np.sort(second)
    room = limit - np.sort(first)
    counts = np.searchsorted(ordered, room, side="right")
    return int(counts.sum())


def _subset_sums(values: NDArray) -> tuple[NDArray, NDArray]:
    """Sum and size of every subset, the empty one first, each of shape `(2^n,)`."""
    sums = np.zeros(1)
    sizes = np.zeros(1, int)
    for value in values:
        sums_with_it = sums + value
        sizes_with_it = sizes + 1
        sums = np.concatenate([sums, sums_with_it])
        sizes = np.concatenate([sizes, sizes_with_it])
    return sums, sizes


@lru_cache(maxsize=8)
def _drawn_subsets(n: int) -> NDArray:
    """Random subsets of n pairs as rows of 0 and 1, the same in every call."""
    random = np.random.default_rng(0)
    subsets = random.integers(0, 2, (RESAMPLES, n))
    return subsets.astype(float)


def sign_flip_interval(differences: ArrayLike, confidence: float = 0.95) -> Interval:
    """The interval of a shift that belongs to `sign_flip_p`.

    It holds every value that the test does not reject when it is subtracted from all
    differences, so it leaves out 0 exactly if ``p < 1 - confidence``. Its ends are
    means of subsets of the differences. Hartigan (1969), Using subsample values as
    typical values, Journal of the American Statistical Association 64.

    Args:
        differences: arm minus baseline of every pair, shape `(n,)`.
        confidence: probability with which the interval covers the shift.

    Returns:
        Lower and upper end, in units of the differences; infinite if so few pairs
        reject no value; NaN below two pairs.
    """
    differences = np.asarray(differences, float)
    level = 1 - confidence
    n = len(differences)
    if n < 2:
        return UNKNOWN
    if attainable_p(n) > level * (1 - 1e-9):
        return UNBOUNDED
    if MAX_LISTED_PAIRS < n <= MAX_EXACT_PAIRS:
        low = _lower_end(differences, level)
        return low, -_lower_end(-differences, level)

    means = _subset_means(differences)
    # A value is rejected on one side if fewer than this number of means lie below it.
    share = level / 2 * (1 - 1e-9)
    num_subsets = len(means) + 1
    fewest = math.ceil(share * num_subsets) - 1
    means = np.sort(means)
    return float(means[fewest - 1]), float(means[-fewest])


def _subset_means(differences: NDArray) -> NDArray:
    """Means of all subsets but the empty one, or of the subsets that were drawn."""
    n = len(differences)
    if n <= MAX_LISTED_PAIRS:
        sums, sizes = _subset_sums(differences)
        return sums[1:] / sizes[1:]
    subsets = _drawn_subsets(n)
    sums = subsets @ differences
    return sums / subsets.sum(axis=1)


def _lower_end(differences: NDArray, level: float) -> float:
    """The largest shift that the test still rejects as too small, by bisection."""
    low = differences.min()
    high = differences.mean()
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        p = 2 * _one_sided_p(differences - middle, 0.0)
        if p < level:
            low = middle
        else:
            high = middle
    return float(high)


def permutation_p(arm: ArrayLike, baseline: ArrayLike) -> float:
    """Two-sided p-value of the difference of means under exchanges between the arms.

    It is the share of the exchanges under which the difference is at least as far from
    0 as the observed one. All of them are counted up to 36 runs of both arms together,
    and a sample beyond. Pitman (1937), Significance tests which
    may be applied to samples from any populations, Supplement to the Journal of the
    Royal Statistical Society 4.

    Args:
        arm: values of the arm, shape `(n,)`.
        baseline: values of the baseline, shape `(m,)`.
    """
    arm = np.asarray(arm, float)
    baseline = np.asarray(baseline, float)
    size = len(arm)
    both = np.concatenate([arm, baseline])
    centred = both - both.mean()
    of_arm = centred[:size]
    observed = abs(of_arm.sum())
    tolerance = 1e-12 * np.abs(centred).sum()
    if observed <= tolerance:
        return 1.0
    limit = tolerance - observed
    count_up_to = _num_exchanges_up_to
    if len(both) > MAX_EXACT_RUNS:
        count_up_to = _num_drawn_up_to
    below, total = count_up_to(limit, centred, size)
    above, _ = count_up_to(limit, -centred, size)
    return min(1.0, (below + above) / total)


def _num_exchanges_up_to(limit: float, values: NDArray, size: int) -> tuple[int, int]:
    """How many subsets of a size have at most this sum, and how many there are."""
    first_half, second_half = np.array_split(values, 2)
    first, first_sizes = _subset_sums(first_half)
    second, second_sizes = _subset_sums(second_half)
    count = 0
    for taken in range(size + 1):
        part = first[first_sizes == taken]
        rest = second[second_sizes == size - taken]
        count += _num_pairs_up_to(limit, part, rest)
    return count, math.comb(len(values), size)


def _num_drawn_up_to(limit: float, values: NDArray, size: int) -> tuple[int, int]:
    """As `_num_exchanges_up_to`, for random subsets; the observed one is among them."""
    random = np.random.default_rng(0)
    copies = np.tile(values, (RESAMPLES, 1))
    drawn = random.permuted(copies, axis=1)
    drawn = np.vstack([values, drawn])
    of_arm = drawn[:, :size]
    is_small = of_arm.sum(axis=1) <= limit
    return int(is_small.sum()), len(drawn)
