"""The runs that a study planned against those that exist.

Some may be missing, some may lie outside of the plan, and some may have been made with
other settings than planned.
"""

import shlex
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from normlab.compare.columns import CHOICES, UNCOMPARED, setting_columns
from normlab.compare.runs import flat_settings, settings_added_later
from normlab.compare.settings import NO_SETTING, setting_text, sorted_labels
from normlab.config.composition import compose_config, plain_config
from normlab.config.identity import configuration_directory
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


def _grid_settings(
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
    present = _grid_settings(params, runs)
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
    present = _grid_settings(params, with_result).drop_duplicates()
    found = planned.merge(present, how="left", indicator=True)
    rows = []
    for values, group in found.groupby(keys, sort=False):
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
    present = _grid_settings(params, runs).drop_duplicates()
    found = planned.merge(present, how="left", indicator=True)
    is_made = found["_merge"] == "both"
    missing = set(found.loc[~is_made, "seed"])
    count = 0
    for seed in planned_seeds(params):
        if seed in missing:
            break
        count += 1
    return count


def planned_settings(
    name: str,
    params: Params,
    config_dir: Path | None = None,
) -> list[Settings]:
    """Settings by dotted key that every run of a study must have.

    Args:
        name: of the study.
        params: its grid, see `planned_runs`.
        config_dir: a folder of the user's own with the layout of conf/.

    Returns:
        One table for every combination of the grid's groups, such as norms. The other
        keys of the grid are left out.
    """
    folders = [configuration_directory()]
    if config_dir is not None:
        folders.append(config_dir)
    groups = []
    for key in params:
        if any((folder / key).is_dir() for folder in folders):
            groups.append(key)
    combinations = set()
    for run in planned_runs(params):
        combination = [(key, run[key]) for key in groups]
        combinations.add(tuple(combination))

    skipped = {*UNCOMPARED, "choices"}
    tables = []
    for picked in sorted(combinations):
        options = dict(picked)
        settings = composed_settings(f"study={name}", options, config_dir)
        table = {}
        for key, value in settings.items():
            group = key.partition(".")[0]
            if key not in params and group not in skipped:
                table[key] = value
        tables.append(table | options)
    return tables


def composed_settings(
    plan: str,
    options: dict[str, str],
    config_dir: Path | None = None,
) -> Settings:
    """Settings by dotted key of a study or an experiment.

    The value of a setting that is only known in a run is an interpolation, see
    `is_interpolation`. Options that came later than some runs are there, too, with the
    values that describe what those runs did.

    Args:
        plan: as on the command line, `study=NAME` or `experiment=NAME`.
        options: the picked option of each group, by group.
        config_dir: a folder of the user's own with the layout of conf/.
    """
    overrides = [plan]
    for key, value in options.items():
        overrides.append(f"{key}={value}")
    config = compose_config(overrides, config_dir)
    added = settings_added_later(config.hydra.runtime.choices)
    tree = plain_config(config, resolve=False)
    settings = {}
    for key, value in (added | flat_settings(tree)).items():
        name = key.rpartition(".")[2]
        if name not in MACHINE_SETTINGS:
            settings[key] = value
    return settings


def is_interpolation(value: Any) -> bool:
    """Whether a value refers to other settings, as `${trainer.max_epochs}` does."""
    return isinstance(value, str) and "${" in value


def deviations(
    settings: list[Settings],
    params: Params,
    runs: pd.DataFrame,
) -> str:
    """Settings of the runs that differ from the plan, in words; empty without any.

    A setting that the plan lacks differs if a run has a value for it.

    Args:
        settings: from `planned_settings`.
        params: the grid, see `planned_runs`.
        runs: the planned runs that are present.
    """
    groups = [key for key in params if key in settings[0]]
    counts: dict[str, int] = {}
    for planned in settings:
        part = runs
        for key in groups:
            values = part[key].map(setting_text)
            expected = setting_text(planned[key])
            part = part[values == expected]
        open_keys = _open_keys(planned, params, groups)
        for key in setting_columns(part):
            if not _is_open(key, open_keys):
                _count_deviations(part[key], planned.get(key), counts)

    texts = []
    sorted_counts = sorted(counts.items())
    num_runs = len(runs)
    for text, count in sorted_counts[:MAX_LINES]:
        texts.append(f"{text} in {count} of {num_runs}")
    num_more = len(sorted_counts) - MAX_LINES
    if num_more > 0:
        texts.append(f"and {num_more} more")
    return ", ".join(texts)


def _open_keys(
    planned: Settings,
    params: Params,
    groups: list[str],
) -> list[str]:
    """Keys whose values, and those of the keys below them, the plan leaves open."""
    swept = [key for key in params if key not in groups]
    referring = [key for key, value in planned.items() if is_interpolation(value)]
    return swept + referring


def _is_open(key: str, open_keys: list[str]) -> bool:
    """Whether a plan leaves the value of a setting open.

    The name of an option, such as `norm`, is no setting; what the option sets is.
    """
    name = key.rpartition(".")[2]
    if key in CHOICES or name in MACHINE_SETTINGS:
        return True
    return any(f"{key}.".startswith(f"{open_key}.") for open_key in open_keys)


def _count_deviations(
    column: pd.Series,
    planned: Any,
    counts: dict[str, int],
) -> None:
    """Add to `counts` how many runs have each other value than the planned one."""
    expected = setting_text(planned)
    values = column.map(setting_text)
    others = values[values != expected]
    for value, count in others.value_counts().items():
        text = f"{column.name} is {value} instead of {expected}"
        counted = counts.get(text, 0)
        counts[text] = counted + int(count)
