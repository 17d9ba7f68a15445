"""Turn a text file into columns of numbers and columns of categories.

Every mistake in the file is reported by column and row. Rows are counted from 1, the
first row below the line of column names.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from normlab.data.cell_values import commas_meaning, numbers_of, one_spelling
from normlab.data.missing_values import without_missing
from normlab.data.notes import note_once, shortened
from normlab.data.parquet_files import is_parquet, read_parquet
from normlab.data.table_files import read_cells
from normlab.spelling import nearest

MISSING_CATEGORY = "missing"
# A column of text is no category if a larger share of its values differ.
MOST_DIFFERENT = 0.9
MOST_NAMES_SHOWN = 20  # in an error message


class Choice(NamedTuple):
    """Columns of a table that the options name, as the file spells them.

    Attributes:
        target: the column to predict.
        categorical: columns of categories. None stands for the columns in which no
            value is a number.
        drop: columns to leave out.
    """

    target: str
    categorical: list[str] | None = None
    drop: Sequence[str] = ()


def read_text(
    path: str,
    separator: str,
    missing: Sequence[Any],
    encoding: str | None = None,
) -> pd.DataFrame:
    """Read a file as a table of text.

    Args:
        path: of a parquet file, or of a text whose first line names the columns. Of a
            text, a first column without a name holds the row numbers that pandas
            writes, and is left out with a note.
        separator: the character between columns, see `read_cells`.
        missing: what stands for a missing value, see `without_missing`.
        encoding: of the file. None finds it by the content.

    Returns:
        Text without surrounding blanks, None where a value is missing. The index counts
        rows from 1.

    Raises:
        ValueError: there is no such file or no table in it, or a column name is empty
            or comes twice.
    """
    missing = _as_list("missing", missing)
    if is_parquet(path):
        table = read_parquet(path)
        if not len(table):
            raise ValueError(f"{path} has column names and no rows")
    else:
        table = _delimited(path, separator, encoding)
    names = list(table.columns)
    counts = Counter(names)
    wrong = [name for name in names if not name or counts[name] > 1]
    if wrong:
        raise ValueError(
            f"{path} must name every column once in its first line; "
            f"{wrong[0]!r} comes twice or is empty"
        )
    return without_missing(table, missing, path)


def _delimited(path: str, separator: str, encoding: str | None) -> pd.DataFrame:
    """The cells of a text file, without row numbers that pandas wrote."""
    names, *rows = read_cells(path, separator, encoding)
    if not rows:
        raise ValueError(f"{path} has a line of column names and no rows below it")
    table = pd.DataFrame(rows, dtype=object)
    table.index += 1  # rows are counted from 1
    if _is_index(names, table[0]):
        note_once(
            f"{path}: the first column has no name and a different value in every row; "
            "it is taken for row numbers and left out"
        )
        del table[0]
        names = names[1:]
    return table.set_axis(names, axis=1)


def _is_index(names: list[str], first: pd.Series) -> bool:
    """Whether the first column is the index of a data frame, stored without a name."""
    name, *others = names
    if name or not others:
        return False
    return all(others) and first.is_unique


def choose(
    text: pd.DataFrame,
    path: str,
    target: Any,
    categorical: Sequence[Any] | None,
    drop: Sequence[Any],
) -> Choice:
    """Find the columns that the options of a table name.

    Args:
        text: the table, from `read_text`.
        path: of its file, for messages.
        target: the column to predict. YAML takes a name such as 3 for a number.
        categorical: columns of categories, or None.
        drop: columns to leave out.

    Raises:
        ValueError: an option names a column that does not exist, or the target is also
            named by another option.
    """
    target_name = _find_name(text, path, "target", target)

    def other_columns(key: str, names: Sequence[Any]) -> list[str]:
        found = [_find_name(text, path, key, name) for name in _as_list(key, names)]
        if target_name in found:
            raise ValueError(
                f"dataset.{key} must not name the target, got {target}; "
                "leave it out there"
            )
        return found

    categories = None
    if categorical is not None:
        categories = other_columns("categorical", categorical)
    return Choice(target_name, categories, other_columns("drop", drop))


def joined_text(
    text: pd.DataFrame,
    path: str,
    test_text: pd.DataFrame,
    test_path: str | None,
    choice: Choice,
) -> pd.DataFrame:
    """The rows of a table and below them those of a second one with its columns.

    They are converted together, so that a column means the same in both.

    Args:
        text: the table, from `read_text`.
        path: of its file, for messages.
        test_text: the second table.
        test_path: of its file. Its rows are called after it in messages.
        choice: which columns are what. Dropped columns may be missing.

    Raises:
        ValueError: the second table lacks a column.
    """
    lacking = [str(name) for name in text if name not in test_text]
    needed = [name for name in lacking if name not in choice.drop]
    if needed:
        raise ValueError(
            f"dataset.test_path={test_path} must have the columns of {path}, it lacks "
            f"{shortened(needed)}"
        )
    others = [str(name) for name in test_text if name not in text]
    if others:
        note_once(
            f"{test_path}: these columns are not in {path} and are left out: "
            f"{shortened(others)}"
        )
    below = test_text.reindex(columns=text.columns).astype(object)
    below = below.where(below.notna(), None)
    below.index = pd.Index([f"{row} of {test_path}" for row in below.index])
    return pd.concat([text, below])


def take_groups(
    text: pd.DataFrame, path: str, groups: Any, choice: Choice
) -> tuple[np.ndarray, Choice]:
    """The group of each row, and a choice in which their column is no input.

    Numbers of one value, such as 7 and 7.0, are one group.

    Args:
        text: the table, from `read_text`.
        path: of its file, for messages.
        groups: the column of groups.
        choice: which columns are what.

    Raises:
        ValueError: there is no such column, it is the target, or a row has no group.
    """
    name = _find_name(text, path, "groups", groups)
    if name == choice.target:
        raise ValueError(f"dataset.groups must not name the target, got {groups}")
    column = text[name]
    empty = column[column.isna()]
    if len(empty):
        raise ValueError(
            f"{path}: every row must have a group, column {name} is empty in row "
            f"{empty.index[0]}"
        )
    spelled_alike = one_spelling(column, path, "one group")
    without_groups = choice._replace(drop=[*choice.drop, name])
    return spelled_alike.to_numpy(str), without_groups


def note_shared_groups(
    train: np.ndarray, test: np.ndarray, test_path: str | None
) -> None:
    """Print which groups have rows for training and in the file of the test part.

    Args:
        train: groups of the rows for training and validation.
        test: groups of the rows of that file.
        test_path: its path, for the note.
    """
    shared = np.intersect1d(train, test).tolist()
    if shared:
        note_once(
            f"these groups of dataset.test_path={test_path} also have rows for "
            f"training: {shortened(shared)}"
        )


def columns_of(
    text: pd.DataFrame, path: str, choice: Choice, remedy: str | None = None
) -> pd.DataFrame:
    """Convert all columns except the target and the dropped ones.

    Args:
        text: the table, from `read_text`.
        path: of its file, for messages.
        choice: which columns are what, from `choose`.
        remedy: what an error message advises; None for the options of `dataset=csv`.

    Returns:
        Columns of numbers as float64 with NaN where a value is missing, and columns of
        categories as text.

    Raises:
        ValueError: text among numbers, a column with a single value, or no column left.
    """
    others = {choice.target, *choice.drop}
    names = [name for name in text if name not in others]
    if not names:
        raise ValueError(
            f"{path} has no column besides the target {choice.target} and the dropped "
            "ones; inputs are needed"
        )
    columns = {
        name: _column(text[name], path, choice.categorical, remedy) for name in names
    }
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


def _find_name(text: pd.DataFrame, path: str, key: str, name: Any) -> str:
    """The column that an option names.

    Raises:
        ValueError: there is none.
    """
    if name in text:
        return name
    if name is not None and not isinstance(name, str):
        for column in map(str, text.columns):
            if column == str(name) or _is_same_number(column, name):
                return column
    by_lower_case = {column.lower(): column for column in text.columns}
    match = nearest(str(name).lower(), by_lower_case)
    if match is None:
        hint = f"; they are {', '.join(text.columns[:MOST_NAMES_SHOWN])}"
    else:
        hint = f", did you mean {by_lower_case[match]!r}?"
    if len(text.columns) == 1:
        hint += "; is dataset.separator right?"
    raise ValueError(f"dataset.{key} must name a column of {path}, got {name!r}{hint}")


def _is_same_number(column: str, value: Any) -> bool:
    """Whether the name of a column is a number that YAML may have spelled otherwise."""
    if isinstance(value, bool):
        return column.lower() == str(value).lower()
    try:
        return float(column) == value
    except ValueError:
        return False


def _as_list(key: str, values: Sequence[Any]) -> Sequence[Any]:
    if not isinstance(values, list | tuple):
        raise ValueError(
            f"dataset.{key} must be a list, as in dataset.{key}=[{values}], "
            f"got {values!r}"
        )
    return values


def _column(
    text: pd.Series, path: str, categorical: Sequence[str] | None, remedy: str | None
) -> pd.Series:
    """Convert one column: to text if it holds categories, otherwise to numbers."""
    numbers = None
    if categorical is None:
        numbers = pd.to_numeric(text, errors="coerce")
        has_values = text.notna().any()
        is_categorical = bool(has_values and numbers.isna().all())
        if is_categorical:
            _check_categories(text, path)
    else:
        is_categorical = text.name in categorical
    if is_categorical:
        texts = one_spelling(text, path, f"one category of {text.name}")
        return texts.fillna(MISSING_CATEGORY)
    return numbers_of(text, path, remedy, numbers)


def _check_categories(text: pd.Series, path: str) -> None:
    """Refuse a column that was treated as categorical without looking like categories.

    It holds numbers with a decimal comma, or a different text in nearly every row.
    """
    values = text.dropna()
    first = f"row {values.index[0]} has {values.iloc[0]!r}, no number"
    commas = commas_meaning(values)
    if commas is not None:
        what, advice = commas
        raise ValueError(
            f"{path}: column {text.name}: {first} ({what}?); "
            f"{advice}, or put {text.name} into dataset.categorical"
        )
    different = values.nunique()
    if different > max(2, MOST_DIFFERENT * len(values)):
        raise ValueError(
            f"{path}: column {text.name}: {first}, "
            f"and {different} of its {len(values)} values differ; correct it, "
            f"or put {text.name} into dataset.categorical or dataset.drop"
        )
