"""Recognize what a file or folder of another program is, and read it."""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from normlab.compare.event_results import has_events, read_events
from normlab.compare.result_tables import (
    ENDINGS,
    LeftOut,
    Results,
    read_results_file,
)
from normlab.compare.result_values import Choice
from normlab.compare.tracker_exports import (
    as_export,
    find_mlflow_store,
    read_mlflow_store,
)
from normlab.files import read_text

FILE = "file"  # the column that tells several sources apart


def is_other_source(path: Path) -> bool:
    """Whether a path holds results of another program, and no runs of ours.

    Args:
        path: a file or folder.
    """
    if path.suffix.lower() in ENDINGS and not path.is_dir():
        return True
    if not path.is_dir() or _holds_run(path):
        return False
    return find_mlflow_store(path) is not None or has_events(path)


def _holds_run(folder: Path) -> bool:
    """Whether a folder holds a run of ours, at any depth."""
    for path, subfolders, files in os.walk(folder):
        subfolders.sort()
        if "config.yaml" in files:
            config = Path(path) / "config.yaml"
            if "result.json" in files or _is_our_config(config):
                return True
    return False


def _is_our_config(path: Path) -> bool:
    try:
        return re.search(r"(?m)^choices:", read_text(path)) is not None
    except (OSError, ValueError):
        return False


def read_sources(
    paths: Sequence[str | Path],
    choice: Choice,
    layout: str | None,
) -> Results:
    """Read files and folders into one table.

    Args:
        paths: what to read; with several, the column `file` tells them apart.
        choice: which value of a metric is taken where a source has several.
        layout: what the folders of TensorBoard runs say.

    Raises:
        ValueError: a path does not exist, or holds nothing that is known.
    """
    if not paths:
        raise ValueError("name a file or folder of results")
    distinct = {Path(path).resolve(): Path(path) for path in paths}
    sources = list(distinct.values())
    found = [_read_source(path, choice, layout) for path in sources]
    if len(found) == 1:
        return found[0]
    return _joined(found, sources)


def _read_source(
    path: Path,
    choice: Choice,
    layout: str | None,
) -> Results:
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    store = None
    if path.is_dir():
        store = find_mlflow_store(path)
    if layout is not None and (store or not path.is_dir()):
        raise ValueError(
            f"layout is for folders of TensorBoard's event files; {path} is none"
        )
    if store:
        return read_mlflow_store(store, choice)
    if path.is_dir():
        return read_events(path, choice, layout)
    return as_export(read_results_file(path))


def _joined(found: list[Results], paths: list[Path]) -> Results:
    """One table of all, with the name of the source in a column of its own."""
    labels = [path.stem for path in paths]
    if len(set(labels)) < len(labels):
        labels = list(map(str, paths))
    tables = []
    first = found[0]
    names: dict[str, None] = {}
    left_out: LeftOut = []
    notes: dict[str, None] = {}
    for results, label in zip(found, labels, strict=True):
        table = results.table
        if FILE in table:
            raise ValueError(
                f"several sources are told apart by a column {FILE}, which {label} has "
                "already; rename its column"
            )
        names |= dict.fromkeys(map(str, table))
        tables.append(table.assign(**{FILE: label}))
        left_out += results.left_out
        notes |= dict.fromkeys(results.notes)
        first = replace(
            first,
            descriptions=first.descriptions | results.descriptions,
            measurements=first.measurements | results.measurements,
            renamed=first.renamed | results.renamed,
        )
    names[FILE] = None
    kinds = dict.fromkeys(results.kind for results in found)
    return replace(
        first,
        kind=" and ".join(kinds),
        table=_concatenated(tables, list(names)),
        left_out=left_out,
        notes=list(notes),
    )


def _concatenated(tables: list[pd.DataFrame], names: list[str]) -> pd.DataFrame:
    """The rows of all tables, with None in the columns that some of them lack.

    `concat` alone would fill these with NaN, which says that a run diverged.
    """
    completed = []
    for table in tables:
        lacking = set(names).difference(table.columns)
        filled = table.assign(**dict.fromkeys(lacking))
        completed.append(filled.astype(object)[names])
    return pd.concat(completed)
