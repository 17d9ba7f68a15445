"""Read what a report is about: runs of ours, or results of another program."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pandas as pd

from normlab.compare.arm_checks import UNKNOWN, Check
from normlab.compare.comparison import Comparison
from normlab.compare.other_results import load_results
from normlab.compare.result_sources import is_other_source
from normlab.compare.result_values import check_direction
from normlab.compare.runs import load_runs
from normlab.metrics import declare_metrics
from normlab.report.tables import Table

DEFAULT_METRIC = "test/accuracy"
# Arguments of `compare` that name columns.
NAMES = ("by", "within", "metric", "select")
NOT_RECORDED = (
    "These results do not say whether the arms started from the same weights and saw "
    "the same batches; the settings are all that could be checked."
)


@dataclass(frozen=True)
class Reading:
    """How results of another program are read; see `load_results`.

    Attributes:
        seed: The column that pairs runs; None finds it by its name.
        fold: The column with the fold of a cross-validation.
        status: The column that says how a run ended.
        value: Of a metric with several values per run, the `last` or the `best`.
        ignore: Columns that are left out.
        layout: What the folders of TensorBoard runs say.
        better: `higher` or `lower`; None if the name of the metric must say.
        heatmap: Settings that a figure names.
    """

    seed: str | None = None
    fold: str | None = None
    status: str | None = None
    value: str | None = None
    ignore: Sequence[str] | None = None
    layout: str | None = None
    better: str | None = None
    heatmap: Sequence[str] = ()

    def given(self) -> list[str]:
        """The options that only results of another program have."""
        names = []
        for field in fields(self):
            is_ours = field.name in ("better", "heatmap")
            if not is_ours and getattr(self, field.name) is not None:
                names.append(field.name)
        return names


def read_runs(
    paths: Sequence[Path],
    arguments: dict[str, Any],
    reading: Reading,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The runs, and the arguments of `compare` in the names that the runs have.

    Args:
        paths: Files and folders.
        arguments: Arguments of `compare` by name.
        reading: How results of another program are read.

    Raises:
        ValueError: There is nothing to read, or it does not fit the arguments.
    """
    others = [path for path in paths if is_other_source(path)]
    if not others:
        _refuse_options(paths, reading)
        runs = load_runs(*paths)
        check_direction(reading.better)
        if reading.better is not None:
            metric = arguments.get("metric", DEFAULT_METRIC)
            declare_metrics({metric: reading.better == "higher"})
        return runs, arguments
    if len(others) < len(paths):
        ours = next(path for path in paths if path not in others)
        raise ValueError(
            "compare either runs of normlab or results of other programs, not both; "
            f"{ours} holds no results of another program, {others[0]} does"
        )
    runs = _load_others(others, arguments, reading)
    return runs, _renamed(arguments, runs.attrs["names"])


def _refuse_options(paths: Sequence[Path], reading: Reading) -> None:
    given = reading.given()
    files = [path for path in paths if path.is_file()]
    if given and not files:
        names = ", ".join(f"`{name}`" for name in given)
        raise ValueError(
            f"leave out {names}, which is for results of other programs; runs of "
            "normlab record it"
        )


def _load_others(
    paths: Sequence[Path],
    arguments: dict[str, Any],
    reading: Reading,
) -> pd.DataFrame:
    for name, example in (("by", "optimizer"), ("metric", "acc")):
        if name not in arguments:
            raise ValueError(
                f"{name} must name a column of {paths[0]}, such as --{name} {example}"
            )
    settings = [*arguments.get("within", ()), *reading.heatmap]
    if "select" in arguments:
        settings.append(arguments["select"])
    return load_results(
        *paths,
        by=arguments["by"],
        metric=arguments["metric"],
        seed=reading.seed,
        fold=reading.fold,
        status=reading.status,
        better=reading.better,
        value=reading.value or "last",
        settings=settings,
        ignore=reading.ignore or (),
        layout=reading.layout,
    )


def _renamed(arguments: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """Arguments of `compare` in the names of the table of runs."""
    renamed = dict(arguments)
    for key in NAMES:
        value = arguments.get(key)
        if isinstance(value, str):
            renamed[key] = in_table(value, names)
        elif value is not None:
            renamed[key] = [in_table(name, names) for name in value]
    return renamed


def in_table(name: str, names: dict[str, str]) -> str:
    """The name of a column in the table of runs.

    Args:
        name: As its file has it.
        names: New names; a column may be renamed twice.
    """
    new = names.get(name, name)
    return names.get(new, new)


def is_other(runs: pd.DataFrame) -> bool:
    """Whether runs were read from results of another program."""
    return "columns" in runs.attrs


def columns_table(runs: pd.DataFrame, paths: Iterable[Path]) -> Table | None:
    """What the columns were taken for; None for runs of ours.

    Args:
        runs: As they were read.
        paths: From where.
    """
    if not is_other(runs):
        return None
    sources = ", ".join(path.name or str(path) for path in paths)
    title = f"Columns of {sources} ({runs.attrs['kind']}, {len(runs)} runs)"
    rows = []
    for row in runs.attrs["columns"]:
        rows.append([(text, text) for text in row])
    return Table(
        name="columns",
        title=title,
        columns=["column", "taken as", "values"],
        rows=rows,
        numeric=[False, False, False],
    )


def without_unknown_checks(comparison: Comparison) -> Comparison:
    """The comparison without checks of what only runs of ours record."""
    checks: list[Check] = []
    for check in comparison.checks:
        if check.result != UNKNOWN:
            checks.append(check)
    warnings = [*comparison.warnings, NOT_RECORDED]
    return replace(comparison, checks=checks, warnings=warnings)
