"""The settings that a study planned against those that its runs were made with."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from normlab.compare.columns import CHOICES, UNCOMPARED, setting_columns
from normlab.compare.runs import flat_settings, settings_added_later
from normlab.compare.settings import NO_SETTING, setting_text
from normlab.config.composition import compose_config, plain_config
from normlab.config.identity import configuration_directory
from normlab.study.plans import (
    MACHINE_SETTINGS,
    MAX_LINES,
    Params,
    Settings,
    grid_settings,
    override_text,
    planned_runs,
)

# Blocks of a configuration that are no settings of what a run computes.
NO_SETTINGS = (*UNCOMPARED, "choices")
RESOLVER = re.compile(r"\$\{[^{}]*:")  # `${oc.env:NAME}` depends on the machine
EMPTY = "{}"  # the text of a mapping without keys


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

    swept = [key for key in params if key not in groups]
    tables = []
    for picked in sorted(combinations):
        options = dict(picked)
        settings = composed_settings(f"study={name}", options, swept, config_dir)
        table = {}
        for key, value in settings.items():
            group = key.partition(".")[0]
            if key not in params and group not in NO_SETTINGS:
                table[key] = value
        tables.append(table | options)
    return tables


def composed_settings(
    plan: str,
    options: dict[str, str],
    swept: Iterable[str] = (),
    config_dir: Path | None = None,
) -> Settings:
    """Settings by dotted key of a study or an experiment.

    The value of a setting that refers to one that is only known in a run is an
    interpolation, see `is_interpolation`. Options that came later than some runs are
    there, too, with the values that describe what those runs did.

    Args:
        plan: as on the command line, `study=NAME` or `experiment=NAME`.
        options: the picked option of each group, by group.
        swept: keys that have several values in the plan.
        config_dir: a folder of the user's own with the layout of conf/.
    """
    overrides = [plan]
    for key, value in options.items():
        overrides.append(f"{key}={value}")
    config = compose_config(overrides, config_dir)
    added = settings_added_later(config.hydra.runtime.choices)
    flat = added | flat_settings(plain_config(config, resolve=False))
    _leave_open(config, [*_unknown_keys(flat), *swept, *NO_SETTINGS])
    settings: Settings = {}
    for key, value in flat.items():
        if key.rpartition(".")[2] in MACHINE_SETTINGS:
            continue
        if is_interpolation(value):
            resolved = _resolved(config, key, value)
            settings |= flat_settings({key: resolved})
        else:
            settings[key] = value
    return settings


def is_interpolation(value: Any) -> bool:
    """Whether a value refers to other settings, as `${trainer.max_epochs}` does."""
    return isinstance(value, str) and "${" in value


def _unknown_keys(settings: Settings) -> list[str]:
    """Keys whose values depend on the machine or the command of a run."""
    found = []
    for key, value in settings.items():
        name = key.rpartition(".")[2]
        needs_resolver = isinstance(value, str) and RESOLVER.search(value)
        if name in MACHINE_SETTINGS or needs_resolver:
            found.append(key)
    return found


def _leave_open(config: DictConfig, keys: Sequence[str]) -> None:
    """Remove the values of keys, so that nothing that refers to them has a value."""
    for key in keys:
        OmegaConf.update(config, key, "???", force_add=True)


def _resolved(config: DictConfig, key: str, interpolation: str) -> Any:
    """What an interpolation stands for; itself if a value that it needs is open."""
    try:
        value = OmegaConf.select(config, key, default=interpolation)
        if not OmegaConf.is_config(value):
            return value
        return OmegaConf.to_container(value, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException:
        return interpolation


def deviations(
    settings: list[Settings],
    params: Params,
    runs: pd.DataFrame,
) -> str:
    """Settings of the runs that differ from the plan, in words; empty without any.

    A setting that the plan lacks differs if a run has a value for it, and one that a
    run lacks if the plan has a value for it.

    Args:
        settings: from `planned_settings`.
        params: the grid, see `planned_runs`.
        runs: the planned runs that are present.
    """
    groups = [key for key in params if key in settings[0]]
    counts: dict[str, int] = {}
    present = grid_settings(params, runs)
    for planned in settings:
        has_options = pd.Series(True, index=runs.index)
        for key in groups:
            has_options &= present[key] == override_text(planned[key])
        part = runs[has_options]
        open_keys = _open_keys(planned, params, groups)
        absent = [key for key in planned if key not in part]
        keys = [*setting_columns(part), *absent]
        table = part.reindex(columns=keys)
        for key in keys:
            if key not in groups and not _is_open(key, open_keys):
                _count_deviations(table[key], planned.get(key), counts)

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
    expected = _text(planned)
    values = column.map(_text)
    others = values[values != expected]
    for value, count in others.value_counts().items():
        text = f"{column.name} is {value} instead of {expected}"
        counted = counts.get(text, 0)
        counts[text] = counted + int(count)


def _text(value: Any) -> str:
    """A setting as it is shown; a mapping without keys is none."""
    text = setting_text(value)
    return NO_SETTING if text == EMPTY else text
