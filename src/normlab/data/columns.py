"""Turn a text file into columns of numbers and columns of categories.

Every mistake in the file is reported by column and row. Rows are counted from 1, the
first row below the line of column names.
"""

import sys
from collections.abc import Sequence
from functools import cache

import numpy as np
import pandas as pd

from normlab.data.downloads import data_path, first_line
from normlab.spelling import nearest

MISSING_CATEGORY = "missing"
LARGEST = float(np.finfo(np.float32).max)
# A column of text is no category if a larger share of its values differ.
MOST_DIFFERENT = 0.9
MOST_NAMES_SHOWN = 20  # in an error message


def read_text(path: str, separator: str, missing: Sequence[str]) -> pd.DataFrame:
    """Read a file as a table of text.

    Args:
        path: of the file, whose first line names the columns.
        separator: the character between columns.
        missing: texts that stand for a missing value, besides the empty one.

    Returns:
        Text without surrounding blanks, None where a value is missing. The index counts
        rows from 1.

    Raises:
        ValueError: there is no such file or no table in it, or a column name is empty
            or comes twice.
    """
    if not isinstance(separator, str) or len(separator) != 1:
        raise ValueError(f"dataset.separator must be one character, got {separator!r}")
    if not data_path(path, "a file with a table").is_file():
        raise ValueError(
            f"dataset.root must be a file with a table; there is no file {path}"
        )
    try:
        lines = pd.read_csv(
            path,
            sep=separator,
            header=None,
            dtype=object,
            na_filter=False,
            encoding="utf-8-sig",
        )
    # Any type: the readers of .zip, .xz and other formats each raise their own.
    except Exception as error:
        raise ValueError(
            f"{path} is no table with columns separated by {separator!r}: "
            f"{first_line(error)}"
        ) from error

    lines = lines.astype(str).apply(lambda column: column.str.strip())
    lines = lines.astype(object)
    names = lines.iloc[0].tolist()
    wrong = [name for name in names if not name or names.count(name) > 1]
    if wrong:
        raise ValueError(
            f"{path} must name every column once in its first line; "
            f"{wrong[0]!r} comes twice or is empty"
        )
    if len(lines) < 2:
        raise ValueError(f"{path} has a line of column names and no rows below it")

    table = lines.iloc[1:].set_axis(names, axis=1)
    table = table.set_axis(range(1, len(lines)), axis=0)
    is_missing = table.isin(["", *map(str, _as_list("missing", missing))])
    return table.where(~is_missing, None)


def check_names(
    text: pd.DataFrame,
    path: str,
    target: str,
    categorical: Sequence[str] | None,
    drop: Sequence[str],
) -> None:
    """Check the column names in the options of a table.

    Args:
        text: the table, from `read_text`.
        path: of its file, for messages.
        target: the column to predict.
        categorical: columns of categories, or None.
        drop: columns to leave out.

    Raises:
        ValueError: an option names a column that does not exist, or the target is also
            named by another option.
    """
    _check_name(text, path, "target", target)
    for key, names in (("categorical", categorical or ()), ("drop", drop)):
        for name in _as_list(key, names):
            _check_name(text, path, key, name)
        if target in names:
            raise ValueError(
                f"dataset.{key} must not name the target, got {target}; "
                "leave it out there"
            )


def columns_of(
    text: pd.DataFrame,
    path: str,
    target: str,
    categorical: Sequence[str] | None,
    drop: Sequence[str],
    remedy: str | None = None,
) -> pd.DataFrame:
    """Convert all columns except the target and the dropped ones.

    Args:
        text: the table, from `read_text`.
        path: of its file, for messages.
        target: the column to predict.
        categorical: columns of categories. None takes the columns in which no value is
            a number.
        drop: columns to leave out.
        remedy: what an error message advises; None for the options of `dataset=csv`.

    Returns:
        Columns of numbers as float64 with NaN where a value is missing, and columns of
        categories as text.

    Raises:
        ValueError: text among numbers, a column with a single value, or no column left.
    """
    names = [name for name in text if name != target and name not in drop]
    if not names:
        raise ValueError(
            f"{path} has no column besides the target {target} and the dropped ones; "
            "inputs are needed"
        )
    columns = {name: _column(text[name], path, categorical, remedy) for name in names}
    for name, column in columns.items():
        if column.nunique() >= 2:
            continue
        problem = "holds no value at all"
        if column.notna().any():
            problem = f"is {column.dropna().iloc[0]} in every row"
        advice = remedy or f"leave it out with dataset.drop=[{name}]"
        raise ValueError(f"{path}: column {name} {problem}; {advice}")
    return pd.DataFrame(columns)


def note_categories(columns: pd.DataFrame, path: str) -> None:
    """Print which columns are treated as categorical, once per process.

    Args:
        columns: from `columns_of`, without a choice of the user.
        path: of the file, for the note.
    """
    categorical = [
        f"{name} ({columns[name].nunique()} values)"
        for name in columns
        if columns[name].dtype == object
    ]
    if categorical:
        note_once(
            f"{path}: treated as categorical: {', '.join(categorical)}; "
            "set dataset.categorical=[...] to change this"
        )


@cache
def note_once(note: str) -> None:
    """Print a note, each text once per process."""
    print(f"note: {note}", file=sys.stderr)


def _check_name(text: pd.DataFrame, path: str, key: str, name: str | None) -> None:
    if name in text:
        return
    by_lower_case = {column.lower(): column for column in text.columns}
    match = nearest(str(name).lower(), by_lower_case)
    if match is None:
        hint = f"; they are {', '.join(text.columns[:MOST_NAMES_SHOWN])}"
    else:
        hint = f", did you mean {by_lower_case[match]!r}?"
    if len(text.columns) == 1:
        hint += "; is dataset.separator right?"
    raise ValueError(f"dataset.{key} must name a column of {path}, got {name!r}{hint}")


def _as_list(key: str, values: Sequence[str]) -> Sequence[str]:
    if isinstance(values, str):
        raise ValueError(
            f"dataset.{key} must be a list, as in dataset.{key}=[{values}], "
            f"got {values!r}"
        )
    return values


def _column(
    text: pd.Series, path: str, categorical: Sequence[str] | None, remedy: str | None
) -> pd.Series:
    """Convert one column: to text if it holds categories, otherwise to numbers."""
    if categorical is None:
        numbers = pd.to_numeric(text, errors="coerce")
        is_categorical = bool(text.notna().any() and numbers.isna().all())
        if is_categorical:
            _check_categories(text, path)
    else:
        is_categorical = text.name in categorical
    if is_categorical:
        return text.fillna(MISSING_CATEGORY)
    return _numbers(text, path, remedy)


def _check_categories(text: pd.Series, path: str) -> None:
    """Refuse a column that was treated as categorical without looking like categories.

    It holds numbers with a decimal comma, or a different text in nearly every row.
    """
    values = text.dropna()
    first = f"row {values.index[0]} has {values.iloc[0]!r}, no number"
    with_points = pd.to_numeric(values.str.replace(",", "."), errors="coerce")
    if with_points.notna().all():
        raise ValueError(
            f"{path}: column {text.name}: {first} (a decimal comma?); "
            f"write a decimal point, or put {text.name} into dataset.categorical"
        )
    different = values.nunique()
    if different > max(2, MOST_DIFFERENT * len(values)):
        raise ValueError(
            f"{path}: column {text.name}: {first}, "
            f"and {different} of its {len(values)} values differ; correct it, "
            f"or put {text.name} into dataset.categorical or dataset.drop"
        )


def _numbers(text: pd.Series, path: str, remedy: str | None) -> pd.Series:
    """Convert a column to float64, NaN where a value is missing."""
    values = pd.to_numeric(text, errors="coerce").astype(np.float64)
    wrong = text[text.notna() & ~(values.abs() <= LARGEST)]
    if len(wrong):
        advice = remedy or (
            "correct it, add it to dataset.missing, "
            f"or put {text.name} into dataset.categorical"
        )
        raise ValueError(
            f"{path}: column {text.name} must hold numbers, "
            f"row {wrong.index[0]} has {wrong.iloc[0]!r}; {advice}"
        )
    return values


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
    _check_targets(text, path)
    advice = remedy or "correct it, or predict classes with dataset.task=classification"
    return _numbers(text, path, advice).to_numpy(np.float64)


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
    _check_targets(text, path)
    names = sorted(text.unique())
    if pd.to_numeric(pd.Series(names), errors="coerce").notna().all():
        names = sorted(names, key=float)
    index_by_name = {name: index for index, name in enumerate(names)}
    return text.map(index_by_name).to_numpy(np.int64), tuple(names)


def _check_targets(text: pd.Series, path: str) -> None:
    empty = text[text.isna()]
    if len(empty):
        others = f" and {len(empty) - 1} more" if len(empty) > 1 else ""
        raise ValueError(
            f"{path}: every row must have a target, "
            f"column {text.name} is empty in row {empty.index[0]}{others}; "
            "remove the rows without one"
        )
    if len(text) > 1 and text.nunique() < 2:
        raise ValueError(
            f"{path}: target {text.name} is {text.iloc[0]} in every row; "
            "there is nothing to predict"
        )
