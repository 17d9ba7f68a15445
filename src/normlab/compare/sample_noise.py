"""How much of a difference between arms is noise of seeds and of the test set.

The scores of runs vary with the seed, and all of them vary with the samples of which
the test set happens to consist. The seeds of a comparison show the first only.

Shapes: R runs, N test samples, B resamples.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from normlab.compare.intervals import UNKNOWN, Interval, around, t_quantile

RESAMPLES = 2_000
CHUNK = 100  # resamples whose weights are in memory at a time


@dataclass(frozen=True)
class Scores:
    """The scores of the runs of an arm.

    Attributes:
        observed: on the test samples as they are ``(R,)``.
        resampled: on test samples that were drawn with replacement ``(R, B)``, the same
            ones for all runs of a comparison.
    """

    observed: NDArray
    resampled: NDArray


@dataclass(frozen=True)
class Noise:
    """A difference of two arms, with what moves it.

    Attributes:
        difference: mean of the arm minus mean of the baseline.
        interval: covers other seeds and other test samples.
        share: how much of the variance, from 0 to 1, is due to the choice of test
            samples.
    """

    difference: float
    interval: Interval
    share: float


def resampled_means(values: NDArray) -> NDArray:
    """Means over test samples that are drawn with replacement ``(R, B)``.

    Args:
        values: one value per run and test sample ``(R, N)``.
    """
    num_samples = values.shape[1]
    random = np.random.default_rng(0)
    means = []
    for _ in range(RESAMPLES // CHUNK):
        weights = np.empty((CHUNK, num_samples))
        for row in weights:
            drawn = random.integers(num_samples, size=num_samples)
            row[:] = np.bincount(drawn, minlength=num_samples)
        sums = values @ weights.T
        means.append(sums / num_samples)
    return np.concatenate(means, axis=1)


def two_way_noise(
    arm: Scores, baseline: Scores, paired: bool, confidence: float
) -> Noise:
    """The difference of two arms, with an interval over seeds and test samples.

    Both are drawn with replacement at once: the pigeonhole bootstrap (Owen, 2007, The
    pigeonhole bootstrap, Annals of Applied Statistics 1), which errs on the wide side.
    The interval is ``difference ± t(f) e``. The variance ``e^2`` is that of the
    resampled differences, plus ``s^2 / R^2`` for every arm, by which a bootstrap of R
    seeds is too small. The degrees of freedom f are those of Satterthwaite (1946),
    where the seeds have R - 1 and the test samples infinitely many.

    Args:
        arm: the scores of its runs.
        baseline: the same of the baseline.
        paired: whether run number i of both has the same seed.
        confidence: probability with which the interval covers the difference.

    Returns:
        The interval is unknown with fewer than two runs.
    """
    samples = [arm, baseline]
    if paired:
        observed = arm.observed - baseline.observed
        resampled = arm.resampled - baseline.resampled
        samples = [Scores(observed, resampled)]
    difference = float(arm.observed.mean() - baseline.observed.mean())
    sizes = [len(each.observed) for each in samples]
    if min(sizes) < 2:
        return Noise(difference, UNKNOWN, math.nan)
    return _noise(difference, samples, confidence)


def _noise(difference: float, samples: list[Scores], confidence: float) -> Noise:
    """The interval around a difference.

    Args:
        difference: the middle of the interval.
        samples: paired differences, or the scores of two independent arms.
        confidence: of the interval.
    """
    variance = _resampled_variance(samples)
    by_seeds = 0.0
    weight = 0.0  # of the seeds in Satterthwaite's formula
    for each in samples:
        count = len(each.observed)
        spread = float(each.observed.var(ddof=1))
        squared_error = spread / count
        variance += squared_error / count
        by_seeds += squared_error
        weight += squared_error**2 / (count - 1)

    if variance == 0:
        return Noise(difference, (difference, difference), math.nan)
    freedom = math.inf
    if weight > 0:
        freedom = variance**2 / weight
    half = t_quantile(confidence, freedom) * math.sqrt(variance)
    interval = around(difference, half)
    share = max(0.0, 1 - by_seeds / variance)
    return Noise(difference, interval, share)


def _resampled_variance(samples: list[Scores]) -> float:
    """Variance of a difference when runs are drawn with replacement, too."""
    random = np.random.default_rng(1)
    sign = 1
    differences: NDArray = np.zeros(1)
    for each in samples:
        num_runs, num_resamples = each.resampled.shape
        shares = np.full(num_runs, 1 / num_runs)
        weights = random.multinomial(num_runs, shares, num_resamples)
        weighted = weights.T * each.resampled
        means = weighted.sum(0) / num_runs
        differences = differences + sign * means
        sign = -1
    return float(differences.var())


def most_different(arm: NDArray, baseline: NDArray, count: int) -> NDArray:
    """The positions of the samples on which two arms differ most, by their means.

    Samples on which the means are equal are left out.

    Args:
        arm: one value per run and sample ``(R, N)``.
        baseline: the same of the baseline ``(M, N)``.
        count: the largest number of positions that are returned.
    """
    differences = arm.mean(0) - baseline.mean(0)
    sizes = np.abs(differences)
    order = np.argsort(-sizes, kind="stable")
    first = order[:count]
    return first[sizes[first] > 0]
