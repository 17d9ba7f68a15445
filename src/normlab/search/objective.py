"""The objective of a search: how a trial ended, from the results of its runs."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from normlab.results import all_metrics

# The states of runs that say something about their settings.
ENDED = ("finished", "diverged")


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        status: `finished`, `pruned` or `failed`.
        value: mean of the metric over the seeds; None unless the trial is finished.
        reason: why the trial failed, or where it was pruned, or how many of its runs
            diverged; None if there is nothing to say.
        values: the value of every seed that has one, in the order of the seeds.
        seconds: training time of all runs together.
        lost: whether the trial failed because a run left no result: it could not begin,
            or its process was killed.
    """

    status: str
    value: float | None
    reason: str | None
    values: list[float]
    seconds: float
    lost: bool = False


def outcome(
    results: Mapping[int, dict[str, Any]],
    metric: str,
    worst: float,
) -> Outcome:
    """How a trial ended. Its value is the mean of the metric over the seeds.

    One failed run fails the trial, and one pruned run prunes it.

    Args:
        results: results of `normlab.training.experiment.run` by seed.
        metric: a validation metric of the best epoch.
        worst: the value of a run that diverged or whose metric is not finite.
    """
    seconds = sum(result["seconds"] for result in results.values())
    values = []
    diverged = 0
    for result in results.values():
        diverged += result["status"] == "diverged"
        if result["status"] in ENDED:
            values.append(_value(result, metric, worst))

    for seed, result in results.items():
        if result["status"] == "failed":
            failure = f"seed {seed}: {result['reason']}"
            lost = "run" not in result
            return Outcome("failed", None, failure, values, seconds, lost)
        if result["status"] not in ENDED:
            return Outcome(result["status"], None, result["reason"], values, seconds)
    reason = None
    if diverged:
        reason = f"{diverged} of {len(results)} runs diverged"
    return Outcome("finished", statistics.fmean(values), reason, values, seconds)


def _value(result: dict[str, Any], metric: str, worst: float) -> float:
    if result["status"] != "finished":
        return worst
    value = all_metrics(result).get(metric)
    if value is None or not math.isfinite(value):
        return worst
    return value
