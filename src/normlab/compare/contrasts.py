"""A summary of every arm, and the difference of every arm to the baseline."""

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from normlab.compare import inference, intervals
from normlab.compare.sentences import sentence
from normlab.compare.settings import pairing_keys, sorted_labels
from normlab.metrics import higher_is_better


def finished_runs(runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Finished runs with a finite metric; diverged runs hold the last finite value, which is no result."""
    return runs[
        (runs["status"] == "finished") & np.isfinite(runs[metric].astype(float))
    ]


def _folds(runs: pd.DataFrame) -> int | None:
    """Number of cross-validation folds if the runs differ in theirs."""
    if "dataset.fold" not in pairing_keys(runs):
        return None
    for key in ("dataset.folds", "dataset.num_folds"):
        if key in runs and runs[key].notna().any():
            return int(runs[key].dropna().iloc[0])
    return int(runs["dataset.fold"].nunique())


def _by_fold(runs: pd.DataFrame, metric: str) -> pd.Series:
    """Mean over the seeds of every fold: seeds share the fold's test part and are no further sample of it."""
    return runs.groupby("dataset.fold")[metric].mean().astype(float)


def summaries_of(
    group: pd.DataFrame, metric: str, confidence: float, baseline: str
) -> Iterator[dict]:
    """A row for every arm of one group of like runs, the baseline first."""
    folds = _folds(group)
    for arm in sorted(
        sorted_labels(list(group["arm"])), key=lambda arm: arm != baseline
    ):
        runs = group[group["arm"] == arm]
        good = finished_runs(runs, metric)
        values = (_by_fold(good, metric) if folds else good[metric]).to_numpy(float)
        finished, diverged = (
            (runs["status"] == status).sum() for status in ("finished", "diverged")
        )
        interval = (
            intervals.fold_interval(values, folds, confidence)
            if folds
            else intervals.t_interval(values, confidence)
        )
        bca = intervals.UNKNOWN if folds else intervals.bca_interval(values, confidence)
        trained = intervals.wilson_interval(
            int(finished), int(finished + diverged), confidence
        )
        yield {
            "where": runs["where"].iloc[0],
            "arm": arm,
            "runs": len(runs),
            "n": len(values),
            "mean": values.mean() if len(values) else math.nan,
            "sd": values.std(ddof=1) if len(values) > 1 else math.nan,
            "median": np.median(values) if len(values) else math.nan,
            "min": values.min() if len(values) else math.nan,
            "max": values.max() if len(values) else math.nan,
            "low": interval[0],
            "high": interval[1],
            "bca_low": bca[0],
            "bca_high": bca[1],
            "diverged": int(diverged),
            "failed": int((runs["status"] == "failed").sum()),
            "without_metric": int(finished) - len(good),
            "trained": finished / (finished + diverged)
            if finished + diverged
            else math.nan,
            "trained_low": trained[0],
            "trained_high": trained[1],
            "parameters": runs["num_parameters"].max(),
        }


def contrasts_of(
    group: pd.DataFrame,
    metric: str,
    baseline: str,
    arms: list[str],
    level: float,
    margin: float | None,
) -> Iterator[dict]:
    """A row for every planned contrast of one group of like runs."""
    for arm in arms:
        both = [group[group["arm"] == name] for name in (arm, baseline)]
        if all(map(len, both)):
            yield {
                "where": group["where"].iloc[0],
                "arm": arm,
                "baseline": baseline,
            } | _contrast(both[0], both[1], metric, level, margin, _folds(group))


def _contrast(
    arm: pd.DataFrame,
    baseline: pd.DataFrame,
    metric: str,
    level: float,
    margin: float | None,
    folds: int | None,
) -> dict:
    values, paired, left_out = _pairs(
        finished_runs(arm, metric), finished_runs(baseline, metric), metric, bool(folds)
    )
    confidence = 1 - level
    if folds:
        found = inference.fold_difference(*values, folds, confidence)
    elif paired:
        found = inference.paired_difference(*values, confidence)
    else:
        found = inference.independent_difference(*values, confidence)
    beside = paired and not folds and len(values[0]) > 1
    welch = inference.welch(*values, confidence)[0] if beside else intervals.UNKNOWN
    higher = higher_is_better(metric)
    improvement, (low, high) = inference.probability_of_improvement(
        *values, higher, paired, confidence
    )
    if folds:
        low, high = (
            intervals.UNKNOWN
        )  # a bootstrap would take the folds for independent
    trained = [
        ((part["status"] == "finished").sum(), (part["status"] != "failed").sum())
        for part in (arm, baseline)
    ]
    return {
        "design": found.design,
        "n": found.n[0],
        "n_baseline": found.n[1],
        "left_out": left_out,
        "mean": float(values[0].mean()) if len(values[0]) else math.nan,
        "mean_baseline": float(values[1].mean()) if len(values[1]) else math.nan,
        "difference": found.estimate,
        "low": found.interval[0],
        "high": found.interval[1],
        "welch_low": welch[0],
        "welch_high": welch[1],
        "correlation": found.correlation,
        "p": found.p,
        "permutation_p": found.permutation_p,
        "attainable_p": found.attainable,
        "hedges_g": inference.hedges_g(*values),
        "improvement": improvement,
        "improvement_low": low,
        "improvement_high": high,
        "equivalence_p": _equivalence(found, values, margin, confidence),
        "spread": _spread(values, paired),
        **_without_result(arm, metric, ""),
        **_without_result(baseline, metric, "_baseline"),
        "trained_p": inference.fisher_p(
            *zip(*[(int(a), int(b)) for a, b in trained], strict=True)
        ),
    }


def _without_result(runs: pd.DataFrame, metric: str, suffix: str) -> dict[str, int]:
    counts = {
        status: int((runs["status"] == status).sum())
        for status in ("diverged", "failed", "finished")
    }
    counts["without_metric"] = counts.pop("finished") - len(finished_runs(runs, metric))
    return {f"{name}{suffix}": count for name, count in counts.items()}


def _pairs(
    arm: pd.DataFrame, baseline: pd.DataFrame, metric: str, folds: bool
) -> tuple[tuple[np.ndarray, np.ndarray], bool, int]:
    """Values matched by seed and fold where at least half of the smaller arm has a partner; folds only if so.

    Too few pairs for a test give way to runs that are enough for one.

    Returns:
        values of both arms (one a pair, or a fold), whether they are matched, and how many runs have no partner.
    """
    keys = pairing_keys(pd.concat([arm, baseline]))
    keys += ["dataset.fold"] if folds and "dataset.fold" not in keys else []
    both = arm[[*keys, metric]].merge(
        baseline[[*keys, metric]], on=keys, suffixes=("", " of the baseline")
    )
    smaller = min(len(arm), len(baseline))
    untestable = not folds and len(both) < inference.SMALLEST_N <= smaller
    if len(both) >= max(2, smaller / 2) and not untestable:
        names = metric, f"{metric} of the baseline"
        left_out = len(arm) + len(baseline) - 2 * len(both)
        if folds:
            return (
                tuple(_by_fold(both, name).to_numpy() for name in names),
                True,
                left_out,
            )
        return tuple(both[name].to_numpy(float) for name in names), True, left_out
    if folds:
        return (np.array([]), np.array([])), True, len(arm) + len(baseline)
    return (arm[metric].to_numpy(float), baseline[metric].to_numpy(float)), False, 0


def _equivalence(
    found: inference.Difference,
    values: tuple[np.ndarray, np.ndarray],
    margin: float | None,
    confidence: float,
) -> float:
    if margin is None:
        return math.nan
    if found.design == "folds":
        return inference.fold_equivalence_p(found, confidence, margin)
    return inference.equivalence_p(*values, margin, found.design == "paired")


def _spread(values: tuple[np.ndarray, np.ndarray], paired: bool) -> float:
    """Standard deviation of the differences over pairs, or within arms; NaN below three values."""
    if min(map(len, values)) < 3:
        return math.nan
    if paired:
        return float((values[0] - values[1]).std(ddof=1))
    return math.sqrt(np.mean([v.var(ddof=1) for v in values]))


def _sample_size(row: dict, margin: float | None, level: float) -> float:
    """Seeds that a difference of the margin needs at the level that is left to each contrast."""
    if margin is None or math.isnan(row["spread"]):
        return math.nan
    paired = row["design"] != "independent"
    return (
        inference.sample_size(margin, row["spread"], paired, level / row["contrasts"])
        or math.nan
    )


def with_verdicts(
    contrasts: pd.DataFrame, metric: str, level: float, margin: float | None
) -> pd.DataFrame:
    """Holm's correction over all contrasts, one word and one sentence each."""
    if contrasts.empty:
        return contrasts
    corrected = {
        f"{name}_holm": inference.holm(contrasts[name])
        for name in ("p", "equivalence_p")
    }
    contrasts = contrasts.assign(**corrected, contrasts=len(contrasts))
    sizes = [_sample_size(row, margin, level) for row in contrasts.to_dict("records")]
    contrasts = contrasts.assign(sample_size=sizes).drop(columns="spread")
    verdicts = [_verdict(row, metric, level) for row in contrasts.to_dict("records")]
    contrasts = contrasts.assign(verdict=verdicts)
    told = [
        sentence(row, metric, level, margin) for row in contrasts.to_dict("records")
    ]
    return contrasts.assign(sentence=told)


def _verdict(row: dict, metric: str, level: float) -> str:
    """better, worse, equivalent, not told apart, or cannot tell (where the test could not have shown a difference)."""
    if row["p_holm"] < level and row["difference"] != 0:
        return (
            "better" if (row["difference"] > 0) == higher_is_better(metric) else "worse"
        )
    if row["equivalence_p_holm"] < level:
        return "equivalent"
    reachable = row["attainable_p"] * row["contrasts"] <= level
    return "not told apart" if reachable and not math.isnan(row["p"]) else "cannot tell"
