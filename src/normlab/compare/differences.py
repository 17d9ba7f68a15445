"""The difference of two arms' values, and its intervals at any confidence."""

import math

from normlab.compare import inference, intervals
from normlab.compare.folds import fold_difference
from normlab.compare.intervals import UNKNOWN, Interval
from normlab.compare.samples import Sample


def difference_of(
    sample: Sample,
    folds: int | None,
    confidence: float,
) -> inference.Difference:
    """The difference with its test and interval, by the design of the sample.

    Args:
        sample: the values.
        folds: number of folds, None without cross-validation.
        confidence: of the interval.
    """
    if folds:
        return fold_difference(sample.arm, sample.baseline, folds, confidence)
    if sample.paired:
        return inference.paired_difference(sample.arm, sample.baseline, confidence)
    return inference.independent_difference(sample.arm, sample.baseline, confidence)


def interval_of(sample: Sample, folds: int | None, confidence: float) -> Interval:
    """The interval that belongs to the test of the mean.

    Args:
        sample: the values.
        folds: number of folds, None without cross-validation.
        confidence: of the interval.
    """
    if sample.paired and not folds and sample.size >= 2:
        return inference.paired_interval(sample.differences, confidence)
    return t_interval_of(sample, folds, confidence)


def t_interval_of(sample: Sample, folds: int | None, confidence: float) -> Interval:
    """The t interval: of pairs, corrected for folds, or Welch's.

    Args:
        sample: the values.
        folds: number of folds, None without cross-validation.
        confidence: of the interval.
    """
    if sample.size < 2:
        return UNKNOWN
    if not sample.paired:
        interval, _ = inference.welch(sample.arm, sample.baseline, confidence)
        return interval
    if folds:
        return intervals.fold_interval(sample.differences, folds, confidence)
    return intervals.t_interval(sample.differences, confidence)


def welch_interval_of(
    sample: Sample,
    folds: int | None,
    confidence: float,
) -> Interval:
    """Welch's interval next to a paired one, which shows what pairing gains.

    Args:
        sample: the values.
        folds: number of folds, None without cross-validation.
        confidence: of the interval.

    Returns:
        Lower and upper end; NaN if the values are no pairs, or folds.
    """
    if folds or not sample.paired or sample.size < 2:
        return UNKNOWN
    interval, _ = inference.welch(sample.arm, sample.baseline, confidence)
    return interval


def prediction_of(sample: Sample, folds: int | None, confidence: float) -> Interval:
    """Where the difference of one further pair of runs is expected.

    See `intervals.prediction_interval`: the spread of a single difference is added to
    the error of the mean, with the same degrees of freedom.

    Args:
        sample: the values.
        folds: number of folds, None without cross-validation.
        confidence: of the interval.
    """
    low, high = t_interval_of(sample, folds, confidence)
    if math.isnan(low):
        return UNKNOWN
    middle = (low + high) / 2
    half = (high - low) / 2
    factor = math.sqrt(1 + _single_to_mean(sample, folds))
    return intervals.around(middle, half * factor)


def _single_to_mean(sample: Sample, folds: int | None) -> float:
    """Variance of one difference over the variance of the mean difference."""
    n, n_baseline = sample.sizes
    if folds:
        test_to_train = 1 / (folds - 1)
        return 1 / (1 / n + test_to_train)
    if sample.paired:
        return n
    arm = float(sample.arm.var(ddof=1))
    baseline = float(sample.baseline.var(ddof=1))
    of_single = arm + baseline
    of_mean = arm / n + baseline / n_baseline
    if of_single == 0:
        return 0.0
    return of_single / of_mean
