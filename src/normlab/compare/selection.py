"""The best value of a hyperparameter for every arm, and if the grid was too small."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from normlab.compare.columns import LARGEST_STABLE_RATE, rows_of_arm
from normlab.compare.settings import arm_labels, setting_text, sorted_labels
from normlab.compare.summaries import have_finished
from normlab.metrics import higher_is_better

LEARNING_RATES = ("lr", "max_lr")
BEST = "best value"  # the column of `best_values` in a table


def validation_metric(runs: pd.DataFrame, metric: str) -> str:
    """The metric on the validation part, for choices that must not see the test part.

    It is `metric` itself if that is no test metric or the runs have no such column.
    """
    if not metric.startswith("test/"):
        return metric
    candidate = metric.replace("test/", "val/", 1)
    if candidate not in runs:
        return metric
    return candidate


def best_values(
    runs: pd.DataFrame,
    key: str,
    within: Sequence[str],
    metric: str,
) -> pd.Series:
    """The best value of a setting for every group and arm, by the mean over seeds.

    Values at which a smaller share of the runs diverged come first, and the mean
    decides among them. A value with less than half as many runs as another one of the
    same arm does not compete.

    Args:
        runs: with their arm in `arm`.
        key: the setting to choose a value of.
        within: settings that make a group.
        metric: by which the values are judged.

    Returns:
        The best value, indexed by the settings in `within` and `arm`.
    """
    places = [*within, "arm"]
    found = ranked_values(runs, key, within, metric)
    # GroupBy.first() would skip a missing value, which can be the best one.
    return found.drop_duplicates(places).set_index(places)[key]


def ranked_values(
    runs: pd.DataFrame,
    key: str,
    within: Sequence[str],
    metric: str,
) -> pd.DataFrame:
    """The values of a setting for every group and arm, each arm's best one first.

    Args:
        runs: with their arm in `arm`.
        key: the setting to choose a value of.
        within: settings that make a group.
        metric: by which the values are judged.

    Returns:
        One row per value, group and arm, with `score`, the mean of the metric over the
        runs that finished, which is NaN if none did.
    """
    finished = have_finished(runs, metric)
    table = runs.assign(
        finished=finished,
        diverged=runs["status"] == "diverged",
        score=runs[metric].astype(float).where(finished),
    )
    places = [*within, "arm"]
    found = table.groupby([*places, key], dropna=False).agg(
        finished=("finished", "sum"),
        diverged=("diverged", "sum"),
        score=("score", "mean"),
    )
    found = found.reset_index()
    found["ended"] = found["finished"] + found["diverged"]
    ended_at_place = found.groupby(places, dropna=False)["ended"]
    most = ended_at_place.transform("max")
    found["few"] = found["ended"] < most / 2
    found["lost"] = found["diverged"] / found["ended"]
    return found.sort_values(
        ["few", "lost", "score"], ascending=[True, True, not higher_is_better(metric)]
    )


def runs_at_best(
    runs: pd.DataFrame,
    key: str,
    within: Sequence[str],
    metric: str,
) -> pd.DataFrame:
    """The runs at every arm's best value of a setting, chosen on validation.

    Args:
        runs: with their arm in `arm`.
        key: the setting to choose a value of.
        within: settings that make a group.
        metric: the metric that is shown.
    """
    judged_by = validation_metric(runs, metric)
    best = best_values(runs, key, within, judged_by)
    return runs[is_at_best(runs, key, within, best)]


def is_at_best(
    runs: pd.DataFrame,
    key: str,
    within: Sequence[str],
    best: pd.Series,
) -> NDArray:
    """Whether each run has the best value of its group and arm.

    Args:
        runs: with their arm in `arm`.
        key: the setting.
        within: settings that make a group.
        best: from `best_values`.

    Returns:
        Shape `(number of runs,)`.
    """
    places = [*within, "arm"]
    chosen = best.rename(BEST).reset_index()
    # A merge, unlike a lookup by label, also finds groups that lack a setting.
    found = runs[[*places, key]].merge(chosen, on=places, how="left")
    values = found[key]
    wanted = found[BEST]
    both_missing = values.isna() & wanted.isna()
    matches = values.eq(wanted) | both_missing
    return matches.to_numpy(bool)


def runs_at_place(
    runs: pd.DataFrame,
    places: Sequence[str],
    place: Sequence[Any],
) -> pd.DataFrame:
    """The runs of an arm in a group; a setting that it lacks is missing in both.

    Args:
        runs: with their arm in `arm`.
        places: the settings that make a group, and `arm`.
        place: a value for each of them.
    """
    is_there = pd.Series(True, index=runs.index)
    for key, value in zip(places, place, strict=True):
        column = runs[key]
        if pd.isna(value):
            is_there &= column.isna()
        else:
            is_there &= column == value
    return runs[is_there]


def split_place(place: Hashable) -> tuple[str, tuple]:
    """Arm and group of a label in the index of `best_values`."""
    if not isinstance(place, tuple):
        return str(place), ()
    *group, arm = place
    return str(arm), tuple(group)


def place_name(place: Hashable, within: Sequence[str]) -> str:
    """Arm and group in a sentence, such as `custom, optimizer.lr=0.1`."""
    arm, group = split_place(place)
    parts = [arm]
    for key, value in zip(within, group, strict=True):
        parts.append(f"{key}={setting_text(value)}")
    return ", ".join(parts)


def edge_warnings(
    runs: pd.DataFrame,
    by: Sequence[str],
    within: Sequence[str],
    metric: str,
) -> list[str]:
    """One line for every arm whose best learning rate lies on the edge of its grid.

    If the rate is itself one of the compared settings, the arms are told apart by the
    others.

    Args:
        runs: with their arm in `arm`.
        by: settings that make an arm.
        within: settings that make a group.
        metric: the metric that is compared.
    """
    lines = []
    for key in [*by, *within]:
        if key.rpartition(".")[2] in LEARNING_RATES:
            lines += _edge_lines(runs, key, by, within, metric)
    return lines


def _edge_lines(
    runs: pd.DataFrame,
    key: str,
    by: Sequence[str],
    within: Sequence[str],
    metric: str,
) -> list[str]:
    other_settings = [name for name in by if name != key]
    other_groups = [name for name in within if name != key]
    if key in by and other_settings:
        runs = runs.assign(arm=arm_labels(runs, other_settings))
    elif key in by:
        runs = runs.assign(arm="all runs")

    metric = validation_metric(runs, metric)
    best = best_values(runs, key, other_groups, metric)
    places = [*other_groups, "arm"]
    values = runs.assign(finished=have_finished(runs, metric))
    grid = values.groupby(places, dropna=False).agg(
        smallest=(key, "min"),
        largest=(key, "max"),
        count=(key, "nunique"),
        finished=("finished", "sum"),
    )
    grid = grid.reset_index()
    chosen = best.rename(BEST).reset_index()
    table = chosen.merge(grid, on=places, how="left")
    rows = table.to_dict("records")
    lines = []
    for place, row in zip(best.index.tolist(), rows, strict=True):
        end = _edge(row)
        if end:
            name = place_name(place, other_groups)
            value = setting_text(row[BEST])
            lines.append(
                f"{name}: the best {key}, {value}, is the {end} that was "
                "tried; extend the grid before comparing arms at their best."
            )
    return lines


def _edge(row: dict) -> str:
    """The end of its grid at which the best value lies; empty if it lies within."""
    if row["count"] < 2 or not row["finished"]:
        return ""
    for end in ("smallest", "largest"):
        if row[BEST] == row[end]:
            return end
    return ""


def largest_stable(
    runs: pd.DataFrame,
    key: str,
    within: Sequence[str],
    metric: str,
    tolerance: float,
) -> pd.DataFrame:
    """The run with the largest value of a setting that still trains, by seed.

    A value trains if its run finished within `tolerance` of the best run of the same
    arm, group and seed.

    Args:
        runs: with their arm in `arm`.
        key: the setting, a number such as the learning rate.
        within: settings that make a group.
        metric: by which a run is judged.
        tolerance: how far from the best a run may be, in units of the metric.

    Returns:
        One row per arm, group and seed, with the new metric `log10 largest stable
        learning rate`; it is NaN, and the status `diverged`, if no run finished.
    """
    identity = [*within, "arm", "seed"]
    scores = runs[metric].astype(float)
    if not higher_is_better(metric):
        scores = -scores
    scores = scores.where(have_finished(runs, metric))
    columns = [runs[name] for name in identity]
    best = scores.groupby(columns, dropna=False).transform("max")
    trains = scores >= best - tolerance

    values = runs[key].astype(float)
    stable = np.log10(values.where(trains))
    table = runs.assign(**{LARGEST_STABLE_RATE: stable})
    table = table.sort_values(LARGEST_STABLE_RATE, na_position="first")
    last = table.groupby(identity, dropna=False).tail(1)
    trained = last[LARGEST_STABLE_RATE].notna()
    statuses = np.where(trained, "finished", "diverged")
    last = last.assign(status=statuses)
    return last.drop(columns=key).sort_index()


def grid_step(runs: pd.DataFrame, key: str) -> float:
    """The largest factor between neighbouring values of a setting; NaN for one value.

    Args:
        runs: all runs of the grid.
        key: the setting, a number above 0 such as the learning rate.
    """
    known = runs[key].dropna()
    values = np.unique(known.astype(float))
    if len(values) < 2 or values[0] <= 0:
        return np.nan
    factors = values[1:] / values[:-1]
    return float(factors.max())


def stable_edge_warnings(
    runs: pd.DataFrame,
    table: pd.DataFrame,
    key: str,
) -> list[str]:
    """One line for every arm that still trains at the largest value that was tried.

    Args:
        runs: all runs of the grid.
        table: from `largest_stable`.
        key: the setting of which the largest stable value was sought.
    """
    lines = []
    largest = runs[key].astype(float).max()
    for arm in sorted_labels(table["arm"]):
        part = rows_of_arm(table, arm)
        rates = part[LARGEST_STABLE_RATE].astype(float)
        at_edge = np.isclose(rates, np.log10(largest))
        count = int(at_edge.sum())
        if count:
            value = setting_text(largest)
            lines.append(
                f"{arm}: {count} of {len(part)} seeds still train at the largest {key} "
                f"tried, {value}."
            )
    return lines
