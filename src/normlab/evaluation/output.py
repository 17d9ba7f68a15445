"""The metrics of evaluations: as tables in a terminal, and as files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from normlab.evaluation.evaluate import Evaluation
from normlab.results import json_bytes, written_whole
from normlab.spreadsheets import without_formulas
from normlab.terminal import escaped, format_metric

SUFFIXES = (".json", ".csv")


def check_output(path: Path) -> None:
    """Refuse a file that could not be written at the end.

    Raises:
        ValueError: its name ends otherwise, or its folder does not exist.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"--out must end in {' or '.join(SUFFIXES)}, got {path}")
    if not path.absolute().parent.is_dir():
        raise ValueError(f"--out must lie in a folder that exists, got {path}")


def write_evaluations(
    path: Path, evaluations: Sequence[Evaluation], settings: Mapping[str, Any]
) -> None:
    """Write metrics with what they were computed by.

    Args:
        path: ends in .json or .csv. A JSON file has the metrics by name if there is one
            evaluation, and a list of evaluations if there are several.
        evaluations: at least one.
        settings: the same for all evaluations, such as the run. In a CSV file each has
            a column with the same value in every row.
    """
    if path.suffix == ".csv":
        table = without_formulas(evaluation_table(evaluations, settings))
        content = table.to_csv(index=False).encode()
    elif len(evaluations) == 1:
        content = json_bytes({**settings, **evaluations[0]._asdict()})
    else:
        entries = [evaluation._asdict() for evaluation in evaluations]
        content = json_bytes({**settings, "evaluations": entries})
    with written_whole(path, follow_links=True) as temporary:
        temporary.write_bytes(content)


def evaluation_table(
    evaluations: Sequence[Evaluation], settings: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """One row per metric, with the columns shift, statistics, part, metric and value.

    Args:
        evaluations: their metrics.
        settings: a column each, before the others.
    """
    rows = []
    for evaluation in evaluations:
        for name, value in evaluation.metrics.items():
            part, _, metric = name.partition("/")
            row = {
                **(settings or {}),
                "shift": evaluation.shift,
                "statistics": evaluation.statistics,
                "part": part,
                "metric": metric,
                "value": value,
            }
            rows.append(row)
    return pd.DataFrame(rows)


def print_evaluations(
    console: Console, evaluations: Sequence[Evaluation], title: str
) -> None:
    """Print a table per part, with one row per evaluation and one column per metric.

    Args:
        console: where they are printed.
        evaluations: at least one; all have the same metrics.
        title: printed above each table, before the name of the part.
    """
    names = dict.fromkeys(name.partition("/")[0] for name in evaluations[0].metrics)
    for part in names:
        console.print(f"[bold]{escaped(title)}, {part}[/bold]", soft_wrap=True)
        console.print(_part_table(evaluations, f"{part}/"))


def _part_table(evaluations: Sequence[Evaluation], prefix: str) -> Table:
    names = [name for name in evaluations[0].metrics if name.startswith(prefix)]
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("shift")
    table.add_column("statistics")
    for name in names:
        table.add_column(escaped(name.removeprefix(prefix)), justify="right")
    for shift, statistics, metrics in evaluations:
        values = [format_metric(metrics[name]) for name in names]
        table.add_row(shift, statistics, *values)
    return table
