"""A summary of every arm."""

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from normlab.compare import intervals
from normlab.compare.columns import rows_of_arm
from normlab.compare.settings import pairing_keys, sorted_labels
from normlab.compare.shapes import spread

FOLD = "dataset.fold"


def finished_runs(runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Finished runs with a finite value of the metric."""
    return runs.loc[have_finished(runs, metric)]


def have_finished(runs: pd.DataFrame, metric: str) -> pd.Series:
    """Whether each run finished with a finite value of the metric.

    A diverged run stores its last finite value, which is no result.
    """
    finite = np.isfinite(runs[metric].astype(float))
    return (runs["status"] == "finished") & finite


def num_folds(runs: pd.DataFrame) -> int | None:
    """Number of folds of a cross-validation, or None if the runs are not from one."""
    if FOLD not in pairing_keys(runs):
        return None
    for key in ("dataset.folds", "dataset.num_folds"):
        if key not in runs:
            continue
        known = runs[key].dropna()
        if not known.empty:
            return int(known.iloc[0])
    return int(runs[FOLD].nunique())


def score_values(
    runs: pd.DataFrame,
    column: str,
    folds: int | None,
) -> NDArray:
    """One value per run, or per fold in a cross-validation.

    The value of a fold is the mean over its seeds: they share the test part of the
    fold, so they are no further samples of it.
    """
    values = runs[column]
    if folds:
        values = runs.groupby(FOLD)[column].mean()
    return values.to_numpy(float)


def summaries_of(
    group: pd.DataFrame,
    metric: str,
    confidence: float,
    baseline: str,
) -> Iterator[dict]:
    """One row for every arm of a group, the baseline first.

    Args:
        group: runs with their arm in `arm` and the label of the group in `where`.
        metric: column to summarize.
        confidence: of the intervals, such as 0.95.
        baseline: the arm that the others are compared to.
    """
    folds = num_folds(group)
    arms = sorted_labels(group["arm"])
    for arm in sorted(arms, key=lambda arm: arm != baseline):
        runs = rows_of_arm(group, arm)
        yield _summary(runs, metric, confidence, folds)


def _summary(
    runs: pd.DataFrame,
    metric: str,
    confidence: float,
    folds: int | None,
) -> dict:
    scored = finished_runs(runs, metric)
    values = score_values(scored, metric, folds)
    if folds:
        interval = intervals.fold_interval(values, folds, confidence)
        bca = intervals.UNKNOWN  # the bootstrap would treat the folds as independent
    else:
        interval = intervals.t_interval(values, confidence)
        bca = intervals.bca_interval(values, confidence)

    finished = num_runs(runs, "finished")
    diverged = num_runs(runs, "diverged")
    ended = finished + diverged
    trained = math.nan
    if ended:
        trained = finished / ended
    trained_interval = intervals.wilson_interval(finished, ended, confidence)

    return {
        "where": runs["where"].iloc[0],
        "arm": runs["arm"].iloc[0],
        "runs": len(runs),
        "n": len(values),
        **_description(values),
        "low": interval[0],
        "high": interval[1],
        "bca_low": bca[0],
        "bca_high": bca[1],
        "diverged": diverged,
        "failed": num_runs(runs, "failed"),
        "without_metric": finished - len(scored),
        "trained": trained,
        "trained_low": trained_interval[0],
        "trained_high": trained_interval[1],
        "parameters": runs["num_parameters"].max(),
    }


def num_runs(runs: pd.DataFrame, status: str) -> int:
    return int((runs["status"] == status).sum())


def _description(values: NDArray) -> dict[str, float]:
    if not len(values):
        return dict.fromkeys(("mean", "sd", "median", "min", "max"), math.nan)
    return {
        "mean": values.mean(),
        "sd": spread(values),
        "median": float(np.median(values)),
        "min": values.min(),
        "max": values.max(),
    }
