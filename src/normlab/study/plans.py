"""The runs that a study planned against those that exist.

Some may be missing, some may lie outside of the plan, and some may have been made with
other settings than planned.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

import pandas as pd
import yaml

from normlab.compare.columns import UNCOMPARED
from normlab.compare.runs import flat_settings
from normlab.compare.settings import NO_SETTING, setting_text, sorted_labels
from normlab.config.identity import configuration_directory

Params = dict[str, Any]  # a grid: by key the values of an axis, as on a command line
Settings = dict[str, Any]  # by dotted key

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

    override = OverridesParser.create().parse_override(f"{key}={values}")
    if override.is_sweep_override():
        return list(override.sweep_string_iterator())
    return [str(values)]


def grid(params: Params) -> pd.DataFrame:
    """One row per planned run: its settings as `setting_text` shows them."""
    return pd.DataFrame(planned_runs(params)).map(override_text)


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


def _grid_settings(params: Params, runs: pd.DataFrame) -> pd.DataFrame:
    """One row per run: its values of the grid's settings, as text."""
    table = pd.DataFrame(index=runs.index)
    for key in params:
        table[key] = NO_SETTING
        if key in runs:
            table[key] = runs[key].map(setting_text)
    return table


def unplanned_runs(params: Params, runs: pd.DataFrame) -> tuple[pd.Series, str]:
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
        strange = ~present[key].isin(planned[key])
        if not strange.any():
            continue
        outside |= strange
        values = sorted_labels(present.loc[strange, key])
        shown = values[:MAX_VALUES]
        if len(values) > MAX_VALUES:
            shown.append(f"… ({len(values)} values)")
        shown_values = ",".join(shown)
        count = int(strange.sum())
        texts.append(f"{key}={shown_values} in {count}")
    return outside, "; ".join(texts)


def seed_counts(params: Params, runs: pd.DataFrame) -> pd.DataFrame:
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
    present = _grid_settings(params, runs[runs["status"] != "failed"])
    found = planned.merge(present.drop_duplicates(), how="left", indicator=True)
    rows = []
    for values, group in found.groupby(keys, sort=False):
        is_present = group["_merge"] == "both"
        row: Settings = dict(zip(keys, values, strict=True))
        row["planned"] = len(group)
        row["present"] = int(is_present.sum())
        missing = group.loc[~is_present, "seed"]
        row["missing"] = sorted_labels(missing)
        rows.append(row)
    return pd.DataFrame(rows)


def _combination(row: dict, keys: list[str]) -> str:
    """`norm=none optimizer.lr=0.1`."""
    parts = [f"{key}={row[key]}" for key in keys]
    return " ".join(parts)


def missing_runs(params: Params, runs: pd.DataFrame) -> list[str]:
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
        texts.append(f"{combination} seed={seeds}".lstrip())
    if len(lacking) > MAX_LINES:
        texts.append(f"and {len(lacking) - MAX_LINES} more combinations")
    count = int(num_missing.sum())
    planned = int(table["planned"].sum())
    shown = "; ".join(texts)
    return [f"{count} of {planned} planned runs are missing: {shown}."]


def missing_runs_with_command(
    name: str,
    params: Params,
    runs: pd.DataFrame,
) -> list[str]:
    """The sentence of `missing_runs` with the command that makes them, or none."""
    remedy = (
        f"`{study_command(name)}` makes them and keeps those that are there "
        "(dataset.root=FOLDER if the data are stored in another folder)."
    )
    return [f"{sentence} {remedy}" for sentence in missing_runs(params, runs)]


def study_command(name: str) -> str:
    """The command that runs a study."""
    return f"python train.py -m study={name}"


def fewest_seeds(
    params: Params,
    runs: pd.DataFrame,
    by: str,
    arms: list[str],
) -> tuple[str, int]:
    """The planned combination with the fewest seeds, and how many it has.

    Args:
        params: the grid, see `planned_runs`.
        runs: from `load_runs`.
        by: the setting that is compared.
        arms: its values that count.
    """
    table = seed_counts(params, runs)
    keys = table.columns.drop(COUNTS).tolist()
    if by in keys:
        table = table[table[by].isin(arms)]
    rows = table.to_dict("records")
    fewest = min(rows, key=lambda row: row["present"])
    return _combination(fewest, keys), fewest["present"]


def planned_settings(name: str, params: Params) -> list[Settings]:
    """Settings by dotted key that every run of a study must have.

    Args:
        name: of the study.
        params: its grid, see `planned_runs`.

    Returns:
        One table for every combination of the grid's groups, such as norms. The other
        keys of the grid and settings that are only known in a run are left out.
    """
    folder = configuration_directory()
    groups = [key for key in params if (folder / key).is_dir()]
    combinations = set()
    for run in planned_runs(params):
        combination = [(key, run[key]) for key in groups]
        combinations.add(tuple(combination))

    skipped = {*UNCOMPARED, "choices", *params}
    tables = []
    for picked in sorted(combinations):
        options = dict(picked)
        settings = composed_settings(f"study={name}", options)
        table = {}
        for key, value in settings.items():
            group = key.partition(".")[0]
            if key not in skipped and group not in skipped:
                table[key] = value
        tables.append(table | options)
    return tables


def composed_settings(plan: str, options: dict[str, str]) -> Settings:
    """Settings by dotted key of a study or an experiment.

    Settings that are only known in a run (interpolations) are left out.

    Args:
        plan: as on the command line, `study=NAME` or `experiment=NAME`.
        options: the picked option of each group, by group.
    """
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    overrides = [plan]
    for key, value in options.items():
        overrides.append(f"{key}={value}")
    with initialize_config_dir(str(configuration_directory()), version_base="1.3"):
        config = compose("config", overrides=overrides)
        tree = OmegaConf.to_container(config, resolve=False)
    assert isinstance(tree, dict)

    settings = {}
    for key, value in flat_settings(tree).items():
        name = key.rpartition(".")[2]
        is_interpolation = isinstance(value, str) and "${" in value
        if name not in MACHINE_SETTINGS and not is_interpolation:
            settings[key] = value
    return settings


def deviations(
    settings: list[Settings],
    params: Params,
    runs: pd.DataFrame,
) -> str:
    """Settings of the runs that differ from the plan, in words; empty without any.

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
            part = part[values == setting_text(planned[key])]
        for key in part.columns:
            if key in planned and key not in groups:
                _count_deviations(part[key], planned[key], counts)

    texts = []
    sorted_counts = sorted(counts.items())
    for text, count in sorted_counts[:MAX_LINES]:
        texts.append(f"{text} in {count} of {len(runs)}")
    return ", ".join(texts)


def _count_deviations(column: pd.Series, planned: Any, counts: dict[str, int]) -> None:
    """Add to `counts` how many runs have each other value than the planned one."""
    expected = setting_text(planned)
    values = column.map(setting_text)
    others = values[values != expected]
    for value, count in others.value_counts().items():
        text = f"{column.name} is {value} instead of {expected}"
        counts[text] = counts.get(text, 0) + int(count)
