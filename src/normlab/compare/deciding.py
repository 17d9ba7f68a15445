"""The test that decides a contrast, and which way it points.

- Runs that diverged or failed are outcomes. If there are any, ranks decide, in which
  these runs are the worst: a mean of those that finished would favour an arm for losing
  its worst runs.
- Otherwise the mean decides: the sign-flip test if the arms share seeds, Welch's test
  if not, and the corrected t test for folds.
- If one arm spreads more than three times as much as the other, the mean's test finds
  the shapes as well as an effect. A second test, of how often one arm beats the other,
  must then agree; it holds for arms of any shapes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from normlab.compare.exact_tests import attainable_p, permutation_p, sign_flip_p
from normlab.compare.folds import fold_difference
from normlab.compare.inference import SMALLEST_N, welch
from normlab.compare.samples import Sample
from normlab.compare.shapes import UNEQUAL_SPREADS, spread_ratio


@dataclass(frozen=True)
class Decision:
    """The outcome of the test that decides a contrast.

    Attributes:
        test: `mean`; `mean and wins`, if both must agree; or `ranks`.
        paired: whether the values behind it are pairs or folds.
        p: two-sided p-value; NaN if there are too few values for one.
        direction: 1 if the arm's values are higher, -1 if they are lower, 0 if neither,
            or if two tests disagree.
        sizes: number of values of the arm and of the baseline behind it.
        attainable_p: the smallest p-value that the test can give with these sizes.
    """

    test: str
    paired: bool
    p: float
    direction: int
    sizes: tuple[int, int]
    attainable_p: float


def decide(sample: Sample, outcomes: Sequence[Sample], folds: int | None) -> Decision:
    """Choose and make the test that decides a contrast.

    Args:
        sample: the values of the runs that finished.
        outcomes: the values with diverged and failed runs as the worst; all samples
            must agree. Empty if no run was lost.
        folds: number of folds, None without cross-validation.
    """
    if outcomes:
        by_ranks = [_by_ranks(outcome, folds) for outcome in outcomes]
        return _agreed("ranks", by_ranks)
    found = by_mean(sample, folds)
    if folds or math.isnan(found.p):
        return found
    ratio = spread_ratio(sample.arm, sample.baseline)
    if ratio > UNEQUAL_SPREADS:
        return _agreed("mean and wins", [found, _by_wins(sample)])
    return found


def by_mean(sample: Sample, folds: int | None) -> Decision:
    """The sign-flip test, Welch's test, or the corrected t test of folds.

    Args:
        sample: the values.
        folds: number of folds, None without cross-validation.
    """
    direction = _direction(sample.arm, sample.baseline)
    p = math.nan
    smallest = 0.0
    if folds:
        found = fold_difference(sample.arm, sample.baseline, folds)
        p = found.p
    elif sample.paired:
        smallest = attainable_p(sample.size)
        if sample.size >= SMALLEST_N:
            p = sign_flip_p(sample.differences)
    elif sample.size >= SMALLEST_N:
        _, p = welch(sample.arm, sample.baseline)
    return Decision("mean", sample.paired, p, direction, sample.sizes, smallest)


def _direction(arm: NDArray, baseline: NDArray) -> int:
    """1 if the mean of the arm is higher, -1 if lower; 0 if neither or without one."""
    if min(len(arm), len(baseline)) == 0:
        return 0
    difference = arm.mean() - baseline.mean()
    return int(np.sign(difference))


def _agreed(test: str, decisions: Sequence[Decision]) -> Decision:
    """The decision that all of some tests support: it has the largest p-value."""
    p_values = [decision.p for decision in decisions]
    p = float(np.max(p_values))  # NaN if any is
    directions = {decision.direction for decision in decisions}
    direction = directions.pop()
    if directions:
        direction = 0
        p = max(p, 1.0)  # NaN stays
    fewest = min(decisions, key=lambda decision: min(decision.sizes))
    attainable = max(decision.attainable_p for decision in decisions)
    return Decision(test, fewest.paired, p, direction, fewest.sizes, attainable)


def _by_ranks(sample: Sample, folds: int | None) -> Decision:
    """Wilcoxon's tests, exact also with ties.

    Wilcoxon (1945), Individual comparisons by ranking methods, Biometrics Bulletin 1.
    """
    if not sample.paired:
        return _by_rank_sum(sample)
    ranks = signed_ranks(sample.arm, sample.baseline)
    direction = int(np.sign(ranks.sum()))
    smallest = attainable_p(sample.size)
    p = math.nan
    if folds:
        no_difference = np.zeros_like(ranks)
        found = fold_difference(ranks, no_difference, folds)
        p = found.p
        smallest = 0.0
    elif sample.size >= SMALLEST_N:
        p = sign_flip_p(ranks)
    return Decision("ranks", True, p, direction, sample.sizes, smallest)


def _by_rank_sum(sample: Sample) -> Decision:
    both = np.concatenate([sample.arm, sample.baseline])
    ranks = stats.rankdata(both)
    n = len(sample.arm)
    arm = ranks[:n]
    baseline = ranks[n:]
    direction = _direction(arm, baseline)
    smallest = _smallest_p(sample.sizes)
    p = math.nan
    if sample.size >= SMALLEST_N:
        p = permutation_p(arm, baseline)
    return Decision("ranks", False, p, direction, sample.sizes, smallest)


def _smallest_p(sizes: tuple[int, int]) -> float:
    """The smallest p-value of a permutation test of arms of these sizes."""
    n, m = sizes
    return 2 / math.comb(n + m, n)


def signed_ranks(arm: ArrayLike, baseline: ArrayLike) -> NDArray:
    """Wilcoxon's signed ranks of paired differences; ties share their mean rank.

    Args:
        arm: values of the arm, which may be infinite, shape `(n,)`.
        baseline: values of the baseline at the same seeds, shape `(n,)`.

    Returns:
        Shape `(n,)`; 0 for pairs of equal values, which take no rank.
    """
    arm = np.asarray(arm, float)
    baseline = np.asarray(baseline, float)
    differs = arm != baseline
    ranks = np.zeros(len(arm))
    differences = arm[differs] - baseline[differs]
    # Differences that are equal in theory may differ by rounding.
    sizes = np.abs(differences)
    finite = sizes[np.isfinite(sizes)]
    if len(finite):
        largest = finite.max(initial=1e-300)
        sizes = np.round(sizes / largest, 12)
    ranks[differs] = np.sign(differences) * stats.rankdata(sizes)
    return ranks


def _by_wins(sample: Sample) -> Decision:
    """The sign test of pairs, or Brunner and Munzel's test of independent runs.

    Both test whether one arm beats the other as often as not. Brunner and Munzel
    (2000), The nonparametric Behrens-Fisher problem, Biometrical Journal 42.
    """
    if sample.paired:
        wins = np.sign(sample.differences)
        direction = int(np.sign(wins.sum()))
        p = sign_flip_p(wins)
        smallest = attainable_p(sample.size)
        return Decision("wins", True, p, direction, sample.sizes, smallest)

    compared = stats.mannwhitneyu(sample.arm, sample.baseline)
    share = compared.statistic / math.prod(sample.sizes)
    direction = int(np.sign(share - 0.5))
    smallest = _smallest_p(sample.sizes)
    p = smallest
    if share not in (0, 1):  # otherwise no spread is left to divide by
        found = stats.brunnermunzel(sample.arm, sample.baseline)
        p = max(smallest, float(found.pvalue))
    return Decision("wins", False, p, direction, sample.sizes, smallest)
