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
    unequal = spread_ratio(sample.arm, sample.baseline) > UNEQUAL_SPREADS
    if folds or not unequal or math.isnan(found.p):
        return found
    return _agreed("mean and wins", [found, _by_wins(sample)])


def by_mean(sample: Sample, folds: int | None) -> Decision:
    """The sign-flip test, Welch's test, or the corrected t test of folds.

    Args:
        sample: the values.
        folds: number of folds, None without cross-validation.
    """
    sizes = (len(sample.arm), len(sample.baseline))
    direction = 0
    if sample.size:
        difference = sample.arm.mean() - sample.baseline.mean()
        direction = int(np.sign(difference))
    p = math.nan
    smallest = 0.0
    if folds:
        p = fold_difference(sample.arm, sample.baseline, folds).p
    elif sample.paired:
        smallest = attainable_p(sizes[0])
        if sample.size >= SMALLEST_N:
            p = sign_flip_p(sample.arm - sample.baseline)
    elif sample.size >= SMALLEST_N:
        _, p = welch(sample.arm, sample.baseline)
    return Decision("mean", sample.paired, p, direction, sizes, smallest)


def _agreed(test: str, decisions: Sequence[Decision]) -> Decision:
    """The decision that all of some tests support: it has the largest p-value."""
    p = float(np.max([decision.p for decision in decisions]))  # NaN if any is
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
    sizes = (len(sample.arm), len(sample.baseline))
    ranks = signed_ranks(sample.arm, sample.baseline)
    direction = int(np.sign(ranks.sum()))
    if folds:
        p = fold_difference(ranks, np.zeros(len(ranks)), folds).p
        return Decision("ranks", True, p, direction, sizes, 0.0)
    p = math.nan
    if sample.size >= SMALLEST_N:
        p = sign_flip_p(ranks)
    return Decision("ranks", True, p, direction, sizes, attainable_p(sizes[0]))


def _by_rank_sum(sample: Sample) -> Decision:
    sizes = (len(sample.arm), len(sample.baseline))
    both = np.concatenate([sample.arm, sample.baseline])
    ranks = stats.rankdata(both)
    arm = ranks[: sizes[0]]
    baseline = ranks[sizes[0] :]
    direction = 0
    p = math.nan
    if sample.size:
        direction = int(np.sign(arm.mean() - baseline.mean()))
    if sample.size >= SMALLEST_N:
        p = permutation_p(arm, baseline)
    return Decision("ranks", False, p, direction, sizes, _smallest_p(sizes))


def _smallest_p(sizes: tuple[int, int]) -> float:
    """The smallest p-value of a permutation test of arms of these sizes."""
    return 2 / math.comb(sum(sizes), sizes[0])


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
        sizes = np.round(sizes / finite.max(initial=1e-300), 12)
    ranks[differs] = np.sign(differences) * stats.rankdata(sizes)
    return ranks


def _by_wins(sample: Sample) -> Decision:
    """The sign test of pairs, or Brunner and Munzel's test of independent runs.

    Both test whether one arm beats the other as often as not. Brunner and Munzel
    (2000), The nonparametric Behrens-Fisher problem, Biometrical Journal 42.
    """
    sizes = (len(sample.arm), len(sample.baseline))
    if sample.paired:
        wins = np.sign(sample.arm - sample.baseline)
        direction = int(np.sign(wins.sum()))
        return Decision(
            "wins", True, sign_flip_p(wins), direction, sizes, attainable_p(sizes[0])
        )
    share = stats.mannwhitneyu(sample.arm, sample.baseline).statistic
    share = share / (sizes[0] * sizes[1])
    direction = int(np.sign(share - 0.5))
    smallest = _smallest_p(sizes)
    if share in (0, 1):  # no spread is left to divide by
        return Decision("wins", False, smallest, direction, sizes, smallest)
    found = stats.brunnermunzel(sample.arm, sample.baseline)
    p = max(smallest, float(found.pvalue))
    return Decision("wins", False, p, direction, sizes, smallest)
