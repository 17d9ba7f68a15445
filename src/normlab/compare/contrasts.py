"""The difference of every arm to the baseline, and what it allows to say."""

import math
from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from normlab.compare import effects, inference, intervals, shapes
from normlab.compare.deciding import decide
from normlab.compare.detectable import detectable_difference
from normlab.compare.differences import (
    difference_of,
    interval_of,
    prediction_of,
    t_interval_of,
    welch_interval_of,
)
from normlab.compare.equivalence import doubts, equivalence_p
from normlab.compare.samples import Sample, finished_sample, outcome_samples
from normlab.compare.summaries import finished_runs, num_folds, num_runs
from normlab.compare.verdict_sentences import sentence
from normlab.metrics import higher_is_better

# Columns that hold functions or inputs of the verdict; they are not part of the table.
SCAFFOLD = ["spread", "interval_at", "equivalence_interval_at"]


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
        margin: differences below it do not matter in this group; None if not stated.
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
            "margin": math.nan if margin is None else margin,
        }
        sample = finished_sample(runs, reference, metric, folds)
        outcomes = outcome_samples(runs, reference, metric, folds)
        yield {
            **names,
            **measure(sample, outcomes, higher_is_better(metric), level, margin, folds),
            "doubt": _doubt(sample, runs, reference, (arm, baseline)),
            **_without_result(runs, metric, ""),
            **_without_result(reference, metric, "_baseline"),
            "trained_p": _trained_p(runs, reference),
        }


def measure(
    sample: Sample,
    outcomes: list[Sample],
    higher: bool,
    level: float,
    margin: float | None = None,
    folds: int | None = None,
) -> dict:
    """The numbers of one contrast.

    Args:
        sample: the values of the runs that finished.
        outcomes: the values with diverged and failed runs as the worst; empty if no run
            was lost.
        higher: whether a higher value is better.
        level: significance level of the interval.
        margin: differences below it do not matter; None if not stated.
        folds: number of folds, None without cross-validation.
    """
    confidence = 1 - level
    difference = difference_of(sample, folds, confidence)
    decision = decide(sample, outcomes, folds)
    welch = welch_interval_of(sample, folds, confidence)
    prediction = prediction_of(sample, folds, confidence)
    return {
        "design": difference.design,
        "n": difference.n[0],
        "n_baseline": difference.n[1],
        "left_out": sample.left_out,
        "mean": _mean(sample.arm),
        "mean_baseline": _mean(sample.baseline),
        "sd": shapes.spread(sample.arm),
        "sd_baseline": shapes.spread(sample.baseline),
        "difference": difference.estimate,
        "median": _median(sample),
        "low": difference.interval[0],
        "high": difference.interval[1],
        "welch_low": welch[0],
        "welch_high": welch[1],
        "prediction_low": prediction[0],
        "prediction_high": prediction[1],
        "correlation": difference.correlation,
        "test": decision.test,
        "judged_in_pairs": decision.paired,
        "direction": decision.direction,
        "judged": decision.sizes[0],
        "judged_baseline": decision.sizes[1],
        "p": decision.p,
        "permutation_p": difference.permutation_p,
        "attainable_p": decision.attainable_p,
        "hedges_g": effects.hedges_g(sample.arm, sample.baseline),
        **_improvement(sample, outcomes, higher, confidence, folds),
        "spread_ratio": shapes.spread_ratio(sample.arm, sample.baseline),
        "collapsed": shapes.num_collapsed(sample.arm, higher),
        "collapsed_baseline": shapes.num_collapsed(sample.baseline, higher),
        "equivalence_p": _equivalence_p(sample, margin, folds),
        "spread": _spread(sample),
        "interval_at": partial(interval_of, sample, folds),
        "equivalence_interval_at": partial(t_interval_of, sample, folds),
    }


def _mean(values: NDArray) -> float:
    return float(values.mean()) if len(values) else math.nan


def _median(sample: Sample) -> float:
    """Median of the paired differences, or the difference of the medians."""
    if not sample.size:
        return math.nan
    if sample.paired:
        return float(np.median(sample.arm - sample.baseline))
    return float(np.median(sample.arm) - np.median(sample.baseline))


def _improvement(
    sample: Sample,
    outcomes: list[Sample],
    higher: bool,
    confidence: float,
    folds: int | None,
) -> dict[str, float]:
    """P(better) over all outcomes, and how many pairs the arm wins and ties."""
    judged = outcomes[0] if outcomes else sample
    value, interval = effects.probability_of_improvement(
        judged.arm, judged.baseline, higher, judged.paired, confidence
    )
    if folds:  # the interval takes pairs to be independent
        interval = intervals.UNKNOWN
    wins = ties = 0
    if judged.paired:
        sign = 1 if higher else -1
        wins, ties = effects.num_wins(sign * judged.arm, sign * judged.baseline)
    return {
        "improvement": value,
        "improvement_low": interval[0],
        "improvement_high": interval[1],
        "pairs": judged.size if judged.paired else 0,
        "wins": wins,
        "ties": ties,
    }


def _equivalence_p(
    sample: Sample,
    margin: float | None,
    folds: int | None,
) -> float:
    if margin is None:
        return math.nan
    return equivalence_p(sample, folds, margin)


def _doubt(
    sample: Sample,
    arm: pd.DataFrame,
    baseline: pd.DataFrame,
    names: tuple[str, str],
) -> str:
    """Why the arms cannot be called equivalent, in words; empty if they can."""
    parts = []
    for runs, name in zip((arm, baseline), names, strict=True):
        for status in ("diverged", "failed"):
            count = num_runs(runs, status)
            if count:
                parts.append(f"{count} of {len(runs)} runs of {name} {status}")
    if parts:
        return " and ".join(parts)
    return doubts(sample, names)


def _spread(sample: Sample) -> float:
    """Standard deviation of the paired differences, or within arms; NaN below n = 3."""
    if sample.size < 3:
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
    """How many runs there are, and how many do not enter the means, by reason."""
    scored = len(finished_runs(runs, metric))
    return {
        f"runs{suffix}": len(runs),
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


def with_verdicts(rows: list[dict], metric: str, level: float) -> pd.DataFrame:
    """Add Holm's correction over all contrasts, and a verdict and a sentence for each.

    Args:
        rows: from `contrasts_of`, of all groups together.
        metric: what was compared.
        level: significance level over all contrasts.
    """
    if not rows:
        return pd.DataFrame()
    judged = judged_rows(rows, metric, level)
    for row in judged:
        row["sentence"] = sentence(row, metric, level)
    return pd.DataFrame(judged).drop(columns=SCAFFOLD)


def judged_rows(rows: list[dict], metric: str, level: float) -> list[dict]:
    """Rows with Holm's correction, the intervals that belong to it, and a verdict.

    Args:
        rows: from `contrasts_of`, of all groups together.
        metric: what was compared.
        level: significance level over all contrasts.
    """
    corrected = []
    steps = []
    for name in ("p", "equivalence_p"):
        p_values = [row[name] for row in rows]
        corrected.append(inference.holm(p_values))
        steps.append(inference.holm_divisors(p_values, level))

    found = []
    for index, row in enumerate(rows):
        added = {
            "p_holm": float(corrected[0][index]),
            "equivalence_p_holm": float(corrected[1][index]),
            "contrasts": len(rows),
        }
        row = row | added
        row |= _corrected_intervals(row, level, steps[0][index], steps[1][index])
        row["verdict"] = _verdict(row, metric, level)
        row["sample_size"] = _sample_size(row, level)
        row |= _detectable(row, level)
        found.append(row)
    return found


def _corrected_intervals(
    row: dict,
    level: float,
    step: int,
    equivalence_step: int,
) -> dict[str, float]:
    """Intervals that agree with the corrected p-values, and one that holds for all.

    - `low_holm` to `high_holm` leaves out 0 exactly if `p_holm` is below the level;
    - `equivalence_low` to `equivalence_high` lies inside the margin exactly if
      `equivalence_p_holm` is below the level;
    - `low_all` to `high_all` covers in all contrasts at once (Bonferroni).
    """
    confidence = 1 - level / step
    equivalence_confidence = max(0.0, 1 - 2 * level / equivalence_step)
    low, high = row["interval_at"](confidence)
    low_all, high_all = row["interval_at"](1 - level / row["contrasts"])
    equivalence = intervals.UNKNOWN
    if not math.isnan(row["equivalence_p"]):
        equivalence = row["equivalence_interval_at"](equivalence_confidence)
    return {
        "confidence": confidence,
        "low_holm": low,
        "high_holm": high,
        "low_all": low_all,
        "high_all": high_all,
        "equivalence_confidence": equivalence_confidence,
        "equivalence_low": equivalence[0],
        "equivalence_high": equivalence[1],
    }


def _sample_size(row: dict, level: float) -> float:
    """Seeds per arm that a difference as large as the margin needs.

    NaN if it is unknown, or if the question is answered.
    """
    is_open = row["verdict"] in ("not told apart", "cannot tell")
    if not is_open or math.isnan(row["margin"]) or math.isnan(row["spread"]):
        return math.nan
    size = effects.sample_size(
        row["margin"],
        row["spread"],
        row["design"],
        level,
        contrasts=row["contrasts"],
    )
    return size or math.nan


def _detectable(row: dict, level: float) -> dict[str, float]:
    """The smallest difference that is shown with 80 % power, and the number of values.

    That number is the number of values of the smaller arm, or the one that a verdict
    needs if there are fewer. The difference is NaN if the spread is unknown, or if
    ranks decide, since they do not measure differences.
    """
    n = min(row["n"], row["n_baseline"])
    if row["design"] == "paired":
        n = max(n, effects.seeds_needed(level, row["contrasts"]))
    n = max(n, inference.SMALLEST_N)
    difference = math.nan
    if row["test"] != "ranks":
        difference = detectable_difference(
            n, row["spread"], row["design"], level, contrasts=row["contrasts"]
        )
    return {"detectable": difference, "detectable_n": n}


def _verdict(row: dict, metric: str, level: float) -> str:
    """What the tests allow to say about one contrast.

    Returns:
        `better`, `worse`, `equivalent`, `not told apart`, or, if no data with this
        sample size could have shown a difference, `cannot tell`.
    """
    if row["p_holm"] < level and row["direction"]:
        is_better = (row["direction"] > 0) == higher_is_better(metric)
        return "better" if is_better else "worse"
    if row["equivalence_p_holm"] < level and not row["doubt"]:
        return "equivalent"
    reachable = row["attainable_p"] * row["contrasts"] <= level
    if reachable and not math.isnan(row["p"]):
        return "not told apart"
    return "cannot tell"
