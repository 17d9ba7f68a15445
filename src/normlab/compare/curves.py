"""The tables that runs write as they train: `metrics.csv` and `statistics.csv`."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from normlab.files import LARGEST_TABLE, open_regular
from normlab.results import check_log

CLOCK_COLUMNS = ["epoch", "step", "seconds"]
LAYER_COLUMNS = ["index", "epoch", "step", "layer", "statistic", "value"]


def read_curves(runs: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """The rows of `metrics.csv` of all given runs in one table.

    Rows of a damaged, changed or missing file are left out: a run without a curve still
    has its result, see `without_curves`.

    Args:
        runs: from `load_runs`.
        columns: the metrics to read; NaN in runs that do not have them.

    Returns:
        One row per run and epoch, with the columns `index` (of the run in `runs`),
        `epoch`, `step`, `seconds`, and the requested ones.
    """
    values: dict[str, list] = {"index": []}
    for name in (*CLOCK_COLUMNS, *columns):
        values[name] = []
    for index, folder in zip(runs.index.tolist(), runs["folder"], strict=True):
        table = _read_csv(Path(folder) / "metrics.csv")
        length = max(map(len, table.values()), default=0)
        table["index"] = [index] * length
        missing = [np.nan] * length
        for name, column in values.items():
            column += table.get(name, missing)

    curves = pd.DataFrame(values)
    clocks = curves[CLOCK_COLUMNS].to_numpy(float)
    is_complete = np.isfinite(clocks).all(axis=1)
    return curves.loc[is_complete]


def without_curves(
    runs: pd.DataFrame,
    curves: pd.DataFrame,
    metric: str,
) -> pd.DataFrame:
    """The runs whose curve is incomplete or never has a value of the metric.

    A diverged run needs no value of the metric; if it diverged within the first epoch,
    it needs no row either.

    Args:
        runs: from `load_runs`.
        curves: from `read_curves`, with a column for the metric.
        metric: the column that is needed.
    """
    num_epochs = curves.groupby("index")["epoch"].nunique()
    num_epochs = num_epochs.reindex(runs.index, fill_value=0)
    complete = num_epochs >= runs["epochs"].fillna(1)

    finite = np.isfinite(curves[metric].astype(float))
    with_values = curves.loc[finite, "index"]
    has_values = runs.index.isin(with_values)
    has_diverged = runs["status"] == "diverged"
    usable = complete & (has_values | has_diverged)
    return runs.loc[~usable]


def curve_warnings(runs: pd.DataFrame, metrics: Iterable[str]) -> list[str]:
    """One line for every metric whose curve some runs have and others lack.

    Another one follows if statistics of layers were changed.
    """
    runs = runs[runs["status"] != "failed"]
    metrics = list(dict.fromkeys(metrics))
    curves = read_curves(runs, metrics)
    lines = []
    for metric in metrics:
        lacking = without_curves(runs, curves, metric)
        if 0 < len(lacking) < len(runs):
            lines.append(
                f"metrics.csv is missing, damaged or cut in {len(lacking)} of "
                f"{len(runs)} runs, which learning curves and time to target of "
                f"{metric} leave out; the first is {lacking['folder'].iloc[0]}. "
                "rerun=true trains a run again."
            )
    return lines + _layer_warnings(runs)


def _layer_warnings(runs: pd.DataFrame) -> list[str]:
    """One line if the `statistics.csv` of runs is not as it was when they ended."""
    changed = []
    for folder in runs["folder"]:
        try:
            check_log(Path(folder) / "statistics.csv")
        except ValueError:
            changed.append(folder)
    if not changed:
        return []
    return [
        f"statistics.csv was changed in {len(changed)} of {len(runs)} runs, which "
        f"figures of layers leave out; the first is {changed[0]}. "
        "rerun=true trains a run again."
    ]


def _read_csv(path: Path) -> dict[str, list[float]]:
    """The columns of a CSV file; none if it is missing, damaged or changed."""
    try:
        check_log(path)
        with open_regular(path, LARGEST_TABLE) as file:
            lines = io.TextIOWrapper(file, newline="")
            header, *rows = list(csv.reader(lines))
    except (OSError, ValueError, csv.Error):
        return {}
    # A process that was killed may leave the last line incomplete.
    complete = [row for row in rows if len(row) == len(header)]
    columns = {}
    for name, *cells in zip(header, *complete, strict=True):
        columns[name] = list(map(_number, cells))
    return columns


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


def read_layers(runs: pd.DataFrame) -> pd.DataFrame:
    """The rows of `statistics.csv` of all given runs in one table.

    Rows of a damaged, changed or missing file and values that are not finite are left
    out.

    Returns:
        One row per run, epoch, layer and statistic, with the columns `index` (of the
        run in `runs`), `epoch`, `step`, `layer`, `statistic` and `value`.
    """
    parts = []
    for index, folder in zip(runs.index.tolist(), runs["folder"], strict=True):
        path = Path(folder) / "statistics.csv"
        try:
            check_log(path)
            with open_regular(path, LARGEST_TABLE) as file:
                table = pd.read_csv(
                    file,
                    on_bad_lines="skip",
                    low_memory=False,
                    dtype={"layer": str, "statistic": str},
                )
        except (OSError, ValueError):  # what pandas raises derives from ValueError
            continue
        if {"epoch", "layer", "statistic", "value"} <= set(table.columns):
            table = _valid_rows(table)
            table["index"] = index
            parts.append(table)

    if not parts:
        return pd.DataFrame(columns=LAYER_COLUMNS)
    return pd.concat(parts, ignore_index=True)


def _valid_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Rows whose numbers are finite and whose names are present."""
    table = table.copy()
    valid = table["layer"].notna() & table["statistic"].notna()
    for name in ("epoch", "value"):
        numbers = pd.to_numeric(table[name], errors="coerce")
        table[name] = numbers.astype(float)
        valid &= np.isfinite(table[name])
    return table.loc[valid].copy()
