"""The difference of every arm to the baseline, and what it allows to say."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from normlab.compare import effects, inference, intervals
from normlab.compare.folds import fold_difference, fold_equivalence_p
from normlab.compare.sentences import sentence
from normlab.compare.settings import pairing_keys
from normlab.compare.summaries import (
    FOLD,
    finished_runs,
    num_folds,
    num_runs,
    score_values,
)
from normlab.metrics import higher_is_better

BASELINE_SUFFIX = " of the baseline"  # of the baseline's column in a table of pairs


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


def contrasts_of(
    group: pd.DataFrame,
    metric: str,
    baseline: str,
    arms: list[str],
    level: float,
    margin: float | None,
) -> Iterator[dict]:
    """One row for every planned contrast of a group in which both arms have runs.

    Args:
        group: runs with their arm in `arm` and the label of the group in `where`.
        metric: column to compare.
        baseline: the arm that the others are compared to.
        arms: the planned contrasts, each against the baseline.
        level: significance level, such as 0.05; the intervals have `1 - level`.
        margin: differences below it do not matter; None if not stated.
    """
    folds = num_folds(group)
    reference = group[group["arm"] == baseline]
    for arm in arms:
        runs = group[group["arm"] == arm]
        if runs.empty or reference.empty:
            continue
        names = {
            "where": group["where"].iloc[0],
            "arm": arm,
            "baseline": baseline,
        }
        yield names | _contrast(runs, reference, metric, level, margin, folds)


def _contrast(
    arm: pd.DataFrame,
    baseline: pd.DataFrame,
    metric: str,
    level: float,
    margin: float | None,
    folds: int | None,
) -> dict:
    confidence = 1 - level
    sample = _sample(
        finished_runs(arm, metric),
        finished_runs(baseline, metric),
        metric,
        folds,
    )
    difference = _difference(sample, folds, confidence)
    welch = _unpaired_interval(sample, folds, confidence)
    improvement, improvement_interval = effects.probability_of_improvement(
        sample.arm,
        sample.baseline,
        higher_is_better(metric),
        sample.paired,
        confidence,
    )
    if folds:  # the bootstrap would treat the folds as independent
        improvement_interval = intervals.UNKNOWN

    return {
        "design": difference.design,
        "n": difference.n[0],
        "n_baseline": difference.n[1],
        "left_out": sample.left_out,
        "mean": _mean(sample.arm),
        "mean_baseline": _mean(sample.baseline),
        "difference": difference.estimate,
        "low": difference.interval[0],
        "high": difference.interval[1],
        "welch_low": welch[0],
        "welch_high": welch[1],
        "correlation": difference.correlation,
        "p": difference.p,
        "permutation_p": difference.permutation_p,
        "attainable_p": difference.attainable_p,
        "hedges_g": effects.hedges_g(sample.arm, sample.baseline),
        "improvement": improvement,
        "improvement_low": improvement_interval[0],
        "improvement_high": improvement_interval[1],
        "equivalence_p": _equivalence_p(difference, sample, margin, confidence),
        "spread": _spread(sample),
        **_without_result(arm, metric, ""),
        **_without_result(baseline, metric, "_baseline"),
        "trained_p": _trained_p(arm, baseline),
    }


def _mean(values: NDArray) -> float:
    return float(values.mean()) if len(values) else math.nan


def _sample(
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
        arm: finished runs of the arm.
        baseline: finished runs of the baseline.
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

    smaller = min(len(arm), len(baseline))
    testable = folds or not len(pairs) < inference.SMALLEST_N <= smaller
    if len(pairs) >= max(2, smaller / 2) and testable:
        return Sample(
            score_values(pairs, metric, folds),
            score_values(pairs, metric + BASELINE_SUFFIX, folds),
            paired=True,
            left_out=len(arm) + len(baseline) - 2 * len(pairs),
        )
    if folds:
        nothing = np.array([])
        return Sample(nothing, nothing, True, left_out=len(arm) + len(baseline))
    return Sample(
        arm[metric].to_numpy(float),
        baseline[metric].to_numpy(float),
        paired=False,
    )


def _difference(
    sample: Sample,
    folds: int | None,
    confidence: float,
) -> inference.Difference:
    if folds:
        return fold_difference(sample.arm, sample.baseline, folds, confidence)
    if sample.paired:
        return inference.paired_difference(sample.arm, sample.baseline, confidence)
    return inference.independent_difference(sample.arm, sample.baseline, confidence)


def _unpaired_interval(
    sample: Sample,
    folds: int | None,
    confidence: float,
) -> intervals.Interval:
    """Welch's interval next to a paired one, which shows what pairing gains."""
    if folds or not sample.paired or len(sample.arm) < 2:
        return intervals.UNKNOWN
    interval, _ = inference.welch(sample.arm, sample.baseline, confidence)
    return interval


def _equivalence_p(
    difference: inference.Difference,
    sample: Sample,
    margin: float | None,
    confidence: float,
) -> float:
    if margin is None:
        return math.nan
    if difference.design == "folds":
        return fold_equivalence_p(difference, confidence, margin)
    paired = difference.design == "paired"
    return inference.equivalence_p(sample.arm, sample.baseline, margin, paired)


def _spread(sample: Sample) -> float:
    """Standard deviation of the paired differences, or within arms; NaN below n = 3."""
    if min(len(sample.arm), len(sample.baseline)) < 3:
        return math.nan
    if sample.paired:
        return float((sample.arm - sample.baseline).std(ddof=1))
    variances = [sample.arm.var(ddof=1), sample.baseline.var(ddof=1)]
    return math.sqrt(np.mean(variances))


def _without_result(
    runs: pd.DataFrame,
    metric: str,
    suffix: str,
) -> dict[str, int]:
    """How many runs do not enter the means, by reason."""
    scored = len(finished_runs(runs, metric))
    return {
        f"diverged{suffix}": num_runs(runs, "diverged"),
        f"failed{suffix}": num_runs(runs, "failed"),
        f"without_metric{suffix}": num_runs(runs, "finished") - scored,
    }


def _trained_p(arm: pd.DataFrame, baseline: pd.DataFrame) -> float:
    """p of Fisher's exact test that the arms diverge equally often."""
    trained = (num_runs(arm, "finished"), num_runs(baseline, "finished"))
    total = (
        len(arm) - num_runs(arm, "failed"),
        len(baseline) - num_runs(baseline, "failed"),
    )
    return inference.fisher_p(trained, total)


def with_verdicts(
    contrasts: pd.DataFrame,
    metric: str,
    level: float,
    margin: float | None,
) -> pd.DataFrame:
    """Add Holm's correction over all contrasts, and a verdict and a sentence for each.

    Args:
        contrasts: rows of `contrasts_of`, of all groups together.
        metric: what was compared.
        level: significance level over all contrasts.
        margin: differences below it do not matter; None if not stated.
    """
    if contrasts.empty:
        return contrasts
    contrasts = contrasts.assign(
        p_holm=inference.holm(contrasts["p"]),
        equivalence_p_holm=inference.holm(contrasts["equivalence_p"]),
        contrasts=len(contrasts),
    )

    rows = contrasts.to_dict("records")
    for row in rows:
        row["sample_size"] = _sample_size(row, margin, level)
        row["verdict"] = _verdict(row, metric, level)
        row["sentence"] = sentence(row, metric, level, margin)
    return contrasts.drop(columns="spread").assign(
        sample_size=[row["sample_size"] for row in rows],
        verdict=[row["verdict"] for row in rows],
        sentence=[row["sentence"] for row in rows],
    )


def _sample_size(row: dict, margin: float | None, level: float) -> float:
    """Seeds per arm that a difference as large as the margin needs; NaN if unknown.

    The level is shared among all contrasts (Bonferroni), as at Holm's first step.
    """
    if margin is None or math.isnan(row["spread"]):
        return math.nan
    paired = row["design"] != "independent"
    level_each = level / row["contrasts"]
    size = effects.sample_size(margin, row["spread"], paired, level_each)
    return size or math.nan


def _verdict(row: dict, metric: str, level: float) -> str:
    """What the tests allow to say about one contrast.

    Returns:
        `better`, `worse`, `equivalent`, `not told apart`, or, if no data with this
        sample size could have shown a difference, `cannot tell`.
    """
    if row["p_holm"] < level and row["difference"] != 0:
        is_better = (row["difference"] > 0) == higher_is_better(metric)
        return "better" if is_better else "worse"
    if row["equivalence_p_holm"] < level:
        return "equivalent"
    reachable = row["attainable_p"] * row["contrasts"] <= level
    if reachable and not math.isnan(row["p"]):
        return "not told apart"
    return "cannot tell"
