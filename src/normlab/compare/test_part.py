"""What the stored test predictions of runs add to a comparison.

The predictions give the score of every run on any choice of test samples, and with it
the noise of the test set; they also say on which samples the arms differ.

Shapes: R runs, N test samples.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from normlab.checksums import PREDICTIONS
from normlab.compare.columns import rows_of_arm
from normlab.compare.comparison import Comparison
from normlab.compare.differences import interval_of
from normlab.compare.exact_tests import sign_test_p
from normlab.compare.predictions import Predictions, read_predictions
from normlab.compare.sample_noise import (
    Scores,
    most_different,
    resampled_means,
    two_way_noise,
)
from normlab.compare.samples import Sample, matched
from normlab.compare.summaries import finished_runs, num_folds

MOST_SAMPLES = 100  # of every contrast that are listed
POSITION = "position"


def _is_right(found: Predictions) -> NDArray:
    return (found.predicted == found.target).astype(float)


def _absolute_error(found: Predictions) -> NDArray:
    differences = found.predicted.astype(float) - found.target
    return np.abs(differences)


def _squared_error(found: Predictions) -> NDArray:
    return _absolute_error(found) ** 2


# Metrics that are means over test samples, or roots of means: what is averaged.
OF_SAMPLES: dict[str, Callable[[Predictions], NDArray]] = {
    "test/accuracy": _is_right,
    "test/mae": _absolute_error,
    "test/rmse": _squared_error,
}


@dataclass(frozen=True)
class Group:
    """The runs of a group that have usable predictions.

    Attributes:
        runs: their rows, with their place below in `position`.
        predictions: one per run.
        values: what the metric averages ``(R, N)``.
        resampled: the metric on resampled test samples ``(R, B)``.
    """

    runs: pd.DataFrame
    predictions: list[Predictions]
    values: NDArray
    resampled: NDArray


@dataclass
class TestPart:
    """What the test predictions say.

    Attributes:
        noise: one row per contrast of several runs: intervals without and with the
            choice of test samples.
        single: one row per contrast of two single runs: McNemar's test.
        samples: one row per contrast and sample on which the arms differ most.
        warnings: which runs have no usable predictions.
    """

    __test__ = False  # no test of pytest

    noise: list[dict] = field(default_factory=list)
    single: list[dict] = field(default_factory=list)
    samples: list[dict] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read_test_part(comparison: Comparison) -> TestPart:
    """Read the predictions of all runs of a comparison, and compare their samples.

    Folds are left out: their test parts differ, so that their spread shows the choice
    of test samples already. So are metrics that are no mean over test samples.
    """
    part = TestPart()
    if comparison.metric not in OF_SAMPLES or comparison.contrasts.empty:
        return part
    lacking: list[str] = []
    contrasts = comparison.contrasts
    runs_at = dict(iter(comparison.runs.groupby("where")))
    for where in dict.fromkeys(contrasts["where"]):
        runs = runs_at[where]
        if num_folds(runs):
            continue
        group = _read_group(runs, comparison, lacking)
        if group is None:
            continue
        here = contrasts[contrasts["where"] == where]
        for row in here.to_dict("records"):
            _add_contrast(part, group, row, comparison)
    part.warnings = _lacking_warnings(lacking, part)
    return part


def _read_group(
    runs: pd.DataFrame, comparison: Comparison, lacking: list[str]
) -> Group | None:
    """Read the runs of a group; those without usable predictions become `lacking`."""
    metric = comparison.metric
    kept = []
    found: list[Predictions] = []
    values = []
    for index, row in finished_runs(runs, metric).iterrows():
        try:
            predictions = read_predictions(Path(str(row["folder"])))
            if predictions is None:
                raise ValueError(f"{row['folder']} has no {PREDICTIONS}")
            averaged = _checked_values(predictions, row, metric, found)
        except ValueError as error:
            lacking.append(str(error))
            continue
        kept.append(index)
        found.append(predictions)
        values.append(averaged)
    if not kept:
        return None
    chosen = runs.loc[kept].copy()
    chosen[POSITION] = np.arange(len(kept), dtype=float)
    stacked = np.stack(values)
    resampled = _as_metric(resampled_means(stacked), metric)
    return Group(chosen, found, stacked, resampled)


def _as_metric(means: NDArray, metric: str) -> NDArray:
    if metric == "test/rmse":
        return np.sqrt(means)
    return means


def _checked_values(
    predictions: Predictions, row: pd.Series, metric: str, others: list[Predictions]
) -> NDArray:
    """What the metric averages, one value per sample.

    Raises:
        ValueError: the predictions do not give the stored score, or are of other
            samples than those of the other runs.
    """
    path = Path(str(row["folder"])) / PREDICTIONS
    if predictions.are_classes != (metric == "test/accuracy"):
        raise ValueError(f"{path} must hold predictions of which {metric} is computed")
    values = OF_SAMPLES[metric](predictions)
    score = _as_metric(values.mean(), metric)
    stored = row[metric]
    if not math.isclose(score, stored, rel_tol=1e-3, abs_tol=1e-9):
        raise ValueError(
            f"{path} must give the {metric} of the run, {stored:g}, it gives {score:g}"
        )
    if others and not predictions.same_samples(others[0]):
        raise ValueError(f"{path} is of other test samples than those before")
    return values


def _lacking_warnings(lacking: list[str], part: TestPart) -> list[str]:
    """One line about runs that are left out, if any have predictions."""
    some_are_used = part.noise or part.single
    if not lacking or not some_are_used:
        return []
    what = "no usable test predictions"
    count = len(lacking)
    runs = f"1 run has {what} and is"
    if count > 1:
        runs = f"{count} runs have {what} and are"
    return [
        f"{runs} left out of what is said about the test set; the first: {lacking[0]}."
    ]


def _add_contrast(
    part: TestPart, group: Group, contrast: dict, comparison: Comparison
) -> None:
    """Add what the predictions of two arms say, if both have some."""
    arm = rows_of_arm(group.runs, contrast["arm"])
    baseline = rows_of_arm(group.runs, contrast["baseline"])
    if arm.empty or baseline.empty:
        return
    names = {key: contrast[key] for key in ("where", "arm", "baseline")}
    if len(arm) == len(baseline) == 1:
        if comparison.metric == "test/accuracy":
            single = _single(group, arm, baseline)
            part.single.append(names | single)
    else:
        noise = _noise(group, arm, baseline, comparison)
        if noise is not None:
            part.noise.append(names | noise)
    for row in _samples(group, arm, baseline):
        part.samples.append(names | row)


def _noise(
    group: Group, arm: pd.DataFrame, baseline: pd.DataFrame, comparison: Comparison
) -> dict | None:
    places = matched(arm, baseline, POSITION, None)
    if places.size < 2:
        return None
    values = _as_metric(group.values.mean(1), comparison.metric)
    first = places.arm.astype(int)
    second = places.baseline.astype(int)
    observed = Sample(values[first], values[second], places.paired)
    seeds_low, seeds_high = interval_of(observed, None, comparison.confidence)
    noise = two_way_noise(
        Scores(observed.arm, group.resampled[first]),
        Scores(observed.baseline, group.resampled[second]),
        places.paired,
        comparison.confidence,
    )
    low, high = noise.interval
    return {
        "n": len(places.arm),
        "n_baseline": len(places.baseline),
        "design": "paired" if places.paired else "independent",
        "samples": group.values.shape[1],
        "difference": noise.difference,
        "seeds_low": seeds_low,
        "seeds_high": seeds_high,
        "low": min(low, seeds_low),  # it covers more
        "high": max(high, seeds_high),
        "share": noise.share,
    }


def _single(group: Group, arm: pd.DataFrame, baseline: pd.DataFrame) -> dict:
    """McNemar's test that two trained networks are right equally often.

    If they are, it is a coin flip which of them is right on a sample that only one of
    them has right. McNemar (1947), Note on the sampling error of the difference between
    correlated proportions or percentages, Psychometrika 12.
    """
    run = arm.iloc[0]
    run_baseline = baseline.iloc[0]
    right = group.values[int(run[POSITION])] > 0
    right_baseline = group.values[int(run_baseline[POSITION])] > 0
    samples = len(right)
    both = int((right & right_baseline).sum())
    only_arm = int(right.sum()) - both
    only_baseline = int(right_baseline.sum()) - both
    return {
        "run": run["run"],
        "run_baseline": run_baseline["run"],
        "samples": samples,
        "both": both,
        "only_arm": only_arm,
        "only_baseline": only_baseline,
        "neither": samples - both - only_arm - only_baseline,
        "p": sign_test_p(only_arm, only_baseline),
    }


def _samples(group: Group, arm: pd.DataFrame, baseline: pd.DataFrame) -> list[dict]:
    """The samples on which two arms differ most, as rows of a table."""
    first = group.predictions[0]
    chosen = arm[POSITION].to_numpy(int)
    reference = baseline[POSITION].to_numpy(int)
    positions = most_different(
        group.values[chosen], group.values[reference], MOST_SAMPLES
    )
    rows = []
    for number in positions.tolist():
        row = {
            "sample": int(first.rows[number]),
            "target": first.target[number].item(),
            **_answers(group, chosen, number, ""),
            **_answers(group, reference, number, "_baseline"),
        }
        rows.append(row)
    return rows


def _answers(group: Group, places: NDArray, number: int, suffix: str) -> dict:
    """What the runs of an arm make of a sample."""
    answers = []
    for place in places:
        predicted = group.predictions[place].predicted
        answers.append(predicted[number])
    return {
        f"n{suffix}": len(places),
        f"mean{suffix}": float(group.values[places, number].mean()),
        f"predicted{suffix}": _typical(answers),
    }


def _typical(answers: list) -> float:
    """The class that is predicted most often, or the mean of values."""
    values = np.array(answers)
    if values.dtype.kind == "f":
        return float(values.mean())
    classes, counts = np.unique(values, return_counts=True)
    return int(classes[counts.argmax()])
