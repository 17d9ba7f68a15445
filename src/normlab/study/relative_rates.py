"""The runs at a value of a setting that is relative to another arm's largest stable.

A claim such as "at a tenth of the largest learning rate at which training without a
norm works" compares all arms at one value per group. That value is chosen by validation
scores, from the grid that was planned.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from normlab.compare.arguments import name_list
from normlab.compare.columns import LARGEST_STABLE_RATE
from normlab.compare.selection import (
    grid_step,
    largest_stable,
    stable_edge_warnings,
    validation_metric,
)
from normlab.compare.settings import (
    arm_labels,
    check_keys,
    group_labels,
    setting_text,
    sorted_labels,
)
from normlab.study.claim_metrics import validation_metric_of
from normlab.study.plans import Settings

DIGITS = 9  # of logarithms that are compared


@dataclass(frozen=True)
class RunsAtRate:
    """The runs that a claim is about.

    Attributes:
        runs: at the chosen value, or all of them if the claim names none.
        note: which values these are, in sentences; empty if the claim names none.
        reason: why they are no answer, in words; empty if they are one.
        warnings: what a reader must know of the choice.
    """

    runs: pd.DataFrame
    note: str = ""
    reason: str = ""
    warnings: list[str] = field(default_factory=list)


def runs_at_rate(
    plan: Settings,
    runs: pd.DataFrame,
) -> RunsAtRate:
    """Keep the runs at the value that `at` of a claim names.

    It is the value of the grid that is nearest, on a logarithmic scale, to a multiple
    of the largest value at which an arm trains: the median over its seeds.

    Args:
        plan: the claim with the keys of its study.
        runs: from `load_runs`.

    Raises:
        ValueError: there is no such setting or arm.
    """
    asked = plan.get("at")
    if asked is None:
        return RunsAtRate(runs)
    key = asked["largest_stable"]
    within = list(plan.get("within", []))
    check_keys(runs, [key, *within])
    runs = runs.assign(
        arm=arm_labels(runs, name_list(plan["by"])),
        where=group_labels(runs, within),
    )
    arm = setting_text(asked["of"])
    source = runs[runs["arm"] == arm]
    if source.empty:
        raise ValueError(f"at needs runs of {arm}, and there are none")
    stable = largest_stable(
        source,
        key,
        within,
        _judged_by(plan, runs),
        plan.get("tolerance", 0.01),
    )

    choices = []
    groups = dict(iter(runs.groupby("where")))
    rates = dict(iter(stable.groupby("where")[LARGEST_STABLE_RATE]))
    for where in sorted_labels(runs["where"]):
        choices.append(_choose(groups[where], rates.get(where), asked))
    notes = [choice.note for choice in choices]
    reasons = [choice.reason for choice in choices if choice.reason]
    return RunsAtRate(
        pd.concat([choice.runs for choice in choices]),
        note=f"All arms are compared at {'; '.join(notes)}.",
        reason=" and ".join(reasons),
        warnings=stable_edge_warnings(source, stable, key),
    )


def _choose(
    group: pd.DataFrame,
    rates: pd.Series | None,
    asked: Mapping[str, Any],
) -> RunsAtRate:
    """Keep the runs of one group at its value.

    Args:
        group: runs of all arms, with the label of their group in `where`.
        rates: logarithms of the largest stable values of the arm, by seed; None if it
            has no runs in the group.
        asked: `at` of the claim.
    """
    key = asked["largest_stable"]
    times = asked.get("times", 1)
    where = group["where"].iloc[0]
    at = f" at {where}" if where else ""
    largest = _median_rate(rates)
    goal = largest * times
    value, is_near = _nearest(group[key], goal)

    reason = ""
    if np.isnan(largest):
        reason = f"most seeds of {asked['of']} train at no value of {key}{at}"
    elif not is_near:
        reason = f"no value of {key} that was tried{at} is near {goal:.3g}"
    note = (
        f"{key}={setting_text(value)}{at}, the value nearest to {times:g} times "
        f"{largest:.3g}, the largest one at which {asked['of']} trains (median over "
        "seeds)"
    )
    values = group[key].astype(float)
    return RunsAtRate(group[values == value], note, reason)


def _judged_by(plan: Settings, runs: pd.DataFrame) -> str:
    """The validation metric that says whether a value trains."""
    metric = plan["metric"]
    if isinstance(metric, str):
        return validation_metric(runs, metric)
    return validation_metric_of(metric, runs)


def _median_rate(logarithms: pd.Series | None) -> float:
    """The median over seeds; NaN if half of them train at no value."""
    if logarithms is None:
        return np.nan
    values = logarithms.astype(float).fillna(-np.inf)
    middle = float(values.median())
    return 10**middle if np.isfinite(middle) else np.nan


def _nearest(
    column: pd.Series,
    goal: float,
) -> tuple[float, bool]:
    """The nearest value of a grid, the lower one of two; the lowest without a goal.

    Returns:
        The value, and whether it lies within one step of the grid.
    """
    values = np.unique(column.dropna().astype(float))
    if np.isnan(goal):
        return float(values[0]), True
    factors = np.log10(values / goal)
    distances = np.round(np.abs(factors), DIGITS)
    place = int(np.argmin(distances))
    step = grid_step(column.to_frame(), str(column.name))
    widest = round(np.log10(step), DIGITS)
    is_near = distances[place] <= widest
    return float(values[place]), bool(is_near)
