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
    columns_of,
    ending_of_run,
    last_word,
    metric_values,
    run_identity,
)
from normlab.compare.result_tables import LeftOut, Results
from normlab.compare.result_values import Choice, uneven_ends
from normlab.compare.sentences import number
from normlab.compare.settings import (
    capitalized,
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
    cells = table[column_of(roles, METRIC)]
    times = pd.to_numeric(table[clock], errors="coerce")
    rows = pd.DataFrame(
        {
            "place": np.arange(len(table)),
            "score": metric_values(cells).to_numpy(),
            "order": times.to_numpy(),
            "written": [cell is not None for cell in cells],
        }
    )
    identity = []
    for name in run_identity(results, roles, clock):
        identity.append(table[name].to_numpy())
    kept = []
    ends = []
    for _, run in rows.groupby(identity, dropna=False, sort=False):
        in_time = run.sort_values("order", kind="stable")
        written = in_time[in_time["written"]]
        if written.empty:
            written = in_time.tail(1)
        last = written["order"].iloc[-1]
        ends.append(float(last))
        chosen = choice.place(written["score"].tolist())
        place = written["place"].iloc[chosen]
        kept.append(int(place))
    note = choice.note(f"the rows by {clock}")
    notes = [*results.notes, note, *uneven_ends(ends, clock)]
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
    every = _with_run_columns(table, roles, names)
    directions: dict[str, bool | None] = {}
    for name in columns_of(roles, MEASUREMENT):
        directions[names.get(name, name)] = None
    directions[names.get(metric, metric)] = higher
    declare_metrics(directions)

    unfinished = every["status"] == "unfinished"
    left_out = list(results.left_out)
    for place in table.index[unfinished]:
        left_out.append((str(place), "the run has not ended"))
    runs = every[~unfinished].reset_index(drop=True)
    by = [names.get(name, name) for name in columns_of(roles, ARMS)]
    if column_of(roles, SEED):
        _check_distinct(runs, table, by, roles, names)
    _check_repeated(runs, by)
    described = _described(table, roles, names, higher)
    return _with_attributes(runs, results, described, names, left_out)


def _with_run_columns(
    table: pd.DataFrame,
    roles: dict[str, str],
    names: dict[str, str],
) -> pd.DataFrame:
    """The columns that every table of runs has, and those with settings and values."""
    status, reason = _statuses(table, roles)
    columns: dict[str, Any] = dict.fromkeys(("reason", *NUMBER_FIELDS), math.nan)
    columns |= {
        "run": _run_names(table, roles),
        "folder": list(table.index),
        "status": status,
        "reason": reason,
        "seed": [f"{NO_SEED} {place}" for place in range(1, len(table) + 1)],
    }
    for name, role in roles.items():
        new = names.get(name, name)
        if role in (METRIC, MEASUREMENT):
            columns[new] = metric_values(table[name])
        elif role in (ARMS, SEED, FOLD, SETTING):
            columns[new] = table[name]
    return pd.DataFrame(columns, index=table.index)


def _check_squares(scores: pd.Series) -> None:
    """Refuse numbers whose spread is not computable."""
    finite = scores[np.isfinite(scores)]
    too_large = finite[finite.abs() > LARGEST_SCORE]
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
        is_empty = table[name].isna()
        if role == ARMS and is_empty.all():
            raise ValueError(f"{name} must have values, and is empty in every row")
        if role in (SEED, FOLD) and is_empty.any():
            first = is_empty.idxmax()
            raise ValueError(f"{role} must be in every row; {name} is empty in {first}")


def _new_names(roles: dict[str, str]) -> dict[str, str]:
    """New names of columns whose own name means something else in a table of runs."""
    fixed = {SEED: "seed", FOLD: FOLD_SETTING}
    names = {}
    taken = set(roles)
    for name, role in roles.items():
        new = fixed.get(role, name)
        if _is_reserved(name, role):
            new = capitalized(name)
            while new in taken:
                new += " "
            taken.add(new)
        if new != name:
            names[name] = new
    return names


def _is_reserved(name: str, role: str) -> bool:
    if role in (METRIC, MEASUREMENT):
        return name in RESERVED and name not in NUMBER_FIELDS
    if role not in (ARMS, SETTING):
        return False
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
    written = table[metric]
    cells = written.where(written.isna(), metric_values(written))
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
    status = "finished"
    if ending is not None:
        status = ending_of_run(ending)
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
    for name in columns_of(roles, DESCRIPTION):
        is_name = last_word(name) in ("name", "run", "id")
        if is_name and table[name].is_unique:
            return list(map(str, table[name]))
    return [str(place).rpartition("/")[2] for place in table.index]


def _check_distinct(
    runs: pd.DataFrame,
    table: pd.DataFrame,
    by: list[str],
    roles: dict[str, str],
    names: dict[str, str],
) -> None:
    """Refuse two rows of one run."""
    named = [*by, "seed"]
    identity = list(named)
    if FOLD_SETTING in runs:
        identity.append(FOLD_SETTING)
    for name in columns_of(roles, SETTING):
        identity.append(names.get(name, name))
    same = runs[runs.duplicated(identity, keep=False)]
    if same.empty:
        return
    texts = same[identity].map(setting_text)
    first = texts.iloc[0]
    is_alike = (texts == first).all(axis=1)
    places = same.loc[is_alike, "folder"].head(2)
    shared = ", ".join(f"{key}={first[key]}" for key in named)
    others = _other_columns(table.loc[places])
    raise ValueError(
        f"every run must have one row: {' and '.join(places)} both have "
        f"{shared} and differ in no other setting{others}; remove "
        "one, or name the setting that tells them apart with `within`"
    )


def _other_columns(pair: pd.DataFrame) -> str:
    """Columns of the table that differ in two rows, in parentheses."""
    texts = pair.map(setting_text)
    differs = texts.iloc[0] != texts.iloc[1]
    names = texts.columns[differs.to_numpy()]
    if names.empty:
        return ""
    return f" (they differ in {', '.join(map(str, names))})"


def _check_repeated(runs: pd.DataFrame, by: list[str]) -> None:
    """Refuse settings that leave one run in every group."""
    if runs.empty:
        return
    sizes = runs.groupby(by, dropna=False).size()
    if sizes.max() < 2:
        raise ValueError(
            f"every arm must have at least two runs to compare; {', '.join(by)} has "
            "a different value in each row"
        )
    keys = distinguishing_settings(runs, by)
    if not keys:
        return
    sizes = runs.groupby([*by, *keys], dropna=False).size()
    if sizes.max() > 1:
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
        column = table[name]
        text = ROLES.get(role, "")
        if role == METRIC:
            better = "higher" if higher else "lower"
            text = f"compared: {better} is better"
        if role == SETTING and column.nunique(dropna=False) == 1:
            text = "setting, the same in all runs"
        if role not in (SEED, FOLD) and name in names:
            text += f"; called {names[name]} here"
        rows.append((name, text, _values_text(column, role)))
    return rows


def _values_text(column: pd.Series, role: str) -> str:
    """The values of a column in a few words."""
    if role in (METRIC, MEASUREMENT):
        scores = metric_values(column)
        finite = scores[np.isfinite(scores)]
        if finite.empty:
            return "no numbers"
        return f"{number(finite.min())} to {number(finite.max())}"
    labels = sorted_labels(map(setting_text, column))
    text = ", ".join(labels[:MOST_VALUES])
    more = len(labels) - MOST_VALUES
    if more > 0:
        text += f" and {more} more"
    return text
