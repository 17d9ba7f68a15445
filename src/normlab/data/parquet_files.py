"""Read a parquet file as a table of text, like any other table.

Numbers become the shortest text that stands for them, so that none is changed.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import pandas as pd

from normlab.data.downloads import open_data
from normlab.data.mapped import memory_limit
from normlab.data.notes import note_once
from normlab.data.table_files import LARGEST_TABLE
from normlab.messages import first_line
from normlab.parquet import TooLarge, open_parquet, read_batches

ENDINGS = (".parquet", ".pq")
BYTES_PER_CELL = 100  # of a short text in Python, with the references to it
INDEX = "__index_level_0__"  # the column in which pandas stores an index without a name


def is_parquet(path: str) -> bool:
    """Whether the name of a file says that it is a parquet file."""
    return str(path).lower().endswith(ENDINGS)


def read_parquet(path: str) -> pd.DataFrame:
    """The columns of a parquet file as text, None where a value is missing.

    Columns that are no text or numbers, such as lists, records and bytes, have the name
    of their type in every row. They can be left out, but not be used.

    Args:
        path: of the file.

    Raises:
        ValueError: it is no parquet file, too large, or pyarrow is not installed.
    """
    if find_spec("pyarrow") is None:
        raise ValueError(f"{path} needs the package pyarrow: install it")
    if not Path(path).exists():
        raise ValueError(
            f"dataset.root must be a file with a table; there is no file {path}"
        )
    with open_data(Path(path)) as source:
        most_cells = memory_limit() // BYTES_PER_CELL
        try:
            names, columns = _columns(source, most_cells)
        except TooLarge as error:
            raise ValueError(f"{path} must {error}") from error
        # Any type: a damaged file leads to whatever pyarrow makes of it.
        except Exception as error:
            raise ValueError(
                f"{path} is no parquet file: {first_line(error)}"
            ) from error
    num_rows = max(map(len, columns), default=0)
    index = range(1, num_rows + 1)
    frame = pd.DataFrame(dict(enumerate(columns)), dtype=object, index=index)
    frame = frame.set_axis(names, axis=1)
    if INDEX in names:
        note_once(f"{path}: the column {INDEX} holds row numbers and is left out")
        frame = frame.drop(columns=INDEX)
    return frame


def _columns(source: IO[bytes], most_cells: int) -> tuple[list[str], list[list]]:
    """The names of the columns of a parquet file, and their cells as text."""
    from pyarrow import parquet

    schema = parquet.read_schema(source)
    file = open_parquet(source, LARGEST_TABLE)
    # Lists are one cell each: they become the name of their type.
    if file.metadata.num_rows * len(schema) > most_cells:
        raise TooLarge(
            f"have at most {most_cells:,} cells, which fill the memory; store fewer "
            "rows or columns"
        )
    columns: list[list[str | None]] = [[] for _ in schema]
    for batch in read_batches(file, LARGEST_TABLE):
        parts = zip(columns, batch.columns, schema.types, strict=True)
        for cells, part, kind in parts:
            cells += _text(part, kind)
    return schema.names, columns


def _text(column: Any, kind: Any) -> list[str | None]:
    """A column of some rows as text.

    Args:
        column: a `pyarrow.Array`; its texts may be dictionaries.
        kind: its type, in which texts are texts.
    """
    import pyarrow
    from pyarrow import compute, types

    names: list[str | None] = [str(kind)] * len(column)
    stored = column.type
    if types.is_dictionary(stored):
        if types.is_binary(stored.value_type):
            return names
        return _text_of_codes(column, kind)
    if isinstance(stored, pyarrow.BaseExtensionType):  # such as UUIDs
        stored = stored.storage_type
    if types.is_nested(stored) or types.is_fixed_size_binary(stored):
        return names
    is_missing = column.is_null(nan_is_null=types.is_floating(stored))
    try:
        text = column.cast(pyarrow.string())
    except pyarrow.ArrowNotImplementedError:
        return names
    text = compute.utf8_trim_whitespace(text)
    cells: list[str | None] = compute.if_else(is_missing, None, text).to_pylist()
    return cells


def _text_of_codes(column: Any, kind: Any) -> list[str | None]:
    """A column whose texts are a dictionary, most of which its rows may not use.

    Equal cells are one object. A cast would first reserve memory for texts of the mean
    length, which a single long text makes too much.
    """
    codes = column.indices
    used = codes.unique().drop_null()
    texts = _text(column.dictionary.take(used), kind)
    by_code = dict(zip(used.to_pylist(), texts, strict=True))
    return [by_code.get(code) for code in codes.to_pylist()]
