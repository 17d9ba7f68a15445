"""Equivalence: do two arms differ by less than a margin?"""

import math

import numpy as np

from normlab.compare.folds import fold_difference, fold_equivalence_p
from normlab.compare.inference import SMALLEST_N
from normlab.compare.samples import Sample
from normlab.compare.shapes import (
    EQUIVALENT_SKEWNESS,
    EQUIVALENT_SPREADS,
    FEWEST_FOR_EQUIVALENCE,
    all_equal,
    skewness,
    spread_ratio,
)

HALF = 0.5  # the share of pairs that may differ, at the least, where none did


def equivalence_p(sample: Sample, folds: int | None, margin: float) -> float:
    """p-value of two one-sided t tests (TOST).

    The null hypothesis is that the means differ by at least the margin, so a small
    p-value shows that the arms are equivalent. NaN below n = 6. Schuirmann (1987), A
    comparison of the two one-sided tests procedure and the power approach for assessing
    the equivalence of average bioavailability, Journal of Pharmacokinetics and
    Biopharmaceutics 15.

    Args:
        sample: paired values are tested as pairs, and others by Welch's test.
        folds: number of folds, which corrects the error; None without folds.
        margin: the smallest difference that matters, in units of the metric.
    """
    if sample.size < SMALLEST_N:
        return math.nan
    if _without_spread(sample):
        return _p_without_spread(sample, margin)
    if folds:
        difference = fold_difference(sample.arm, sample.baseline, folds)
        return fold_equivalence_p(difference, 0.95, margin)

    from statsmodels.stats.weightstats import ttost_ind, ttost_paired

    bounds = (-margin, margin)
    if sample.paired:
        p, *_ = ttost_paired(sample.arm, sample.baseline, *bounds)
    else:
        p, *_ = ttost_ind(sample.arm, sample.baseline, *bounds, usevar="unequal")
    return float(p)


def _without_spread(sample: Sample) -> bool:
    if sample.paired:
        return all_equal(sample.differences)
    return all_equal(sample.arm) and all_equal(sample.baseline)


def _p_without_spread(sample: Sample, margin: float) -> float:
    """p-value where all differences are equal, so that a t test has no error.

    What may have been missed is a share of pairs that differ. If such a pair differs by
    the range R of all values that were seen, the mean reaches the margin from a share
    ``q = (margin - |d|) / R`` on, and n pairs miss it with probability ``(1 - q)^n``.
    The share is taken to be at most one half, so that p is never below ``2^-n``.
    """
    difference = sample.arm.mean() - sample.baseline.mean()
    room = margin - abs(difference)
    if room <= 0:
        return 1.0
    values = np.concatenate([sample.arm, sample.baseline])
    reach = np.ptp(values)
    share = HALF
    if reach > 0:
        share = min(HALF, room / reach)
    return float((1 - share) ** sample.size)


def doubts(sample: Sample, names: tuple[str, str]) -> str:
    """Why two one-sided t tests must not be believed, in words; empty if they may.

    They take the tails for those of a normal distribution. If one arm spreads more or
    the differences are skewed, they say "equivalent" up to a third of the time where
    the margin is reached.

    Args:
        sample: the values.
        names: of the arm and of the baseline.
    """
    if sample.size < FEWEST_FOR_EQUIVALENCE:
        what = "pairs" if sample.paired else "runs per arm"
        return (
            f"{sample.size} {what} miss rare runs too easily; at least "
            f"{FEWEST_FOR_EQUIVALENCE} are needed"
        )
    ratio = spread_ratio(sample.arm, sample.baseline)
    if ratio > EQUIVALENT_SPREADS:
        wider = _wider(sample, names)
        return f"{wider} {spread_beside(ratio, 'those of the other')}"
    return _doubt_about_skewness(sample, names)


def _doubt_about_skewness(sample: Sample, names: tuple[str, str]) -> str:
    arm, baseline = names
    parts = {
        f"the runs of {arm}": sample.arm,
        f"the runs of {baseline}": sample.baseline,
    }
    if sample.paired:
        parts = {"the differences": sample.differences}
    for name, values in parts.items():
        value = skewness(values)
        if abs(value) > EQUIVALENT_SKEWNESS:
            return f"{name} are skewed (skewness {_signed(value)})"
    return ""


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


def _wider(sample: Sample, names: tuple[str, str]) -> str:
    """The arm whose runs spread more."""
    arm, baseline = names
    if sample.arm.std() < sample.baseline.std():
        return f"the runs of {baseline}"
    return f"the runs of {arm}"


def spread_beside(ratio: float, others: str) -> str:
    """`spread 4.2 times as much as those of none`, or that these do not vary.

    Args:
        ratio: from `spread_ratio`.
        others: the runs that spread less.
    """
    if math.isinf(ratio):
        return f"spread, while {others} do not vary"
    shown = f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}"
    return f"spread {shown} times as much as {others}"
