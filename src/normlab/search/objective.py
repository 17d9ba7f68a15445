"""From the results of a trial's runs to what the study is told."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ENDED = ("finished", "diverged")  # runs that say something about their settings


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        status: `finished`, `pruned` or `failed`.
        value: mean over the seeds, None unless finished.
        reason: why it failed or where it was pruned, or how many of its runs diverged.
        values: of the seeds that have one, in their order.
        seconds: of training, all runs together.
        lost: failed by a run that has left no result, since it could not begin or its process was killed.
    """

    status: str
    value: float | None
    reason: str | None
    values: list[float]
    seconds: float
    lost: bool = False


def outcome(
    results: Mapping[int, dict[str, Any]], metric: str, worst: float
) -> Outcome:
    """Mean of the metric over the seeds.

    Args:
        results: of `normlab.training.experiment.run`, by seed.
        metric: a validation metric of the best epoch.
        worst: what a diverged run counts as; one failed run fails the trial.
    """
    seconds = sum(result["seconds"] for result in results.values())
    values = [
        _value(result, metric, worst)
        for result in results.values()
        if result["status"] in ENDED
    ]
    for seed, result in results.items():
        if result["status"] not in ENDED:
            failed = result["status"] == "failed"
            reason = f"seed {seed}: {result['reason']}" if failed else result["reason"]
            return Outcome(
                result["status"],
                None,
                reason,
                values,
                seconds,
                lost=failed and "run" not in result,
            )
    diverged = sum(result["status"] == "diverged" for result in results.values())
    reason = f"{diverged} of {len(results)} runs diverged" if diverged else None
    return Outcome("finished", statistics.fmean(values), reason, values, seconds)


def _value(result: dict[str, Any], metric: str, worst: float) -> float:
    value = result["metrics"].get(metric)
    usable = (
        result["status"] == "finished" and value is not None and math.isfinite(value)
    )
    return value if usable else worst
