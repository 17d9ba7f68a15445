"""What a claim compares if it is computed from several runs with one seed.

Every arm gets one value per seed, and the arms are compared by it as by a metric: the
difference of two changes is an interaction.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from normlab.compare.arguments import name_list
from normlab.compare.selection import runs_at_best
from normlab.compare.settings import arm_labels, check_keys, setting_text
from normlab.metrics import (
    declare_metrics,
    higher_is_better,
    is_declared,
    is_metric,
)
from normlab.study.plans import Settings

DERIVED = ("interaction", "slope")  # keys of a claim
# What the names of the values begin with, before the name of the metric.
CHANGE, SLOPE = "change of ", "slope of "
FEWEST_VALUES = 3  # of an axis, below which a slope is a difference
X = "x"  # column of a table of one slope's points


def is_derived(plan: Settings) -> bool:
    """Whether a claim compares what is computed from several runs.

    Args:
        plan: the claim with the keys of its study.
    """
    return any(plan.get(key) for key in DERIVED)


def derived_runs(
    plan: Settings,
    runs: pd.DataFrame,
) -> tuple[pd.DataFrame, str, str]:
    """One row per arm, group and seed, with the value that a claim compares.

    Args:
        plan: the claim with the keys of its study.
        runs: from `load_runs`.

    Returns:
        The rows, the name of the column with the value, and why it is no answer, in
        words; empty if it is one. A run that diverged or failed has no value, and would
        be the worst at one end and the best at the other.

    Raises:
        ValueError: a setting does not exist or is no number, or several runs have one
            seed.
    """
    metric = plan["metric"]
    key = _axis(plan)
    within = list(plan.get("within", []))
    check_keys(runs, [key, *within])
    arms = arm_labels(runs, name_list(plan["by"]))
    runs = runs.assign(arm=arms)
    if plan.get("select"):
        groups = [*within, key]
        runs = runs_at_best(runs, plan["select"], groups, metric)

    kept = _scored(runs, metric)
    places = ["arm", *within, "seed"]
    check_unique(kept, [*places, key])
    lost = len(runs) - len(kept)
    reason = ""
    if lost:
        reason = f"{lost} of {len(runs)} runs have no {metric} to compute it from"

    column = _column(metric, CHANGE if plan.get("interaction") else SLOPE)
    if plan.get("interaction"):
        values = list(map(setting_text, plan["interaction"][key]))
        table = _changes(kept, key, values, places, metric, column)
        return table, column, reason
    is_log2 = plan.get("scale") == "log2"
    table = _slopes(kept, key, is_log2, places, metric, column)
    return table, column, reason


def _column(metric: str, what: str) -> str:
    """A name that says which part it is of and, by its end, what it comes from."""
    part, _, name = metric.partition("/")
    column = f"{part}/{what}{name}"
    if not is_metric(column) or is_declared(metric):
        declare_metrics({column: higher_is_better(metric)})
    return column


def _scored(runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The runs that finished with a value of the metric."""
    values = runs[metric].astype(float)
    is_finished = runs["status"] == "finished"
    return runs[is_finished & np.isfinite(values)]


def _axis(plan: Settings) -> str:
    """The setting along which runs with one seed differ."""
    if plan.get("interaction"):
        return str(next(iter(plan["interaction"])))
    return str(plan["slope"])


def check_unique(runs: pd.DataFrame, keys: list[str]) -> None:
    """Refuse several runs with one seed.

    Args:
        runs: with their arm in `arm`.
        keys: settings that must tell all runs apart.

    Raises:
        ValueError: names the first such place.
    """
    repeated = runs[runs.duplicated(keys)]
    if repeated.empty:
        return
    row = repeated.iloc[0]
    place = " ".join(f"{key}={setting_text(row[key])}" for key in keys)
    raise ValueError(
        f"the claim needs one run per {', '.join(keys)}, but there are several with "
        f"{place}; name the setting in which they differ in `within` or `select`"
    )


def _changes(
    runs: pd.DataFrame,
    key: str,
    values: Sequence[str],
    places: list[str],
    metric: str,
    column: str,
) -> pd.DataFrame:
    """The metric at the second value of a setting minus that at the first."""
    texts = runs[key].map(setting_text)
    first, second = values
    before = runs.loc[texts == first, [*places, metric]]
    before = before.rename(columns={metric: column})
    after = runs[texts == second]
    pairs = after.merge(before, on=places)
    changes = pairs[metric].astype(float)
    changes -= pairs[column].astype(float)
    pairs[column] = changes
    return pairs


def _slopes(
    runs: pd.DataFrame,
    key: str,
    is_log2: bool,
    places: list[str],
    metric: str,
    column: str,
) -> pd.DataFrame:
    """The slope of the line of least squares through the metric over a setting."""
    x = _numbers(runs[key], key)
    if is_log2:
        if not (x > 0).all():
            raise ValueError(f"scale=log2 needs values of {key} above 0")
        x = np.log2(x)
    points = runs.copy()
    points[X] = x
    points[metric] = runs[metric].astype(float)
    most = points[X].nunique()
    if most < FEWEST_VALUES:
        raise ValueError(
            f"slope must be over at least {FEWEST_VALUES} values of {key}, there are "
            f"{most}; interaction compares two"
        )
    points = points.sort_values(X)
    groups = points.groupby(places, sort=False)
    counts = groups[X].transform("nunique")
    centred = points[X] - groups[X].transform("mean")
    products = points[places]
    products = products.assign(
        product=centred * points[metric],
        square=centred**2,
    )
    sums = products.groupby(places, sort=False).sum()
    sums[column] = sums["product"] / sums["square"]
    slopes = sums[column].reset_index()
    first = points[counts == most]
    first = first.drop_duplicates(places)
    first = first.drop(columns=X)
    return first.merge(slopes, on=places)


def _numbers(column: pd.Series, key: str) -> pd.Series:
    try:
        return column.astype(float)
    except (TypeError, ValueError):
        raise ValueError(
            f"slope must be over a setting with numbers, {key} has "
            f"{setting_text(column.iloc[0])}"
        ) from None
