"""The runs that a study planned against those that exist.

Some may be missing, and some may lie outside of the plan.
"""

import shlex
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from normlab.compare.settings import NO_SETTING, setting_text, sorted_labels
from normlab.programs import program

Params = dict[str, Any]  # a grid: by key the values of an axis, as on a command line
Settings = dict[str, Any]  # by dotted key

TRIAL = "study.try"  # a column of runs
MAX_LINES = 4
MAX_VALUES = 5
# Settings that say where data are stored and what computes; they are part of no plan.
MACHINE_SETTINGS = ("root", "cache", "threads")
COUNTS = ["planned", "present", "missing"]  # columns of `seed_counts`


def planned_runs(params: Params) -> Iterator[dict[str, str]]:
    """Every combination of a sweeper's grid.

    Args:
        params: by key the values of an axis, such as `0.1,1` or `range(3)`.

    Yields:
        By key one value, as text.
    """
    axes = []
    for key, values in params.items():
        axes.append(_axis_values(key, values))
    for combination in product(*axes):
        yield dict(zip(params, combination, strict=True))


def _axis_values(key: str, values: Any) -> list[str]:
    """The values of one axis (checked against Hydra 1.3.8)."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parser = OverridesParser.create()
    override = parser.parse_override(f"{key}={values}")
    if override.is_sweep_override():
        return list(override.sweep_string_iterator())
    return [str(values)]


def grid(params: Params) -> pd.DataFrame:
    """One row per planned run: its settings as `setting_text` shows them."""
    runs = pd.DataFrame(planned_runs(params))
    return runs.map(override_text)


def override_text(text: str) -> str:
    """A value written on a command line as `setting_text` shows the one that is stored.

    `1.0` becomes `1`, and `1e-5` becomes `1e-05`.
    """
    value = yaml.safe_load(text)
    if not isinstance(value, str):
        return setting_text(value)
    try:
        return setting_text(float(value))  # YAML 1.1 reads 1e-05 as a string
    except ValueError:
        return value


def grid_settings(
    params: Params,
    runs: pd.DataFrame,
) -> pd.DataFrame:
    """One row per run: its values of the grid's settings, as text."""
    table = pd.DataFrame(index=runs.index)
    for key in params:
        table[key] = NO_SETTING
        if key in runs:
            table[key] = runs[key].map(setting_text)
    return table


def unplanned_runs(
    params: Params,
    runs: pd.DataFrame,
) -> tuple[pd.Series, str]:
    """Which runs lie outside of the grid.

    Args:
        params: the grid, see `planned_runs`.
        runs: from `load_runs`.

    Returns:
        True for every such run, and their values that were not planned, in words.
    """
    planned = grid(params)
    present = grid_settings(params, runs)
    outside = pd.Series(False, index=runs.index)
    texts = []
    for key in params:
        is_planned = present[key].isin(planned[key])
        strange = ~is_planned
        if not strange.any():
            continue
        outside |= strange
        values = _shown_values(present.loc[strange, key])
        count = int(strange.sum())
        texts.append(f"{key}={values} in {count}")
    return outside, "; ".join(texts)


def _shown_values(column: pd.Series) -> str:
    """The distinct values in a column; of many the first ones and their number."""
    values = sorted_labels(column)
    shown = values[:MAX_VALUES]
    if len(values) > MAX_VALUES:
        shown.append(f"… ({len(values)} values)")
    return ",".join(shown)


def seed_counts(
    params: Params,
    runs: pd.DataFrame,
) -> pd.DataFrame:
    """Planned and present seeds of every combination of the grid's other settings.

    Failed runs are not present: they have no result, and `retry=failed` repeats them.

    Args:
        params: the grid, see `planned_runs`.
        runs: from `load_runs`.

    Returns:
        One row per combination, with its settings as text, the number of seeds that are
        `planned` and `present`, and a list of those that are `missing`.
    """
    planned = grid(params)
    keys = [key for key in planned.columns if key != "seed"]
    with_result = runs[runs["status"] != "failed"]
    present = grid_settings(params, with_result).drop_duplicates()
    found = planned.merge(present, how="left", indicator=True)
    rows = []
    groups = found.groupby(keys, sort=False) if keys else [((), found)]
    for values, group in groups:
        is_present = group["_merge"] == "both"
        row: Settings = dict(zip(keys, values, strict=True))
        missing = group.loc[~is_present, "seed"]
        row["planned"] = len(group)
        row["present"] = int(is_present.sum())
        row["missing"] = sorted_labels(missing)
        rows.append(row)
    return pd.DataFrame(rows)


def _combination(row: dict, keys: list[str]) -> str:
    """`norm=none optimizer.lr=0.1`."""
    parts = [f"{key}={row[key]}" for key in keys]
    return " ".join(parts)


def missing_runs(
    params: Params,
    runs: pd.DataFrame,
) -> list[str]:
    """One sentence about planned runs that are not present or failed, or none.

    Args:
        params: the grid, see `planned_runs`.
        runs: from `load_runs`.
    """
    table = seed_counts(params, runs)
    num_missing = table["missing"].map(len)
    lacking = table[num_missing > 0]
    if lacking.empty:
        return []

    keys = table.columns.drop(COUNTS).tolist()
    texts = []
    for row in lacking.to_dict("records")[:MAX_LINES]:
        combination = _combination(row, keys)
        seeds = ",".join(row["missing"])
        text = f"{combination} seed={seeds}"
        texts.append(text.lstrip())
    num_more = len(lacking) - MAX_LINES
    if num_more > 0:
        texts.append(f"and {num_more} more combinations")
    count = int(num_missing.sum())
    planned = int(table["planned"].sum())
    shown = "; ".join(texts)
    return [f"{count} of {planned} planned runs are missing: {shown}."]


def missing_runs_with_command(
    command: str,
    params: Params,
    runs: pd.DataFrame,
) -> list[str]:
    """The sentence of `missing_runs` with the command that makes them, or none."""
    remedy = (
        f"`{command}` makes them and keeps those that are there "
        "(dataset.root=FOLDER if the data are stored in another folder)."
    )
    sentences = missing_runs(params, runs)
    return [f"{sentence} {remedy}" for sentence in sentences]


def study_command(
    name: str,
    config_dir: Path | None = None,
) -> str:
    """The command that runs a study.

    Args:
        name: of the study.
        config_dir: the folder of the user's own that has it; None for conf/.
    """
    words = program("train").split()
    if config_dir is not None:
        words += ["--config-dir", str(config_dir)]
    words += ["-m", f"study={name}"]
    return shlex.join(words)


def of_trials(runs: pd.DataFrame) -> pd.Series:
    """Which runs only tried a study, with `study.try=true`."""
    if TRIAL not in runs:
        return pd.Series(False, index=runs.index)
    return runs[TRIAL].map(setting_text) == "true"


def planned_seeds(params: Params) -> list[str]:
    """The seeds of a grid in their order, as text."""
    return list(dict.fromkeys(grid(params)["seed"]))


def num_complete_seeds(
    params: Params,
    runs: pd.DataFrame,
    by: str | list[str],
    arms: list[str],
) -> int:
    """For how many seeds, from the first planned one on, all planned runs were made.

    Runs that diverged or failed were made.

    Args:
        params: the grid, see `planned_runs`.
        runs: from `load_runs`.
        by: the setting that is compared.
        arms: its values that count; empty for all.
    """
    planned = grid(params)
    if arms and isinstance(by, str) and by in planned:
        planned = planned[planned[by].isin(arms)]
    present = grid_settings(params, runs).drop_duplicates()
    found = planned.merge(present, how="left", indicator=True)
    is_made = found["_merge"] == "both"
    missing = set(found.loc[~is_made, "seed"])
    count = 0
    for seed in planned_seeds(params):
        if seed in missing:
            break
        count += 1
    return count
