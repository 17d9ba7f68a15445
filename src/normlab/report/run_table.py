"""The table of all runs at the end of the report, each with its details."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any
from urllib.parse import quote

import pandas as pd

from normlab.compare.columns import metric_columns, setting_columns
from normlab.compare.comparison import Comparison
from normlab.compare.sentences import number
from normlab.compare.settings import NO_SETTING, setting_text
from normlab.report.table_columns import Cell

# The name and the text of every fact about where a run was made.
Origin = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class RunRow:
    """One run: a row of the table that opens to show the details.

    Attributes:
        name: The name of the run.
        status: `finished`, `diverged` or `failed`.
        text: What the filter of the page searches.
        settings: Cells of the columns that the runs are told apart by.
        numbers: Cells of the columns with numbers.
        facts: The details by name: settings that vary, and metrics.
        origin: The letter of the run's origin.
        link: The run folder, relative to the folder of the page; empty for a run that
            has none.
    """

    name: str
    status: str
    text: str
    settings: list[Cell]
    numbers: list[Cell]
    facts: dict[str, str]
    origin: str
    link: str


@dataclass(frozen=True)
class RunTable:
    """All runs of a report.

    Attributes:
        settings: Headers of the columns that tell the runs apart.
        numbers: Headers of the columns with numbers.
        rows: One row per run.
        origins: The facts of every distinct origin, by its letter.
    """

    settings: list[str]
    numbers: list[str]
    rows: list[RunRow]
    origins: dict[str, dict[str, str]]


def make_run_table(runs: pd.DataFrame, main: Comparison, folder: Path) -> RunTable:
    """Tabulate all runs.

    Args:
        runs: The runs, as `load_runs` returns them.
        main: The comparison whose arms, groups and metric are columns.
        folder: The folder of the page, which links are relative to.
    """
    metrics = [name for name in metric_columns(runs) if runs[name].notna().any()]
    varied = []
    for key in setting_columns(runs):
        if runs[key].nunique(dropna=False) > 1:
            varied.append(key)
    settings = list(dict.fromkeys([*main.by, *main.within, "seed", "status"]))
    numbers = [_main_metric(runs, main, metrics)]
    if runs["seconds"].notna().any():
        numbers.append("seconds")

    records = runs.to_dict("records")
    names = _origin_names(map(_origin, records))
    rows = []
    for record in records:
        words = [record["run"]]
        for key in settings:
            words.append(f"{key}={setting_text(record[key])}")
        row = RunRow(
            name=record["run"],
            status=record["status"],
            text=" ".join(words),
            settings=[_setting_cell(record[key]) for key in settings],
            numbers=[(number(record[key]), record[key]) for key in numbers],
            facts=_facts(record, varied, metrics),
            origin=names[_origin(record)],
            link=_link(record["folder"], folder),
        )
        rows.append(row)
    by_name = {}
    for origin, name in names.items():
        by_name[name] = dict(origin)
    return RunTable(settings, numbers, rows, by_name)


def _link(run: str, folder: Path) -> str:
    """The folder of a run from the folder of the page; empty if there is none.

    Results of other programs have the place of a row instead.
    """
    if not os.path.isdir(run):
        return ""
    return quote(os.path.relpath(run, folder))


def _main_metric(runs: pd.DataFrame, main: Comparison, metrics: list[str]) -> str:
    """The compared metric; if it is none of single runs, the first of theirs."""
    if main.metric in runs:
        return main.metric
    return next(name for name in metrics if "/" in name)


def _setting_cell(value: Any) -> Cell:
    """A setting as text; numbers sort by value, other settings by their text."""
    text = setting_text(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return text, float(value)
    return text, text


def _facts(
    record: dict[Any, Any], varied: list[str], metrics: list[str]
) -> dict[str, str]:
    """The details of a run: why it did not finish, what varies, its metrics."""
    facts = {}
    if isinstance(record["reason"], str):
        facts["reason"] = record["reason"]
    for key in varied:
        text = setting_text(record[key])
        if text != NO_SETTING:
            facts[key] = text
    for name in metrics:
        if not pd.isna(record[name]):
            facts[name] = number(record[name])
    return facts


def _origin(record: dict[Any, Any]) -> Origin:
    """What is known of where a run was made, apart from its command."""
    facts = []
    for column, value in record.items():
        if not column.startswith("environment.") or column == "environment.command":
            continue
        text = setting_text(value)
        if text != NO_SETTING:
            facts.append((column.removeprefix("environment."), text))
    return tuple(facts)


def _origin_names(origins: Iterable[Origin]) -> dict[Origin, str]:
    """A letter for every distinct origin, and a number after the 26th."""
    names = {}
    for place, origin in enumerate(dict.fromkeys(origins)):
        names[origin] = str(place)
        if place < len(ascii_uppercase):
            names[origin] = ascii_uppercase[place]
    return names
