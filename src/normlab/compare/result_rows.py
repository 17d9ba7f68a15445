"""From rows of another program, whose columns have roles, to a table of runs."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from normlab.compare.columns import NO_SEED, NUMBER_FIELDS, RESULT_COLUMNS, UNCOMPARED
from normlab.compare.result_columns import (
    ARMS,
    CLOCK,
    DESCRIPTION,
    FOLD,
    IGNORED,
    MEASUREMENT,
    METRIC,
    SEED,
    SETTING,
    STATUS,
    column_of,
    ending_of_run,
    last_word,
    metric_values,
    run_identity,
)
from normlab.compare.result_tables import LeftOut, Results
from normlab.compare.result_values import Choice, uneven_ends
from normlab.compare.sentences import number
from normlab.compare.settings import (
    distinguishing_settings,
    setting_text,
    sorted_labels,
)
from normlab.compare.summaries import FOLD as FOLD_SETTING
from normlab.metrics import declare_metrics, is_metric

LARGEST_SCORE = 1e100  # squares of more overflow
MOST_VALUES = 4  # that the table of columns shows
# Names for something of its own in a table of runs, which other columns cannot have.
RESERVED = {*RESULT_COLUMNS, "seed", FOLD_SETTING}
RESERVED_GROUPS = {*UNCOMPARED, "environment"}
ROLES = {
    ARMS: "arms",
    SEED: "seed: runs of two arms with the same one are a pair",
    FOLD: "fold of a cross-validation",
    STATUS: "how the run ended",
    CLOCK: "order of the rows of a run",
    SETTING: "setting",
    MEASUREMENT: "measured, not compared",
    DESCRIPTION: "describes a run, not compared",
    IGNORED: "left out, as requested",
}


def one_row_per_run(
    results: Results,
    roles: dict[str, str],
    choice: Choice,
) -> Results:
    """Keep the row of every run that holds its last or its best value.

    Args:
        results: a table with several rows per run.
        roles: of the columns that identify a run, with a clock.
        choice: which value is taken.
    """
    table = results.table
    clock = column_of(roles, CLOCK)
    metric = column_of(roles, METRIC)
    rows = pd.DataFrame({"place": range(len(table))})
    rows["score"] = metric_values(table[metric]).to_numpy()
    rows["order"] = pd.to_numeric(table[clock], errors="coerce").to_numpy()
    rows["written"] = [cell is not None for cell in table[metric]]
    identity = [table[name].to_numpy() for name in run_identity(results, roles, clock)]
    kept = []
    ends = []
    for _, run in rows.groupby(identity, dropna=False, sort=False):
        in_time = run.sort_values("order", kind="stable")
        written = in_time[in_time["written"]]
        if written.empty:
            written = in_time.tail(1)
        chosen = choice.place(written["score"].tolist())
        ends.append(float(written["order"].iloc[-1]))
        kept.append(int(written["place"].iloc[chosen]))
    notes = [*results.notes, choice.note(f"the rows by {clock}")]
    notes += uneven_ends(ends, clock)
    return replace(results, table=table.iloc[sorted(kept)], notes=notes)


def runs_of(
    results: Results,
    roles: dict[str, str],
    higher: bool,
) -> pd.DataFrame:
    """The table of runs, with what its columns were taken for in `attrs`.

    Args:
        results: one row per run.
        roles: of every column.
        higher: whether a higher value of the metric is better.

    Raises:
        ValueError: a cell that identifies a run is empty, two rows are of the same run,
            or no two runs share their settings.
    """
    table = results.table
    _check_present(table, roles)
    metric = column_of(roles, METRIC)
    _check_squares(metric_values(table[metric]))
    names = _new_names(roles)
    status, reason = _statuses(table, roles)
    left_out = list(results.left_out)
    for place in table.index[status == "unfinished"]:
        left_out.append((str(place), "the run has not ended"))

    columns: dict[str, Any] = dict.fromkeys(("reason", *NUMBER_FIELDS), math.nan)
    columns |= {
        "run": _run_names(table, roles),
        "folder": list(table.index),
        "status": status,
        "reason": reason,
        "seed": [f"{NO_SEED} {place}" for place in range(1, len(table) + 1)],
    }
    directions: dict[str, bool | None] = {}
    for name, role in roles.items():
        new = names.get(name, name)
        if role in (METRIC, MEASUREMENT):
            columns[new] = metric_values(table[name])
            directions[new] = None
        elif role in (ARMS, SEED, FOLD, SETTING):
            columns[new] = table[name]
    directions[names.get(metric, metric)] = higher
    declare_metrics(directions)

    runs = pd.DataFrame(columns, index=table.index)
    runs = runs[runs["status"] != "unfinished"].reset_index(drop=True)
    by = [names.get(name, name) for name, role in roles.items() if role == ARMS]
    if column_of(roles, SEED):
        _check_distinct(runs, table, by, roles, names)
    _check_repeated(runs, by)
    described = _described(table, roles, names, higher)
    return _with_attributes(runs, results, described, names, left_out)


def _check_squares(scores: pd.Series) -> None:
    """Refuse numbers whose spread is not computable."""
    too_large = scores[np.isfinite(scores) & (scores.abs() > LARGEST_SCORE)]
    if not too_large.empty:
        raise ValueError(
            f"metric must be a number of at most {LARGEST_SCORE:g} in size, or inf for "
            f"a run that diverged; it is {too_large.iloc[0]:g} in {too_large.index[0]}"
        )


def _with_attributes(
    runs: pd.DataFrame,
    results: Results,
    described: list[tuple[str, str, str]],
    names: dict[str, str],
    left_out: LeftOut,
) -> pd.DataFrame:
    runs.attrs["kind"] = results.kind
    runs.attrs["columns"] = described
    runs.attrs["names"] = results.renamed | names
    runs.attrs["unreadable"] = left_out
    runs.attrs["notes"] = results.notes
    return runs


def _check_present(table: pd.DataFrame, roles: dict[str, str]) -> None:
    """Refuse rows that do not say to which arm, seed or fold they belong."""
    for name, role in roles.items():
        lacking = table.index[table[name].isna()]
        if role == ARMS and len(lacking) == len(table):
            raise ValueError(f"{name} must have values, and is empty in every row")
        if role in (SEED, FOLD) and len(lacking):
            raise ValueError(
                f"{role} must be in every row; {name} is empty in {lacking[0]}"
            )


def _new_names(roles: dict[str, str]) -> dict[str, str]:
    """New names of columns whose own name means something else in a table of runs."""
    names = {}
    taken = set(roles)
    for name, role in roles.items():
        if role == SEED:
            names[name] = "seed"
        elif role == FOLD:
            names[name] = FOLD_SETTING
        elif role in (ARMS, SETTING, METRIC, MEASUREMENT) and _is_reserved(name, role):
            new = name[:1].upper() + name[1:]
            while new in taken or new == name:
                new += " "
            taken.add(new)
            names[name] = new
    return {name: new for name, new in names.items() if name != new}


def _is_reserved(name: str, role: str) -> bool:
    if role in (METRIC, MEASUREMENT):
        return name in RESERVED and name not in NUMBER_FIELDS
    group = name.partition(".")[0]
    return name in RESERVED or group in RESERVED_GROUPS or is_metric(name)


def _statuses(
    table: pd.DataFrame, roles: dict[str, str]
) -> tuple[pd.Series, pd.Series]:
    """How every run ended, and why it did not finish."""
    metric = column_of(roles, METRIC)
    column = column_of(roles, STATUS)
    endings = [None] * len(table)
    if column:
        endings = table[column].tolist()
    statuses = []
    reasons = []
    cells = table[metric].where(table[metric].isna(), metric_values(table[metric]))
    for place, ending, cell in zip(table.index, endings, cells, strict=True):
        status, reason = _status(ending, cell, metric)
        if not status:
            raise ValueError(
                "status must be a word such as finished, failed, crashed or diverged; "
                f"{column} is {ending!r} in {place}"
            )
        statuses.append(status)
        reasons.append(reason)
    return (
        pd.Series(statuses, index=table.index),
        pd.Series(reasons, index=table.index, dtype=object),
    )


def _status(
    ending: Any,
    cell: Any,
    metric: str,
) -> tuple[str, str | None]:
    """How a run ended, and why it did not finish.

    Args:
        ending: what the table says, None if nothing.
        cell: the metric, None if nothing is written.
        metric: its name.
    """
    status = "finished" if ending is None else ending_of_run(ending)
    if status in ("diverged", "failed"):
        return status, f"the results say {ending}"
    if status != "finished":
        return status, None
    if cell is None:
        return "failed", f"no {metric}"
    if not math.isfinite(float(cell)):
        return "diverged", f"{metric} is not finite"
    return "finished", None


def _run_names(table: pd.DataFrame, roles: dict[str, str]) -> list[str]:
    """The names of the runs, or their places if no column names them."""
    for name, role in roles.items():
        is_name = last_word(name) in ("name", "run", "id")
        if role == DESCRIPTION and is_name and table[name].is_unique:
            return [str(value) for value in table[name]]
    return [str(place).rpartition("/")[2] for place in table.index]


def _check_distinct(
    runs: pd.DataFrame,
    table: pd.DataFrame,
    by: list[str],
    roles: dict[str, str],
    names: dict[str, str],
) -> None:
    """Refuse two rows of one run."""
    identity = [*by, "seed"]
    if FOLD_SETTING in runs:
        identity.append(FOLD_SETTING)
    for name, role in roles.items():
        if role == SETTING:
            identity.append(names.get(name, name))
    same = runs[runs.duplicated(identity, keep=False)]
    if same.empty:
        return
    first = same.iloc[0]
    alike = (same[identity].map(setting_text) == first[identity].map(setting_text)).all(
        axis=1
    )
    pair = same[alike].head(2)
    shared = ", ".join(f"{key}={setting_text(first[key])}" for key in [*by, "seed"])
    raise ValueError(
        f"every run must have one row: {' and '.join(pair['folder'])} both have "
        f"{shared} and differ in no other setting{_other_columns(pair, table)}; remove "
        "one, or name the setting that tells them apart with `within`"
    )


def _other_columns(pair: pd.DataFrame, table: pd.DataFrame) -> str:
    """Columns that are no settings and differ in two rows, in parentheses."""
    first, second = (table.loc[place].map(setting_text) for place in pair["folder"])
    names = [str(name) for name in table.columns[(first != second).to_numpy()]]
    if not names:
        return ""
    return f" (they differ in {', '.join(names)})"


def _check_repeated(runs: pd.DataFrame, by: list[str]) -> None:
    """Refuse settings that leave one run in every group."""
    if runs.empty:
        return
    if runs.groupby(by, dropna=False).size().max() < 2:
        raise ValueError(
            f"every arm must have at least two runs to compare; {', '.join(by)} has "
            "a different value in each row"
        )
    keys = distinguishing_settings(runs, by)
    if not keys:
        return
    if runs.groupby([*by, *keys], dropna=False).size().max() > 1:
        return
    raise ValueError(
        f"no two runs share all settings: besides {', '.join(by)} they differ in "
        f"{', '.join(keys)}; leave out columns that are not settings with `ignore`, "
        "or name the seed with `seed`"
    )


def _described(
    table: pd.DataFrame,
    roles: dict[str, str],
    names: dict[str, str],
    higher: bool,
) -> list[tuple[str, str, str]]:
    """Name, role and values of every column, for people."""
    rows = []
    for name, role in roles.items():
        text = ROLES.get(role, "")
        if role == METRIC:
            better = "higher" if higher else "lower"
            text = f"compared: {better} is better"
        if role == SETTING and table[name].nunique(dropna=False) == 1:
            text = "setting, the same in all runs"
        if role in (ARMS, SETTING, METRIC, MEASUREMENT) and name in names:
            text += f"; called {names[name]} here"
        rows.append((name, text, _values_text(table[name], role)))
    return rows


def _values_text(column: pd.Series, role: str) -> str:
    """The values of a column in a few words."""
    if role in (METRIC, MEASUREMENT):
        scores = metric_values(column)
        finite = scores[np.isfinite(scores)]
        if finite.empty:
            return "no numbers"
        return f"{number(finite.min())} to {number(finite.max())}"
    labels = sorted_labels(setting_text(value) for value in column)
    text = ", ".join(labels[:MOST_VALUES])
    more = len(labels) - MOST_VALUES
    return f"{text} and {more} more" if more > 0 else text
