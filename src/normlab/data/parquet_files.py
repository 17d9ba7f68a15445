"""Read a parquet file as a table of text, like any other table.

Numbers become the shortest text that stands for them, so that none is changed.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import pandas as pd

from normlab.data.downloads import first_line, open_data
from normlab.data.mapped import memory_limit
from normlab.data.notes import note_once
from normlab.data.table_files import GIGABYTE, LARGEST_TABLE
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
            table = _decoded(source, most_cells)
        except TooLarge as error:
            raise ValueError(
                f"{path} must have at most {LARGEST_TABLE // GIGABYTE} GiB and "
                f"{most_cells:,} cells, which fill the memory; store fewer rows or "
                f"columns"
            ) from error
        # Any type: a damaged file leads to whatever pyarrow makes of it.
        except Exception as error:
            raise ValueError(
                f"{path} is no parquet file: {first_line(error)}"
            ) from error
    names = table.column_names
    if INDEX in names:
        note_once(f"{path}: the column {INDEX} holds row numbers and is left out")
        table = table.drop_columns([INDEX])
    columns = [_text(column) for column in table.columns]
    index = range(1, table.num_rows + 1)
    frame = pd.DataFrame(dict(enumerate(columns)), dtype=object, index=index)
    return frame.set_axis(table.column_names, axis=1)


def _decoded(source: IO[bytes], most_cells: int) -> Any:
    """The table in a parquet file, whose texts are values of their rows."""
    import pyarrow
    from pyarrow import parquet

    schema = parquet.read_schema(source)
    file = open_parquet(source, LARGEST_TABLE, most_cells)
    # All of them first: what is too large is refused before any text is repeated.
    batches = list(read_batches(file, LARGEST_TABLE))
    tables = [_dense(file.schema_arrow.empty_table(), schema)]
    for batch in batches:
        table = _dense(batch, schema)
        tables.append(table)
    return pyarrow.concat_tables(tables)


def _dense(table: Any, schema: Any) -> Any:
    """A table, or a batch of one, in which every row holds its values themselves.

    Of nested columns, every row holds the name of the type.

    Args:
        table: texts in it are dictionaries.
        schema: of the same columns, in which texts are texts.
    """
    import pyarrow
    from pyarrow import types

    columns = []
    for column, kind in zip(table.columns, schema.types, strict=True):
        if types.is_nested(kind):
            column = pyarrow.repeat(str(kind), len(column))
        elif types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        columns.append(column)
    return pyarrow.table(columns, names=table.schema.names)


def _text(column: Any) -> list[str | None]:
    """One column of a parquet file as text."""
    import pyarrow
    from pyarrow import compute, types

    kind = column.type
    name = str(kind)
    is_missing = column.is_null(nan_is_null=types.is_floating(kind))
    if isinstance(kind, pyarrow.BaseExtensionType):  # such as UUIDs
        kind = kind.storage_type
    is_bytes = types.is_binary(kind) or types.is_large_binary(kind)
    if is_bytes or types.is_fixed_size_binary(kind):
        return [name] * len(column)
    try:
        text = column.cast(pyarrow.string())
    except pyarrow.ArrowNotImplementedError:
        return [name] * len(column)
    text = compute.utf8_trim_whitespace(text)
    return compute.if_else(is_missing, None, text).to_pylist()
