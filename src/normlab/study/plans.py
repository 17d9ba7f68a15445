"""The runs that a study planned, against those that are there: missing ones, unplanned ones, ones made otherwise."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import pandas as pd
import yaml

from normlab.compare.runs import UNCOMPARED, flat_settings
from normlab.compare.settings import setting_text, sorted_labels
from normlab.config.identity import configuration_directory

MOST_LINES = 4
MOST_VALUES = 5
ELSEWHERE = (
    "root",
    "cache",
    "threads",
)  # where data lie and what computes is no part of a plan


def planned_runs(params: dict[str, Any]) -> Iterator[dict[str, str]]:
    """Every combination of a sweeper's grid, values as text."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parser = OverridesParser.create()
    axes = []
    for key, values in params.items():
        override = parser.parse_override(f"{key}={values}")
        texts = (
            list(override.sweep_string_iterator())
            if override.is_sweep_override()
            else [str(values)]
        )
        axes.append([(key, text) for text in texts])
    for combination in product(*axes):
        yield dict(combination)


def grid(params: dict[str, Any]) -> pd.DataFrame:
    """A row for every planned run: the settings of the grid as labels."""
    return pd.DataFrame(planned_runs(params)).map(override_text)


def override_text(text: str) -> str:
    """The label of a value as it is written on a command line."""
    value = yaml.safe_load(text)
    try:
        return (
            setting_text(float(value))
            if isinstance(value, str)
            else setting_text(value)
        )  # 1e-05 is a text in YAML 1.1
    except ValueError:
        return value


def _on_axes(params: dict[str, Any], runs: pd.DataFrame) -> pd.DataFrame:
    """The runs' values of the grid's settings, as labels."""
    return pd.DataFrame(
        {key: runs[key].map(setting_text) if key in runs else "–" for key in params},
        index=runs.index,
    )


def unplanned_runs(params: dict[str, Any], runs: pd.DataFrame) -> tuple[pd.Series, str]:
    """True for runs that lie outside of the grid, and in words what they have that was not planned."""
    planned, there = grid(params), _on_axes(params, runs)
    strange = pd.DataFrame(
        {key: ~there[key].isin(planned[key]) for key in params}, index=runs.index
    )
    told = []
    for key in strange.columns[strange.any()]:
        values = sorted_labels(list(there.loc[strange[key], key]))
        more = [f"… ({len(values)} values)"] if len(values) > MOST_VALUES else []
        told.append(
            f"{key}={','.join([*values[:MOST_VALUES], *more])} in {int(strange[key].sum())}"
        )
    return strange.any(axis=1), "; ".join(told)


def seed_counts(params: dict[str, Any], runs: pd.DataFrame) -> pd.DataFrame:
    """A row for every planned combination but the seed: its settings as labels, and the seeds planned and there.

    Failed runs are not there: they say nothing, and `retry=failed` makes them again.
    """
    planned = grid(params)
    keys = [key for key in planned.columns if key != "seed"]
    there = _on_axes(params, runs[runs["status"] != "failed"])
    found = planned.merge(there.drop_duplicates(), how="left", indicator=True)
    rows = []
    for values, group in found.groupby(keys, sort=False):
        has = group["_merge"] == "both"
        rows.append(
            dict(zip(keys, values, strict=True))
            | {"planned": len(group), "there": int(has.sum())}
        )
        rows[-1]["missing"] = sorted_labels(list(group.loc[~has, "seed"]))
    return pd.DataFrame(rows)


def missing_runs_with_command(
    name: str, params: dict[str, Any], runs: pd.DataFrame
) -> list[str]:
    """Which planned runs are not there, and the command that makes them: one line, or none."""
    remedy = f"`{study_command(name)}` makes them and keeps those that are there (dataset.root=FOLDER if the data lie elsewhere)."
    return [f"{told} {remedy}" for told in missing_runs(params, runs)]


def missing_runs(params: dict[str, Any], runs: pd.DataFrame) -> list[str]:
    """Which planned runs are not there or failed: one sentence, or none."""
    table = seed_counts(params, runs)
    lacking = table[table["missing"].map(len) > 0]
    count = int(lacking["missing"].map(len).sum())
    if not count:
        return []
    keys = [key for key in table.columns if key not in ("planned", "there", "missing")]
    told = [
        " ".join(
            [*(f"{key}={row[key]}" for key in keys), f"seed={','.join(row['missing'])}"]
        )
        for row in lacking.to_dict("records")[:MOST_LINES]
    ]
    more = (
        f"; and {len(lacking) - MOST_LINES} more combinations"
        if len(lacking) > MOST_LINES
        else ""
    )
    return [
        f"{count} of {int(table['planned'].sum())} planned runs are missing: {'; '.join(told)}{more}."
    ]


def study_command(name: str) -> str:
    """The line that runs a study."""
    return f"python train.py -m study={name}"


def fewest_seeds(
    params: dict[str, Any], runs: pd.DataFrame, by: str, arms: list[str]
) -> tuple[str, int]:
    """The planned combination of these arms that has the fewest seeds, and how many."""
    table = seed_counts(params, runs)
    keys = [key for key in table.columns if key not in ("planned", "there", "missing")]
    if by in keys:
        table = table[table[by].isin(arms)]
    row = table.loc[table["there"].idxmin()].to_dict()
    return " ".join(f"{key}={row[key]}" for key in keys), row["there"]


def planned_settings(name: str, params: dict[str, Any]) -> list[dict[str, Any]]:
    """Settings by dotted key as the study's file gives them, one table for every combination of groups.

    The grid's other keys are left out; so are settings that are only known in a run.
    """
    groups = [key for key in params if (configuration_directory() / key).is_dir()]
    picked = {tuple((key, run[key]) for key in groups) for run in planned_runs(params)}
    skipped = {*UNCOMPARED, "choices", *params}
    tables = []
    for combination in sorted(picked):
        settings = composed_settings(f"study={name}", dict(combination))
        known = {
            key: value
            for key, value in settings.items()
            if not {key, key.partition(".")[0]} & skipped
        }
        tables.append(known | dict(combination))
    return tables


def composed_settings(plan: str, picked: dict[str, str]) -> dict[str, Any]:
    """By dotted key what a study or an experiment sets with these options, without what is only known in a run.

    Args:
        plan: as on the command line, `study=NAME` or `experiment=NAME`.
        picked: options of groups, by group.
    """
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    words = [plan, *(f"{key}={value}" for key, value in picked.items())]
    with initialize_config_dir(str(configuration_directory()), version_base="1.3"):
        settings = flat_settings(
            OmegaConf.to_container(compose("config", overrides=words), resolve=False)
        )
    return {
        key: value
        for key, value in settings.items()
        if key.rpartition(".")[2] not in ELSEWHERE
        and not (isinstance(value, str) and "${" in value)
    }


def deviations(
    settings: list[dict[str, Any]], params: dict[str, Any], runs: pd.DataFrame
) -> str:
    """What the runs set otherwise than the plan, in words; empty where they follow it."""
    groups = [key for key in params if key in settings[0]]
    found: dict[str, int] = {}
    for table in settings:
        part = runs
        for key in groups:
            part = part[part[key].map(setting_text) == setting_text(table[key])]
        for key in table.keys() & set(part.columns) - set(groups):
            others = part.loc[
                part[key].map(setting_text) != setting_text(table[key]), key
            ].map(setting_text)
            for value, count in others.value_counts().items():
                text = f"{key} is {value} instead of {setting_text(table[key])}"
                found[text] = found.get(text, 0) + int(count)
    return ", ".join(
        f"{text} in {count} of {len(runs)}"
        for text, count in sorted(found.items())[:MOST_LINES]
    )
