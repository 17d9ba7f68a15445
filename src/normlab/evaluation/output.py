"""The metrics of an evaluation as a file: JSON, or CSV with one row per metric."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from normlab.results import write_atomically, write_json

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


def write_metrics(
    path: Path, metrics: Mapping[str, float], settings: Mapping[str, Any]
) -> None:
    """Write metrics with what they were computed by.

    Args:
        path: ends in .json or .csv.
        metrics: values by name, such as `test/accuracy`.
        settings: such as the run and the statistics. In a CSV file each has a column
            with the same value in every row.
    """
    if path.suffix == ".json":
        write_json(path, {**settings, "metrics": dict(metrics)})
        return
    rows = []
    for name, value in metrics.items():
        part, _, metric = name.partition("/")
        rows.append({**settings, "part": part, "metric": metric, "value": value})
    write_atomically(path, pd.DataFrame(rows).to_csv(index=False).encode())
