"""Which values of two arms are compared, and with which runs as the worst."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from normlab.compare.inference import SMALLEST_N
from normlab.compare.settings import pairing_keys
from normlab.compare.summaries import (
    FOLD,
    finished_runs,
    have_finished,
    score_values,
)
from normlab.metrics import higher_is_better

BASELINE_SUFFIX = " of the baseline"  # of the baseline's column in a table of pairs
LOST = ("diverged", "failed")


@dataclass(frozen=True)
class Sample:
    """Values of the metric that a contrast rests on.

    Attributes:
        arm: one value per pair, fold or run of the arm, shape `(n,)`.
        baseline: the same of the baseline, shape `(m,)`; `m == n` if paired.
        paired: whether `arm[i]` and `baseline[i]` share seed or fold.
        left_out: number of runs without a partner in the other arm.
    """

    arm: NDArray
    baseline: NDArray
    paired: bool
    left_out: int = 0

    @property
    def sizes(self) -> tuple[int, int]:
        """Number of values of the arm and of the baseline."""
        return len(self.arm), len(self.baseline)

    @property
    def size(self) -> int:
        """Number of values of the smaller arm."""
        return min(self.sizes)

    @property
    def differences(self) -> NDArray:
        """Arm minus baseline of every pair; only if the values are paired."""
        return self.arm - self.baseline


def finished_sample(
    arm: pd.DataFrame,
    baseline: pd.DataFrame,
    metric: str,
    folds: int | None,
) -> Sample:
    """The values of the runs that finished.

    Args:
        arm: runs of the arm.
        baseline: runs of the baseline.
        metric: column to compare.
        folds: number of folds, None without cross-validation.
    """
    scored = finished_runs(arm, metric)
    return matched(scored, finished_runs(baseline, metric), metric, folds)


def matched(
    arm: pd.DataFrame,
    baseline: pd.DataFrame,
    metric: str,
    folds: int | None,
) -> Sample:
    """Values matched by seed and fold if there are enough pairs, or else all values.

    There are enough pairs if at least half of the smaller arm has a partner, unless
    they are too few for a test and all runs would not be. Folds are matched or not
    compared at all.

    Args:
        arm: runs of the arm that have a value.
        baseline: runs of the baseline that have a value.
        metric: column to compare.
        folds: number of folds, None without cross-validation.
    """
    keys = pairing_keys(pd.concat([arm, baseline]))
    if folds and FOLD not in keys:
        keys.append(FOLD)
    pairs = arm[[*keys, metric]].merge(
        baseline[[*keys, metric]],
        on=keys,
        suffixes=("", BASELINE_SUFFIX),
    )

    num_pairs = len(pairs)
    num_runs = len(arm) + len(baseline)
    smaller = min(len(arm), len(baseline))
    testable = folds or not num_pairs < SMALLEST_N <= smaller
    enough = max(2, smaller / 2)
    if num_pairs >= enough and testable:
        return Sample(
            score_values(pairs, metric, folds),
            score_values(pairs, metric + BASELINE_SUFFIX, folds),
            paired=True,
            left_out=num_runs - 2 * num_pairs,
        )
    if folds:
        nothing = np.array([])
        return Sample(nothing, nothing, paired=True, left_out=num_runs)
    return Sample(
        arm[metric].to_numpy(float),
        baseline[metric].to_numpy(float),
        paired=False,
    )


def outcome_samples(
    arm: pd.DataFrame,
    baseline: pd.DataFrame,
    metric: str,
    folds: int | None,
) -> list[Sample]:
    """The values with diverged and failed runs as the worst; empty if there are none.

    A failure may have nothing to do with the arm, such as a full disk. So if runs
    failed, there is a second sample without them, and a verdict must hold in both.

    Args:
        arm: runs of the arm.
        baseline: runs of the baseline.
        metric: column to compare.
        folds: number of folds, None without cross-validation.
    """
    statuses = {*arm["status"], *baseline["status"]}
    lost = statuses.intersection(LOST)
    if not lost:
        return []
    rules: list[tuple[str, ...]] = [LOST]
    if "failed" in lost:
        rules.append(("diverged",))
    samples = []
    for worst in rules:
        ranked = _with_worst(arm, metric, worst)
        reference = _with_worst(baseline, metric, worst)
        samples.append(matched(ranked, reference, metric, folds))
    return samples


def _with_worst(
    runs: pd.DataFrame,
    metric: str,
    worst: tuple[str, ...],
) -> pd.DataFrame:
    """Runs with a result, where those of some statuses are worse than any other."""
    is_worst = runs["status"].isin(worst)
    value = math.inf
    if higher_is_better(metric):
        value = -math.inf
    scores = runs[metric].astype(float)
    scores = scores.mask(is_worst, value)
    has_result = is_worst | have_finished(runs, metric)
    ranked = runs.assign(**{metric: scores})
    return ranked[has_result]
