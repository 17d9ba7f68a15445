"""The runs at a value of a setting that is relative to another arm's largest stable.

A claim such as "at a tenth of the largest learning rate at which training without a
norm works" compares all arms at one value per group. That value is chosen by validation
scores, from the grid that was planned.
"""

from dataclasses import dataclass, field

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

ROUNDING = 1e-9  # of logarithms


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


def runs_at_rate(plan: Settings, runs: pd.DataFrame) -> RunsAtRate:
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
    name = setting_text(asked["of"])
    source = runs[runs["arm"] == name]
    if source.empty:
        raise ValueError(f"at needs runs of {name}, and there are none")
    tolerance = plan.get("tolerance", 0.01)
    stable = largest_stable(source, key, within, _judged_by(plan, runs), tolerance)
    kept = []
    notes = []
    reasons = []
    for where in sorted_labels(runs["where"]):
        group = runs[runs["where"] == where]
        rates = stable.loc[stable["where"] == where, LARGEST_STABLE_RATE]
        at = f" at {where}" if where else ""
        largest = _median_rate(rates)
        if np.isnan(largest):
            reasons.append(f"most seeds of {name} train at no value of {key}{at}")
        goal = largest * asked.get("times", 1)
        value, is_near = _nearest(group[key], goal)
        if not is_near:
            reasons.append(f"no value of {key} that was tried{at} is near {goal:.3g}")
        kept.append(group[group[key].astype(float) == value])
        notes.append(
            f"{key}={setting_text(value)}{at}, the value nearest to "
            f"{asked.get('times', 1):g} times {largest:.3g}, the largest one at which "
            f"{name} trains (median over seeds)"
        )
    return RunsAtRate(
        pd.concat(kept),
        note=f"All arms are compared at {'; '.join(notes)}.",
        reason=" and ".join(reasons),
        warnings=stable_edge_warnings(source, stable, key),
    )


def _judged_by(plan: Settings, runs: pd.DataFrame) -> str:
    """The validation metric that says whether a value trains."""
    metric = plan["metric"]
    if isinstance(metric, str):
        return validation_metric(runs, metric)
    return validation_metric_of(metric, runs)


def _median_rate(logarithms: pd.Series) -> float:
    """The median over seeds; NaN if half of them train at no value."""
    values = logarithms.astype(float).fillna(-np.inf)
    if values.empty:
        return np.nan
    middle = float(values.median())
    return 10**middle if np.isfinite(middle) else np.nan


def _nearest(column: pd.Series, goal: float) -> tuple[float, bool]:
    """The nearest value of a grid, the lower one of two; the lowest without a goal.

    Returns:
        The value, and whether it lies within one step of the grid.
    """
    values = np.unique(column.dropna().astype(float))
    if np.isnan(goal):
        return float(values[0]), True
    distances = np.abs(np.log10(values) - np.log10(goal))
    place = int(np.argmin(np.round(distances / ROUNDING)))
    step = grid_step(column.to_frame(), str(column.name))
    widest = 0.0 if np.isnan(step) else np.log10(step)
    is_near = distances[place] <= widest + ROUNDING
    return float(values[place]), bool(is_near)
