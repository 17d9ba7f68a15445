"""A file of text into columns of numbers and columns of categories, with every mistake named by column and row.

Rows are counted from 1, the first below the line of names.
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
DIFFERENT = (
    0.9  # of a column's values: text that differs in so many rows is no category
)


def read_text(path: str, separator: str, missing: Sequence[str]) -> pd.DataFrame:
    """The file as text without surrounding blanks, None where a value is missing; its first line names the columns.

    Raises:
        ValueError: no file, no table, or a column name that is empty or comes twice.
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
    except Exception as error:  # readers of .zip, .xz and others each raise their own
        raise ValueError(
            f"{path} is no table with columns separated by {separator!r}: {first_line(error)}"
        ) from error
    lines = lines.astype(str).apply(lambda column: column.str.strip()).astype(object)
    names = lines.iloc[0].tolist()
    wrong = [name for name in names if not name or names.count(name) > 1]
    if wrong:
        raise ValueError(
            f"{path} must name every column once in its first line; {wrong[0]!r} comes twice or is empty"
        )
    if len(lines) < 2:
        raise ValueError(f"{path} has a line of column names and no rows below it")
    table = (
        lines.iloc[1:].set_axis(names, axis=1).set_axis(range(1, len(lines)), axis=0)
    )
    return table.where(~table.isin(["", *map(str, _list("missing", missing))]), None)


def check_names(
    text: pd.DataFrame,
    path: str,
    target: str,
    categorical: Sequence[str] | None,
    drop: Sequence[str],
) -> None:
    """Every column that an option names must be there, and the target must be nothing but the target.

    Raises:
        ValueError: the option and the name.
    """
    for key, named in (
        ("target", [target]),
        ("categorical", categorical or ()),
        ("drop", drop),
    ):
        for name in _list(key, named):
            _check_name(text, path, key, name)
        if key != "target" and target in named:
            raise ValueError(
                f"dataset.{key} must not name the target, got {target}; leave it out there"
            )


def columns_of(
    text: pd.DataFrame,
    path: str,
    target: str,
    categorical: Sequence[str] | None,
    drop: Sequence[str],
    remedy: str | None = None,
) -> pd.DataFrame:
    """All columns but the target and the dropped: numbers as float64 with NaN, categories as text.

    Args:
        text: from `read_text`.
        path: of its file.
        target: the column to predict.
        categorical: columns of categories, or None for those in which no value is a number.
        drop: columns to leave out.
        remedy: what to advise; None names options of `dataset=csv`.

    Raises:
        ValueError: text among numbers, a column that says nothing, or no column at all.
    """
    names = [name for name in text if name != target and name not in drop]
    if not names:
        raise ValueError(
            f"{path} has no column besides the target {target} and the dropped ones; inputs are needed"
        )
    columns = {name: _column(text[name], path, categorical, remedy) for name in names}
    for name, column in columns.items():
        if column.nunique() < 2:
            says = (
                f"is {column.dropna().iloc[0]} in every row"
                if column.notna().any()
                else "holds no value at all"
            )
            raise ValueError(
                f"{path}: column {name} {says}; {remedy or f'leave it out with dataset.drop=[{name}]'}"
            )
    return pd.DataFrame(columns)


def note_categories(columns: pd.DataFrame, path: str) -> None:
    """Tell which columns count as categories though nobody said so, once a process."""
    taken = [
        f"{name} ({columns[name].nunique()} values)"
        for name in columns
        if columns[name].dtype == object
    ]
    if taken:
        tell(
            f"{path}: taken as categories: {', '.join(taken)}; others are dataset.categorical=[...]"
        )


@cache
def tell(note: str) -> None:
    """A note, once a process."""
    print(f"note: {note}", file=sys.stderr)


def _check_name(text: pd.DataFrame, path: str, key: str, name: str | None) -> None:
    if name in text:
        return
    lowered = {column.lower(): column for column in text.columns}
    near = nearest(str(name).lower(), lowered)
    hint = f"; they are {', '.join(text.columns[:20])}"
    if near is not None:
        hint = f", did you mean {lowered[near]}?"
    separated = "; is dataset.separator right?" if len(text.columns) == 1 else ""
    raise ValueError(
        f"dataset.{key} must name a column of {path}, got {name!r}{hint}{separated}"
    )


def _list(key: str, values: Sequence[str]) -> Sequence[str]:
    if isinstance(values, str):
        raise ValueError(
            f"dataset.{key} must be a list, as in dataset.{key}=[{values}], got {values!r}"
        )
    return values


def _column(
    text: pd.Series, path: str, categorical: Sequence[str] | None, remedy: str | None
) -> pd.Series:
    if categorical is None:
        numbers = pd.to_numeric(text, errors="coerce")
        is_text = text.notna().any() and numbers.isna().all()
        if is_text:
            _check_categories(text, path)
    else:
        is_text = text.name in categorical
    return text.fillna(MISSING_CATEGORY) if is_text else _numbers(text, path, remedy)


def _check_categories(text: pd.Series, path: str) -> None:
    """Nobody said that these are categories: they must not be numbers of another spelling, nor all different."""
    values = text.dropna()
    row = f"{path}: column {text.name}: row {values.index[0]} has {values.iloc[0]!r}, no number"
    if pd.to_numeric(values.str.replace(",", "."), errors="coerce").notna().all():
        raise ValueError(
            f"{row} (a decimal comma?); write a decimal point, or put {text.name} into dataset.categorical"
        )
    if (different := values.nunique()) > max(2, DIFFERENT * len(values)):
        raise ValueError(
            f"{row}, and {different} of its {len(values)} values differ; correct it, or put {text.name} into "
            f"dataset.categorical or dataset.drop"
        )


def _numbers(text: pd.Series, path: str, remedy: str | None) -> pd.Series:
    values = pd.to_numeric(text, errors="coerce").astype(np.float64)
    wrong = text[text.notna() & ~(values.abs() <= LARGEST)]
    if len(wrong):
        remedy = (
            remedy
            or f"correct it, add it to dataset.missing, or put {text.name} into dataset.categorical"
        )
        raise ValueError(
            f"{path}: column {text.name} must hold numbers, row {wrong.index[0]} has {wrong.iloc[0]!r}; {remedy}"
        )
    return values


def number_targets(text: pd.Series, path: str, remedy: str | None = None) -> np.ndarray:
    """Numbers to predict, float64 ``(N,)``.

    Raises:
        ValueError: a row without a number, or the same number everywhere.
    """
    _check_targets(text, path)
    remedy = remedy or "correct it, or predict classes with dataset.task=classification"
    return _numbers(text, path, remedy).to_numpy(np.float64)


def class_targets(text: pd.Series, path: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class indices, int64 ``(N,)``, and the classes' names in order (of numbers where all names are numbers).

    Raises:
        ValueError: a row without a class, or the same class everywhere.
    """
    _check_targets(text, path)
    names = sorted(text.unique())
    if pd.to_numeric(pd.Series(names), errors="coerce").notna().all():
        names = sorted(names, key=float)
    index = {name: number for number, name in enumerate(names)}
    return text.map(index).to_numpy(np.int64), tuple(names)


def _check_targets(text: pd.Series, path: str) -> None:
    empty = text[text.isna()]
    if len(empty):
        more = f" and {len(empty) - 1} more" if len(empty) > 1 else ""
        raise ValueError(
            f"{path}: every row must have a target, column {text.name} is empty in row {empty.index[0]}{more}; "
            f"remove what has none"
        )
    if len(text) > 1 and text.nunique() < 2:
        raise ValueError(
            f"{path}: target {text.name} is {text.iloc[0]} in every row; there is nothing to predict"
        )
