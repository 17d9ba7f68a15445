"""Recognize what a file or folder of another program is, and read it."""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from normlab.compare.event_results import has_events, read_events
from normlab.compare.result_tables import ENDINGS, Results, read_results_file
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
    stems = [path.stem for path in paths]
    labels = stems if len(set(stems)) == len(stems) else [str(path) for path in paths]
    tables = []
    first = found[0]
    names: dict[str, None] = {}
    for results, label in zip(found, labels, strict=True):
        if FILE in results.table:
            raise ValueError(
                f"several sources are told apart by a column {FILE}, which {label} has "
                "already; rename its column"
            )
        names |= dict.fromkeys(map(str, results.table))
        tables.append(results.table.assign(**{FILE: label}))
        first = replace(
            first,
            descriptions=first.descriptions | results.descriptions,
            measurements=first.measurements | results.measurements,
            renamed=first.renamed | results.renamed,
        )
    names[FILE] = None
    # `concat` would fill lacking columns with NaN, which says that a run diverged.
    for place, part in enumerate(tables):
        lacking = {name: None for name in names if name not in part}
        tables[place] = part.assign(**lacking).astype(object)[list(names)]
    table = pd.concat(tables)
    left_out = [row for results in found for row in results.left_out]
    notes = [note for results in found for note in results.notes]
    kinds = dict.fromkeys(results.kind for results in found)
    return replace(
        first,
        kind=" and ".join(kinds),
        table=table,
        left_out=left_out,
        notes=list(dict.fromkeys(notes)),
    )
