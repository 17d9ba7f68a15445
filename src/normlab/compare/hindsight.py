"""Warnings about choices that may have been made by the numbers that are compared."""

from collections.abc import Sequence

import pandas as pd

from normlab.compare.settings import sorted_labels
from normlab.metrics import METRICS

MAX_ARMS = 6
STOP_AT = "trainer.stop_at"


def monitor_warnings(runs: pd.DataFrame, metric: str) -> list[str]:
    """A line if the compared metric is the one that picked the epoch of the runs.

    Args:
        runs: from `load_runs`.
        metric: what is compared.
    """
    is_monitored = _monitored(runs) == metric
    count = int(is_monitored.sum())
    if not count:
        return []
    return [
        f"{metric} also chose the best epoch of {count} of {len(runs)} runs. As the "
        "best of many values it is too good, and the more so the more it varies from "
        "epoch to epoch; compare a test metric."
    ]


def stop_warnings(runs: pd.DataFrame, metric: str) -> list[str]:
    """A line if runs stopped at a value of a metric of the part that is compared.

    Args:
        runs: from `load_runs`.
        metric: what is compared.
    """
    if STOP_AT not in runs or "ended_by" not in runs:
        return []
    part, slash, _ = metric.partition("/")
    stops_by_part = runs[STOP_AT].astype("string").str.startswith(part + slash)
    have_stopped = runs["ended_by"] == "stop_at"
    count = int((stops_by_part & have_stopped).fillna(False).sum())
    if not count:
        return []
    return [
        f"{count} of {len(runs)} runs stopped as soon as a metric of {part} reached "
        f"trainer.stop_at, so this part chose how long they trained; compare the time "
        "to the target."
    ]


def _monitored(runs: pd.DataFrame) -> pd.Series:
    """The metric that picked the epoch of every run; missing where it is not known."""
    unknown = pd.Series(None, index=runs.index, dtype=object)
    monitored = {task: f"val/{names[0]}" for task, names in METRICS.items()}
    default = runs.get("dataset.task", unknown).map(monitored)
    if "task._target_" in runs:
        default = default.where(runs["task._target_"].isna())
    monitor = runs.get("trainer.monitor", unknown).astype(object)
    return monitor.where(monitor.notna(), default)


def left_out_warnings(
    runs: pd.DataFrame, planned: Sequence[str], baseline: str
) -> list[str]:
    """A line about arms that are there and were not named.

    Args:
        runs: with their arm in `arm`.
        planned: the arms that are compared to the baseline.
        baseline: the arm that the others are compared to.
    """
    compared = [baseline, *planned]
    others = []
    for arm in sorted_labels(runs["arm"]):
        if arm not in compared:
            others.append(arm)
    count = len(others)
    if not count:
        return []
    if count > MAX_ARMS:
        others = others[:MAX_ARMS]
        others.append(f"and {count - MAX_ARMS} more")
    names = ", ".join(others)
    which = "1 other arm exists and is"
    if count > 1:
        which = f"{count} other arms exist and are"
    return [
        f"{which} not compared: {names}. If the compared arms were chosen after a "
        "look at the results, false alarms are more frequent than the level says."
    ]
