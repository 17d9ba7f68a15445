"""Read a parquet file as a table of text, like any other table.

Numbers become the shortest text that stands for them, so that none is changed.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

from normlab.data.downloads import first_line, open_data
from normlab.data.notes import note_once
from normlab.data.table_files import GIGABYTE, LARGEST_TABLE

ENDINGS = (".parquet", ".pq")
MOST_CELLS = 10**9
INDEX = "__index_level_0__"  # the column in which pandas stores an index without a name


def is_parquet(path: str) -> bool:
    """Whether the name of a file says that it is a parquet file."""
    return str(path).lower().endswith(ENDINGS)


def read_parquet(path: str) -> pd.DataFrame:
    """The columns of a parquet file as text, None where a value is missing.

    Columns of lists, records and bytes have the name of their type in every row. They
    can be left out, but not be used.

    Args:
        path: of the file.

    Raises:
        ValueError: it is no parquet file, too large, or pyarrow is not installed.
    """
    if find_spec("pyarrow") is None:
        raise ValueError(f"{path} needs the package pyarrow: install it")
    from pyarrow import parquet

    if not Path(path).exists():
        raise ValueError(
            f"dataset.root must be a file with a table; there is no file {path}"
        )
    with open_data(Path(path)) as source:
        try:
            file = parquet.ParquetFile(source)
            is_too_large = _is_too_large(file.metadata)
            table = None if is_too_large else file.read()
        # Any type: a damaged file leads to whatever pyarrow makes of it.
        except Exception as error:
            raise ValueError(
                f"{path} is no parquet file: {first_line(error)}"
            ) from error
    if table is None:
        raise ValueError(
            f"{path} must have at most {LARGEST_TABLE // GIGABYTE} GiB and "
            f"{MOST_CELLS:,} cells"
        )

    names = table.column_names
    if INDEX in names:
        note_once(f"{path}: the column {INDEX} holds row numbers and is left out")
        table = table.drop_columns([INDEX])
    columns = [_text(column) for column in table.columns]
    index = range(1, table.num_rows + 1)
    frame = pd.DataFrame(dict(enumerate(columns)), dtype=object, index=index)
    return frame.set_axis(table.column_names, axis=1)


def _is_too_large(metadata: Any) -> bool:
    """Whether a file would take too much memory, by what its head says."""
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    size = sum(group.total_byte_size for group in groups)
    cells = metadata.num_rows * metadata.num_columns
    return size > LARGEST_TABLE or cells > MOST_CELLS


def _text(column: Any) -> list[str | None]:
    """One column of a parquet file as text."""
    import pyarrow
    from pyarrow import compute, types

    kind = column.type
    is_missing = column.is_null(nan_is_null=types.is_floating(kind))
    if types.is_dictionary(kind):
        kind = kind.value_type
        column = column.cast(kind)
    if types.is_nested(kind) or types.is_binary(kind) or types.is_large_binary(kind):
        return [str(kind)] * len(column)
    text = compute.utf8_trim_whitespace(column.cast(pyarrow.string()))
    return compute.if_else(is_missing, None, text).to_pylist()
