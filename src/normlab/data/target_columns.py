"""The column of a table that is to be predicted: numbers, or classes."""

import numpy as np
import pandas as pd

from normlab.data.cell_values import numbers_of, one_spelling


def number_targets(text: pd.Series, path: str, remedy: str | None = None) -> np.ndarray:
    """Convert the target of a regression.

    Args:
        text: the column, from `read_text`.
        path: of the file, for messages.
        remedy: what an error message advises; None for the options of `dataset=csv`.

    Returns:
        float64 ``(N,)``.

    Raises:
        ValueError: a row has no number, or all numbers are the same.
    """
    _check_missing(text, path)
    _check_varied(text, path)
    advice = remedy or "correct it, or predict classes with dataset.task=classification"
    numbers = numbers_of(text, path, advice)
    return numbers.to_numpy(np.float64)


def class_targets(text: pd.Series, path: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Convert the target of a classification.

    Args:
        text: the column, from `read_text`.
        path: of the file, for messages.

    Returns:
        Class indices, int64 ``(N,)``, and the names of the classes, sorted by value if
        all of them are numbers.

    Raises:
        ValueError: a row has no class, or all classes are the same.
    """
    _check_missing(text, path)
    text = one_spelling(text, path, "one class")
    _check_varied(text, path)
    names = sorted(text.unique())
    numbers = pd.to_numeric(pd.Series(names), errors="coerce")
    if numbers.notna().all():
        names.sort(key=float)
    index_by_name = {name: index for index, name in enumerate(names)}
    indices = text.map(index_by_name)
    return indices.to_numpy(np.int64), tuple(names)


def _check_missing(text: pd.Series, path: str) -> None:
    rows = text.index[text.isna()]
    if rows.empty:
        return
    where = f"row {rows[0]}"
    num_others = len(rows) - 1
    if num_others:
        where += f" and {num_others} more"
    raise ValueError(
        f"{path}: every row must have a target, "
        f"column {text.name} is empty in {where}; "
        "remove the rows without one"
    )


def _check_varied(text: pd.Series, path: str) -> None:
    if len(text) > 1 and text.nunique() < 2:
        raise ValueError(
            f"{path}: target {text.name} is {text.iloc[0]} in every row; "
            "there is nothing to predict"
        )
