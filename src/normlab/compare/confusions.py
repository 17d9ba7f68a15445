"""Confusion matrices of runs, which are too large for a table of runs."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from normlab.compare.runs import read_stored_result


def mean_confusion(runs: pd.DataFrame, part: str) -> np.ndarray | None:
    """The mean over runs of the shares of each true class ``(K, K)``.

    Row i, column j is the share of class i that was predicted as class j. It is NaN for
    a class without samples.

    Args:
        runs: rows of `load_runs`.
        part: val or test.

    Returns:
        None if no run has a matrix, or if they differ in their classes.
    """
    shares = []
    for folder in runs["folder"]:
        matrix = _matrix(Path(folder), part)
        if matrix is None:
            continue
        samples = matrix.sum(1, keepdims=True)
        samples[samples == 0] = np.nan
        shares.append(matrix / samples)
    shapes = {share.shape for share in shares}
    if len(shapes) != 1:
        return None
    return np.mean(shares, axis=0)


def class_names(runs: pd.DataFrame) -> list[str]:
    """The names of the classes of the first of some runs that names any, or none."""
    for folder in runs["folder"]:
        names = _result(Path(folder)).get("classes")
        if isinstance(names, list):
            return [str(name) for name in names]
    return []


def _matrix(folder: Path, part: str) -> np.ndarray | None:
    """The counts of a run, as it stored them."""
    scores = _result(folder).get("scores") or {}
    of_part = scores.get(part) or {}
    try:
        matrix = np.array(of_part.get("confusion_matrix"), dtype=float)
    except (TypeError, ValueError):
        return None
    if matrix.ndim != 2 or matrix.shape != matrix.T.shape:
        return None
    if (matrix < 0).any() or np.isnan(matrix).any():
        return None
    return matrix


def _result(folder: Path) -> dict[str, Any]:
    try:
        return read_stored_result(folder / "result.json")
    except ValueError:  # it has changed since the runs were loaded
        return {}
