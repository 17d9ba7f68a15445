"""Tables of results that other programs wrote: CSV and parquet, within bounds.

A cell is text, a number or a truth value; None where nothing is written. No cell is
evaluated.
"""

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

from normlab.compare.result_values import shortest_decimal
from normlab.files import MEGABYTE, open_regular
from normlab.messages import first_line
from normlab.parquet import TooLarge, open_parquet, read_batches

CSV_ENDINGS = (".csv", ".tsv")
PARQUET_ENDINGS = (".parquet", ".pq")
ENDINGS = (*CSV_ENDINGS, *PARQUET_ENDINGS)
SEPARATORS = (",", ";", "\t")
LARGEST_FILE = 256 * MEGABYTE
MOST_ROWS = 200_000
MOST_COLUMNS = 5_000
MOST_CELLS = 10_000_000
LONGEST_CELL = MEGABYTE  # characters
MISSING = ("", "na", "n/a")  # in any case; NaN is a value
MISSING_NUMBERS = ("none", "null")  # in columns of numbers or truth values

LeftOut = list[tuple[str, str]]  # the place of a run, and the reason


@dataclass(frozen=True)
class Results:
    """Results of another program, before their columns mean anything.

    Attributes:
        kind: what they come from, such as `CSV file`.
        table: the rows; the index names the place of each, `results.csv, line 3`.
        descriptions: columns that are known to describe a run and not to change it.
        measurements: columns that are known to be measured.
        left_out: runs that are not in the table.
        renamed: names that columns had in the file, and those that they have here.
        notes: what a reader must know.
    """

    kind: str
    table: pd.DataFrame
    descriptions: frozenset[str] = frozenset()
    measurements: frozenset[str] = frozenset()
    left_out: LeftOut = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def resolve(self, name: str) -> str:
        """The name that a column has here."""
        if name in self.table.columns:
            return name
        return self.renamed.get(name, name)

    def resolve_all(self, names: Iterable[str]) -> list[str]:
        """The names that several columns have here."""
        return [self.resolve(name) for name in names]

    def resolve_optional(self, name: str | None) -> str | None:
        """The name that a column has here; None for no column."""
        if name is None:
            return None
        return self.resolve(name)


def read_results_file(path: Path) -> Results:
    """Read a CSV or parquet file.

    Args:
        path: of the file, which may be a link.

    Raises:
        ValueError: it is no such file, too large, damaged, or names a column twice.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise ValueError(
            f"a file of results must end in {', '.join(ENDINGS)}, got {path}"
        )
    if ending in PARQUET_ENDINGS:
        kind = "parquet file"
        names, rows = _read_parquet(path)
        places = [f"{path}, row {number}" for number, _ in enumerate(rows, 1)]
    else:
        kind = "CSV file"
        names, rows, lines = _read_csv(path)
        places = [f"{path}, line {number}" for number in lines]
    _check_names(path, names)
    if not rows:
        raise ValueError(f"{path} must have rows below the names of its columns")
    columns = {}
    for name, *cells in zip(names, *rows, strict=True):
        columns[name] = typed(cells)
    table = pd.DataFrame(columns, index=places, dtype=object)
    return Results(kind, table)


def table_of_rows(rows: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """A table of runs whose cells are typed column by column, see `typed`.

    Args:
        rows: values by name of the column, by the place of the run; a row may lack
            columns that others have.
    """
    columns: dict[str, Any] = {}
    for row in rows.values():
        columns.update(dict.fromkeys(row))
    for name in columns:
        cells = [row.get(name) for row in rows.values()]
        columns[name] = typed(cells)
    return pd.DataFrame(columns, index=list(rows), dtype=object)


def _check_names(path: Path, names: list[str]) -> None:
    check_size(path, 0, len(names))
    for name, count in Counter(names).items():
        if count > 1:
            raise ValueError(
                f"{path} must name every column once, {name!r} comes {count} times"
            )


def check_size(
    path: Path,
    rows: int,
    columns: int,
) -> None:
    """Refuse a table that is too large to be one of results.

    Raises:
        ValueError: names the bound.
    """
    cells = rows * columns
    if rows > MOST_ROWS or columns > MOST_COLUMNS or cells > MOST_CELLS:
        raise ValueError(
            f"{path} must have at most {MOST_ROWS:,} rows, {MOST_COLUMNS:,} columns "
            f"and {MOST_CELLS:,} cells"
        )


def _read_csv(path: Path) -> tuple[list[str], list[list[Any]], list[int]]:
    """Names of the columns, rows, and the line in which each row begins."""
    with open_regular(path.resolve(), LARGEST_FILE) as file:
        content = file.read(LARGEST_FILE + 1)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} must be text in UTF-8; byte {error.start} is not"
        ) from error
    separator = _separator(text, path)
    csv.field_size_limit(LONGEST_CELL)
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=separator, strict=True)
    try:
        return _checked_rows(path, reader)
    except csv.Error as error:
        raise ValueError(
            f"{path}, line {reader.line_num} is not readable ({error})"
        ) from error


def _separator(text: str, path: Path) -> str:
    """The separator that is most frequent in the first line."""
    if path.suffix.lower() == ".tsv":
        return "\t"
    head = text.partition("\n")[0]
    return max(SEPARATORS, key=head.count)


def _checked_rows(
    path: Path, reader: Any
) -> tuple[list[str], list[list[Any]], list[int]]:
    header: list[str] = next(reader, [])
    names = []
    for place, name in enumerate(header, 1):
        names.append(name.strip() or f"column {place}")
    rows = []
    lines = []
    first_line = reader.line_num + 1
    for row in reader:
        line = first_line
        first_line = reader.line_num + 1
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if len(cells) != len(names):
            raise ValueError(
                f"{path}, line {line} must have {len(names)} columns as the first "
                f"line has, it has {len(cells)}"
            )
        rows.append(cells)
        lines.append(line)
        check_size(path, len(rows), len(names))
    return names, rows, lines


def _read_parquet(path: Path) -> tuple[list[str], list[list[Any]]]:
    """Names of the columns, and rows."""
    if find_spec("pyarrow") is None:
        raise ValueError(
            f"{path} needs the package pyarrow: pip install 'normlab[parquet]'"
        )
    with open_regular(path.resolve(), LARGEST_FILE) as source:
        with _reading(path):
            file = open_parquet(source, LARGEST_FILE, MOST_CELLS)
        check_size(path, file.metadata.num_rows, file.metadata.num_columns)
        with _reading(path):
            return file.schema_arrow.names, _unpacked_rows(file)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Name the file in errors about its content."""
    try:
        yield
    except TooLarge as error:
        raise ValueError(f"{path} must {error}") from error
    # Any type: a damaged file leads to whatever pyarrow makes of it.
    except Exception as error:
        raise ValueError(f"{path} is not readable ({first_line(error)})") from error


def _unpacked_rows(file: Any) -> list[list[Any]]:
    """The rows of a parquet file as values of Python."""
    rows: list[list[Any]] = []
    for batch in read_batches(file, LARGEST_FILE):
        columns = map(_column_values, batch.columns)
        rows += map(list, zip(*columns, strict=True))
    return rows


def _column_values(column: Any) -> list[Any]:
    """The values of a column of a batch; None where nothing is stored."""
    from pyarrow import types

    values: list[Any] = column.to_pylist()
    kind = column.type
    if not types.is_float16(kind) and not types.is_float32(kind):
        return values
    # Python has no type for numbers in single or half precision, NumPy has.
    numbers = column.to_numpy(zero_copy_only=False)
    for place, number in enumerate(numbers):
        if values[place] is not None:
            values[place] = shortest_decimal(number)
    return values


def typed(cells: list[Any]) -> list[Any]:
    """Cells as whole numbers, numbers or truth values if all of them are, or as text.

    Columns that hold anything else than text, such as those of parquet files, stay.

    Args:
        cells: one column.
    """
    known = [_without(MISSING, cell) for cell in cells]
    if not all(isinstance(cell, str | None) for cell in known):
        return list(map(_scalar, known))
    # `none` is a word: many an experiment has an arm of this name.
    numbers = [_without(MISSING_NUMBERS, cell) for cell in known]
    if any(cell is not None for cell in numbers):
        for parse in (_whole, _real, _truth):
            try:
                return _parsed(numbers, parse)
            except ValueError:
                continue
    return known


def _parsed(cells: list[str | None], parse: Callable[[str], Any]) -> list[Any]:
    """The cells as what `parse` makes of them; None stays."""
    values: list[Any] = []
    for cell in cells:
        if cell is not None:
            values.append(parse(cell))
        else:
            values.append(None)
    return values


def _without(words: tuple[str, ...], cell: Any) -> Any:
    """The cell, or None if it is one of the words that stand for no value."""
    if not isinstance(cell, str):
        return cell
    if cell.strip().lower() in words:
        return None
    return cell


def _scalar(cell: Any) -> Any:
    """A cell of parquet: a number, text or truth value; all else becomes text."""
    if isinstance(cell, bool | int | float | str | None):
        return cell
    return str(cell)


def _whole(text: str) -> int:
    return int(_without_underscore(text))


def _real(text: str) -> float:
    return float(_without_underscore(text))


def _without_underscore(text: str) -> str:
    """The text. Python would allow underscores between digits."""
    if "_" in text:
        raise ValueError(text)
    return text


def _truth(text: str) -> bool:
    lower = text.lower()
    if lower not in ("true", "false"):
        raise ValueError(text)
    return lower == "true"
