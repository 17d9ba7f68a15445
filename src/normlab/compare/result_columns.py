"""What the columns of another program's results are taken for.

A column is what the user says, or what its name and its values say. Every column gets
exactly one role, which is printed.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from normlab.compare.columns import check_key
from normlab.compare.result_tables import Results
from normlab.metrics import is_metric_name, named_direction

ARMS, METRIC, SEED = "arms", "metric", "seed"
FOLD, STATUS, CLOCK = "fold", "status", "clock"
SETTING, MEASUREMENT = "setting", "measurement"
DESCRIPTION, IGNORED = "description", "ignored"

# Names that say what a column is, by their last word in lower case.
CLOCK_WORDS = ("epoch", "step", "iteration", "iter", "timestep")
SEED_WORDS = ("seed",)
FOLD_WORDS = ("fold",)
STATUS_WORDS = ("state", "status")
# Settings that may have another value in every run, as in a random search.
SETTING_WORDS = (
    *("lr", "rate", "wd", "decay", "momentum", "dropout", "size", "width", "depth"),
    *("beta", "beta1", "beta2", "eps", "temperature"),
)
# How other programs say that a run ended, in lower case.
FINISHED = ("finished", "success", "succeeded", "completed", "complete", "done", "ok")
DIVERGED = ("diverged", "nan")
FAILED = (
    *("failed", "crashed", "crash", "error", "killed", "timeout", "timed out"),
    *("oom", "preempted", "cancelled", "canceled", "aborted"),
)
UNFINISHED = ("running", "pending", "scheduled", "queued", "waiting", "paused")
ENDINGS_OF_RUNS = {
    **dict.fromkeys(FINISHED, "finished"),
    **dict.fromkeys(DIVERGED, "diverged"),
    **dict.fromkeys(FAILED, "failed"),
    **dict.fromkeys(UNFINISHED, "unfinished"),
}
FEWEST_VALUES = 4  # that say whether a column tells runs apart


@dataclass(frozen=True)
class Wanted:
    """The columns that a user names.

    Attributes:
        by: whose values are the arms.
        metric: that is compared.
        seed: that pairs runs; None finds it by its name.
        fold: of a cross-validation; None finds it by its name.
        status: that says how a run ended; None finds it by its name and values.
        settings: further settings, such as those of `within`.
        ignore: that are left out.
    """

    by: Sequence[str]
    metric: str
    seed: str | None = None
    fold: str | None = None
    status: str | None = None
    settings: Sequence[str] = ()
    ignore: Sequence[str] = field(default=())


def find_run_roles(results: Results, wanted: Wanted) -> dict[str, str]:
    """The columns that identify a run and its result; other columns have no role yet.

    Args:
        results: the table.
        wanted: what the user names.

    Raises:
        ValueError: a named column is missing or named twice, or several columns could
            be the seed.
    """
    table = results.table
    roles = _named_roles(table, wanted)
    _add_by_name(roles, table, SEED, SEED_WORDS)
    _add_by_name(roles, table, FOLD, FOLD_WORDS)
    if STATUS not in roles.values():
        for name in _columns_called(roles, table, STATUS_WORDS):
            if _are_endings(table[name]):
                roles[name] = STATUS
                break
    for name in _columns_called(roles, table, CLOCK_WORDS):
        if _repeats_runs(results, roles, name):
            roles[name] = CLOCK
            break
    return roles


def find_roles(results: Results, run_roles: dict[str, str]) -> dict[str, str]:
    """The role of every column, by its name.

    Args:
        results: the table with one row per run.
        run_roles: from `find_run_roles`.
    """
    roles = dict(run_roles)
    for name in results.table.columns:
        if name in roles:
            continue
        roles[name] = role_by_values(results, name)
        # Without rows to put in order, it says when the run was best or ended.
        if last_word(name) in CLOCK_WORDS:
            roles[name] = DESCRIPTION
    return {name: roles[name] for name in results.table.columns}


def _named_roles(table: pd.DataFrame, wanted: Wanted) -> dict[str, str]:
    names_of_role: dict[str, Sequence[str | None]] = {
        METRIC: [wanted.metric],
        ARMS: wanted.by,
        SEED: [wanted.seed],
        FOLD: [wanted.fold],
        STATUS: [wanted.status],
        IGNORED: wanted.ignore,
    }
    roles: dict[str, str] = {}
    for role, names in names_of_role.items():
        for name in names:
            if name is not None:
                _add_named(roles, table, name, role)
    for name in wanted.settings:
        check_key(name, table.columns, "column")
        roles.setdefault(name, SETTING)
    return roles


def _add_named(
    roles: dict[str, str],
    table: pd.DataFrame,
    name: str,
    role: str,
) -> None:
    check_key(name, table.columns, "column")
    first = roles.setdefault(name, role)
    if first != role:
        raise ValueError(
            f"a column can have one role: {name} is named as {first} and as {role}"
        )


def column_of(roles: dict[str, str], role: str) -> str:
    """The first column with a role; empty if there is none."""
    for name, found in roles.items():
        if found == role:
            return name
    return ""


def columns_of(roles: dict[str, str], role: str) -> list[str]:
    """All columns with a role."""
    return [name for name, found in roles.items() if found == role]


def last_word(name: str) -> str:
    """`seed` of `config.random_seed`, in lower case."""
    parts = re.split(r"[^a-z0-9]+", name.lower())
    return parts[-1]


def _columns_called(
    roles: dict[str, str],
    table: pd.DataFrame,
    words: Sequence[str],
) -> list[str]:
    """The columns without a role whose name ends in one of the words."""
    found = []
    for name in table.columns:
        is_called = last_word(name) in words
        if is_called and name not in roles:
            found.append(name)
    return sorted(found, key=len)


def _add_by_name(
    roles: dict[str, str],
    table: pd.DataFrame,
    role: str,
    words: Sequence[str],
) -> None:
    """Give a role that no column has to the only one, or the shortest, called so."""
    if role in roles.values():
        return
    found = _columns_called(roles, table, words)
    exact = [name for name in found if name.lower() in words]
    if len(found) > 1 and not exact:
        raise ValueError(
            f"several columns could be the {role}: {', '.join(found)}; say which with "
            f"`{role}`"
        )
    best = exact or found
    if best:
        roles[best[0]] = role


def ending_of_run(value: Any) -> str:
    """`finished`, `diverged`, `failed`, `unfinished`, or empty for anything else."""
    word = str(value).strip().lower()
    return ENDINGS_OF_RUNS.get(word, "")


def _are_endings(column: pd.Series) -> bool:
    values = column.dropna()
    return len(values) > 0 and all(map(ending_of_run, values))


def run_identity(results: Results, roles: dict[str, str], clock: str) -> list[str]:
    """The columns whose values all rows of one run share.

    Args:
        results: a table with several rows per run.
        roles: of the columns that identify a run.
        clock: the column in which rows of one run differ.
    """
    table = results.table
    arms = columns_of(roles, ARMS)
    identity = []
    for name in table.columns:
        role = roles.get(name)
        if role in (ARMS, SEED, FOLD, SETTING):
            identity.append(name)
        elif role is None and last_word(name) not in CLOCK_WORDS:
            is_setting = role_by_values(results, name) == SETTING
            if is_setting and not _follows_clock(table, [*arms, clock], name):
                identity.append(name)
    return identity


def _follows_clock(table: pd.DataFrame, keys: list[str], name: str) -> bool:
    """Whether a column has one value at each epoch of an arm, as a schedule has."""
    rows = table.groupby(keys, dropna=False)[name]
    is_repeated = rows.size().min() > 1
    is_constant = rows.nunique(dropna=False).max() <= 1
    return bool(is_repeated and is_constant)


def _repeats_runs(results: Results, roles: dict[str, str], clock: str) -> bool:
    """Whether a run has several rows, which differ in a clock such as the epoch."""
    table = results.table
    if table[clock].nunique() < 2:
        return False
    identity = run_identity(results, roles, clock)
    rows = table.groupby(identity, dropna=False)[clock]
    return bool((rows.nunique() > 1).any())


def role_by_values(results: Results, name: str) -> str:
    """What a column is that nobody named."""
    if name in results.descriptions:
        return DESCRIPTION
    without_prefix = name.partition(".")[2]
    if name in results.measurements and without_prefix in results.table.columns:
        return MEASUREMENT  # the setting of this name has a column of its own
    if last_word(name) in SETTING_WORDS:
        return SETTING
    column = results.table[name]
    if name in results.measurements:
        return MEASUREMENT
    is_named = is_metric_name(name) or named_direction(name) is not None
    if is_named and _is_numeric(column):
        return MEASUREMENT
    return _role_by_variety(column)


def _role_by_variety(column: pd.Series) -> str:
    """A column with another value in most rows tells runs apart, and is no setting.

    Numbers with decimals are measurements then, and all else describes a run.
    """
    values = column.dropna()
    count = len(values)
    if count < FEWEST_VALUES or values.nunique() <= count / 2:
        return SETTING
    if _is_numeric(values) and not all(map(_is_whole, values)):
        return MEASUREMENT
    return DESCRIPTION


def _is_numeric(column: pd.Series) -> bool:
    return all(map(_is_number, column.dropna()))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: float) -> bool:
    return value % 1 == 0


def metric_values(column: pd.Series) -> pd.Series:
    """The compared column as numbers; NaN where nothing is written.

    Whole numbers beyond the range of float64 are infinite, as 1e400 is.

    Raises:
        ValueError: names the first cell that is no number.
    """
    numbers = []
    for place, value in column.items():
        try:
            numbers.append(_as_float(value))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"metric must name a column of numbers; {column.name} is {value!r} in "
                f"{place}"
            ) from error
    return pd.Series(numbers, index=column.index, dtype=float)


def _as_float(value: Any) -> float:
    if value is None:
        return math.nan
    try:
        return float(value)
    except OverflowError:
        if value > 0:
            return math.inf
        return -math.inf
