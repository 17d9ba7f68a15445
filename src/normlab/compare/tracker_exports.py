"""Exports of experiment trackers: tables of W&B and MLflow, and MLflow's files.

Neither program needs to be installed.
"""

import ast
import json
import math
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from normlab.compare.result_tables import LeftOut, Results, check_size, table_of_rows
from normlab.compare.result_values import Choice, Point
from normlab.compare.runs import flat_settings
from normlab.files import read_text, read_yaml

WANDB_HEADER = ("Name", "State")
# Columns that every export of W&B has, and that change no result.
WANDB_DESCRIPTIONS = (
    *("Name", "ID", "Notes", "User", "Tags", "Created", "Sweep", "Group", "Job Type"),
    *("Hostname", "GPU Type", "GPU Count", "CPU Count", "OS", "Python version"),
    *("Updated", "End Time", "Relative Time", "Github", "Git", "Command", "name"),
)
WANDB_MEASUREMENTS = ("Runtime", "_runtime", "_timestamp", "_step")
# Columns in which W&B's own example stores dictionaries.
WANDB_DICTIONARIES = ("summary", "config")
MLFLOW_HEADER = ("run_id", "status")
MLFLOW_DESCRIPTIONS = (
    *("run_id", "experiment_id", "artifact_uri", "start_time", "end_time"),
    *("Run ID", "Name", "Start Time", "Source Type", "Source Name", "User"),
)
MLFLOW_PREFIXES = ("params.", "metrics.")
# `RunStatus` of MLflow's files, in words that its tables have.
MLFLOW_STATUSES = ("", "RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED")
DEEPEST = 4  # folders between a named folder and the experiments of MLflow
BARE_NUMBER = re.compile(r"(?<![\w'\"])(-?)(nan|inf)(?![\w'\"])")


def as_export(results: Results) -> Results:
    """What a table is if it was exported by a tracker; the table itself if not.

    Args:
        results: a table as its file has it.

    Raises:
        ValueError: a cell should hold a dictionary and does not.
    """
    names = set(results.table.columns)
    if names.issuperset(WANDB_DICTIONARIES) and _are_dictionaries(results.table):
        return _with_dictionaries(results)
    if names.issuperset(WANDB_HEADER):
        return replace(
            results,
            kind="W&B export",
            descriptions=frozenset(WANDB_DESCRIPTIONS),
            measurements=frozenset(WANDB_MEASUREMENTS),
        )
    is_mlflow = any(name.startswith(MLFLOW_PREFIXES) for name in names)
    if names.issuperset(MLFLOW_HEADER) and is_mlflow:
        return _mlflow_table(results)
    if {"Run ID", "Status", "Source Name"} <= names:
        descriptions = frozenset(MLFLOW_DESCRIPTIONS)
        return replace(results, kind="MLflow export", descriptions=descriptions)
    return results


def _are_dictionaries(table: pd.DataFrame) -> bool:
    for name in WANDB_DICTIONARIES:
        for cell in table[name].dropna():
            if not str(cell).startswith("{"):
                return False
    return True


def _with_dictionaries(results: Results) -> Results:
    """A table whose dictionaries of settings and metrics became columns."""
    records = []
    measured: set[str] = set()
    for place, row in results.table.iterrows():
        record = dict(row.drop(list(WANDB_DICTIONARIES)))
        config = _dictionary(row["config"], f"config in {place}")
        summary = _dictionary(row["summary"], f"summary in {place}")
        record |= flat_settings(config)
        for name, value in flat_settings(summary).items():
            if name in config:  # W&B keeps a setting and a metric of one name apart
                name = f"summary.{name}"
            record[name] = value
            if isinstance(value, int | float):
                measured.add(name)
        records.append(record)
    table = pd.DataFrame(records, index=results.table.index, dtype=object)
    is_written = table.notna() | table.map(_is_nan)
    table = table.where(is_written, None)
    return replace(
        results,
        kind="W&B export",
        table=table,
        descriptions=frozenset(WANDB_DESCRIPTIONS),
        measurements=frozenset({*WANDB_MEASUREMENTS, *measured}),
    )


def _dictionary(cell: Any, where: str) -> dict[str, Any]:
    """A dictionary as JSON or as Python prints it; literals only, nothing is called.

    Raises:
        ValueError: it is neither.
    """
    if cell is None:
        return {}
    text = str(cell)
    try:
        return dict(json.loads(text))
    except (ValueError, RecursionError):
        pass
    try:
        found = ast.literal_eval(BARE_NUMBER.sub(r"'\1\2'", text))
    # TypeError: a key such as [1].
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(
            f"{where} must be a dictionary of plain values, got {text[:40]}"
        ) from error
    if not isinstance(found, dict):
        raise ValueError(f"{where} must be a dictionary, got {text[:40]}")
    return {str(key): _number_of(value) for key, value in found.items()}


def _number_of(value: Any) -> Any:
    if value in ("nan", "inf", "-inf"):
        return float(value)
    return value


def _is_nan(cell: Any) -> bool:
    return isinstance(cell, float) and math.isnan(cell)


def _mlflow_table(results: Results) -> Results:
    """The table of `mlflow.search_runs`, without prefixes where names stay distinct."""
    table = results.table
    names = [str(name) for name in table.columns]
    short = []
    for name in names:
        if name.startswith(MLFLOW_PREFIXES):
            short.append(name.partition(".")[2])
    renamed = {}
    measurements = []
    descriptions = [*MLFLOW_DESCRIPTIONS]
    for name in names:
        new = name.partition(".")[2]
        if name.startswith("tags."):
            descriptions.append(name)
        if not name.startswith(MLFLOW_PREFIXES):
            continue
        if short.count(new) == 1 and new not in names:
            renamed[name] = new
        if name.startswith("metrics."):
            measurements.append(renamed.get(name, name))
    return replace(
        results,
        kind="MLflow export",
        table=table.rename(columns=renamed),
        descriptions=frozenset(descriptions),
        measurements=frozenset(measurements),
        renamed=renamed,
    )


def find_mlflow_store(folder: Path) -> Path | None:
    """The folder of MLflow's experiments at or below a folder; None if there is none.

    Args:
        folder: such as `mlruns`, or the project that holds it.
    """
    for name, subfolders, _ in os.walk(folder):
        path = Path(name)
        subfolders.sort()
        if len(path.relative_to(folder).parts) >= DEEPEST:
            subfolders.clear()
        if next(_experiments(path), None):
            return path
        if _is_run(path):
            return None
    return None


def _experiments(store: Path) -> Iterator[Path]:
    """The experiments of a store that hold a run."""
    for folder in _folders(store):
        if any(map(_is_run, _folders(folder))):
            yield folder


def _folders(folder: Path) -> list[Path]:
    """Subfolders by name, without links and hidden ones such as `.trash`."""
    found = []
    for path in sorted(folder.iterdir()):
        is_hidden = path.name.startswith(".")
        if path.is_dir() and not path.is_symlink() and not is_hidden:
            found.append(path)
    return found


def _is_run(folder: Path) -> bool:
    return (folder / "meta.yaml").is_file() and (folder / "metrics").is_dir()


def read_mlflow_store(store: Path, choice: Choice) -> Results:
    """Read MLflow's files: `EXPERIMENT/RUN/metrics`, `params` and `tags`.

    Args:
        store: the folder of the experiments, `mlruns`.
        choice: which value of a metric is taken; of other metrics it is the last.

    Raises:
        ValueError: no run is readable.
    """
    rows = {}
    left_out: LeftOut = []
    measured: set[str] = set()
    for experiment in _experiments(store):
        for folder in filter(_is_run, _folders(experiment)):
            try:
                metrics = _metrics(folder / "metrics", choice)
                row = _run_row(folder, metrics)
            except (OSError, ValueError) as error:
                left_out.append((str(folder), str(error)))
                continue
            measured.update(metrics)
            rows[str(folder)] = row | metrics
            check_size(store, len(rows), len(row))
    if not rows:
        message = f"{store} must hold a readable run of MLflow"
        if left_out:
            _, reason = left_out[0]
            message += f", {reason}"
        raise ValueError(message)
    return Results(
        kind="MLflow folder",
        table=table_of_rows(rows),
        descriptions=frozenset({"run name"}),
        measurements=frozenset(measured),
        left_out=left_out,
        notes=[choice.note("the logged values")],
    )


def _run_row(folder: Path, metrics: dict[str, float]) -> dict[str, Any]:
    """Name, status, experiment and parameters of a run.

    Args:
        folder: of the run, in that of its experiment.
        metrics: by name; a parameter of the same name is called `params.NAME`.

    Raises:
        ValueError: a file is damaged, or the run was deleted.
    """
    meta = read_yaml(folder / "meta.yaml")
    params = dict(_entries(folder / "params"))
    if not isinstance(meta, dict) or meta.get("lifecycle_stage") == "deleted":
        raise ValueError("it was deleted in MLflow")
    row: dict[str, Any] = {
        "run name": meta.get("run_name") or folder.name,
        "status": _status(meta.get("status")),
        "experiment": _experiment_name(folder.parent),
    }
    for name, value in params.items():
        if name in metrics:
            name = f"params.{name}"
        row[name] = value
    return row


def _status(value: Any) -> str:
    """`FINISHED` of 3; a word stays."""
    if isinstance(value, int) and 0 < value < len(MLFLOW_STATUSES):
        return MLFLOW_STATUSES[value]
    return str(value)


def _experiment_name(experiment: Path) -> str:
    try:
        meta = read_yaml(experiment / "meta.yaml")
        return str(meta["name"])
    except (OSError, ValueError, KeyError, TypeError):
        return experiment.name


def _entries(folder: Path) -> Iterator[tuple[str, str]]:
    """Name and text of every file; a name with a slash is a file in a subfolder."""
    for path, subfolders, files in os.walk(folder):
        subfolders.sort()
        for name in sorted(files):
            file = Path(path) / name
            yield file.relative_to(folder).as_posix(), read_text(file).strip()


def _metrics(folder: Path, choice: Choice) -> dict[str, float]:
    """One value of every metric. A line of a file is `TIMESTAMP VALUE STEP`."""
    found = {}
    for name, text in _entries(folder):
        points: list[Point] = []
        for line in text.splitlines():
            try:
                points.append(_point(line))
            except ValueError as error:
                raise ValueError(f"metric {name} has the line {line[:40]!r}") from error
        if points:
            found[name] = choice.value_of(name, points)
    return found


def _point(line: str) -> Point:
    """Step, time and value; a line without a step is of step 0."""
    time, value, *rest = line.split()
    step = 0
    if rest:
        step = int(rest[0])
    return step, int(time), float(value)
