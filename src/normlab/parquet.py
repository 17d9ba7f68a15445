"""Read parquet files, which may come from somebody else, within bounds.

A file of a megabyte may hold gigabytes, since values that repeat are stored once. So
sizes are compared before values are unpacked: those that the head of the file states,
and those that follow from the lengths of its texts. The head may state too little:
while values are unpacked, the memory of the process is limited, where the system can.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from threading import Lock
from typing import IO, Any

from normlab.files import MEGABYTE

BATCH_ROWS = 4096  # that are unpacked at once, or more if they have many texts
SPARE_BYTES = 1024 * MEGABYTE  # that reading may take beyond the values
LIMITING = Lock()  # the limit is one for all threads
COPIED_BYTES = 256 * MEGABYTE  # of the texts of a row group
# Bytes of a value in memory; of a text, those of its place in a dictionary. Other types
# have a length of their own.
WIDTHS = {
    "BOOLEAN": 1,
    "INT32": 4,
    "INT64": 8,
    "INT96": 12,
    "FLOAT": 4,
    "DOUBLE": 8,
    "BYTE_ARRAY": 4,
}


class TooLarge(Exception):
    """A file that exceeds a bound, or may do so without a sign of it.

    The text says what it must do, without its path.
    """


def open_parquet(
    source: IO[bytes],
    most_bytes: int,
    most_values: int | None = None,
) -> Any:
    """Open a parquet file whose head is within bounds.

    Args:
        source: the file.
        most_bytes: bytes that all its values may take.
        most_values: number of its values, those in lists counted one by one; None if
            their bytes are bound enough.

    Returns:
        a `pyarrow.parquet.ParquetFile`, whose texts are read as dictionaries.

    Raises:
        TooLarge: names the bound.
        Exception: of any type that pyarrow raises for a damaged file.
    """
    from pyarrow import parquet

    metadata = parquet.read_metadata(source)
    _check_head(metadata, most_bytes, most_values)
    options: dict[str, Any] = {
        "read_dictionary": _text_columns(metadata.schema),
        "pre_buffer": False,  # by threads, see `_next_batch`
    }
    # JSON is text, then. In older versions of pyarrow it always is.
    plain = "arrow_extensions_enabled"
    if plain in signature(parquet.ParquetFile).parameters:
        options[plain] = False
    return parquet.ParquetFile(source, **options)


def _check_head(
    metadata: Any,
    most_bytes: int,
    most_values: int | None,
) -> None:
    """Refuse a file that is too large by what its head says."""
    size = 0
    values = 0
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        for number in range(group.num_columns):
            chunk = group.column(number)
            _check_encodings(chunk)
            _check_counts(chunk)
            length = metadata.schema.column(number).length
            width = WIDTHS.get(chunk.physical_type, length)
            # Values that repeat, or are missing, are stored once.
            unpacked = chunk.num_values * width
            size += max(unpacked, chunk.total_uncompressed_size)
            values += chunk.num_values
    _check_bytes(size, most_bytes)
    if most_values is not None and values > most_values:
        raise TooLarge(f"have at most {most_values:,} values in its lists")


def _check_counts(chunk: Any) -> None:
    """Refuse negative numbers, of which one would make up for a large one."""
    if min(chunk.num_values, chunk.total_uncompressed_size) < 0:
        raise TooLarge(
            f"state the size of its column {chunk.path_in_schema}, got a negative one"
        )


def _check_encodings(chunk: Any) -> None:
    """Refuse texts that are stored as differences, whose size the head does not say.

    Nor can they be read as dictionaries.
    """
    if chunk.physical_type != "BYTE_ARRAY":
        return
    for encoding in chunk.encodings:
        if encoding.startswith("DELTA"):
            raise TooLarge(
                f"store the texts of its column {chunk.path_in_schema} without the "
                f"encoding {encoding}; read it and write it again with pyarrow"
            )


def _text_columns(schema: Any) -> list[int]:
    """The numbers of columns of texts, of which a file stores equal ones once.

    Read as dictionaries, they stay so until the size of all values is known. Decimals
    cannot be read in this way.
    """
    found = []
    for number in range(len(schema)):
        column = schema.column(number)
        if column.physical_type != "BYTE_ARRAY":
            continue
        if column.logical_type.type == "DECIMAL":
            raise TooLarge(
                f"store the decimals of its column {column.path} in a fixed length; "
                "read it and write it again with pyarrow"
            )
        found.append(number)
    return found


def read_batches(file: Any, most_bytes: int) -> Iterator[Any]:
    """The rows of a parquet file, a few at a time.

    Args:
        file: what `open_parquet` returned.
        most_bytes: bytes that all its values may take, where a text counts as often as
            it occurs.

    Yields:
        a `pyarrow.RecordBatch`, in which texts are dictionaries. Do not collect them:
        each of them has all texts of its row group up to there.

    Raises:
        TooLarge: the rows up to this one take more.
        ValueError: there are more or fewer rows than the head of the file states.
    """
    stated = file.metadata.num_rows
    must = f"the number of its rows must be {stated:,}, as its head states; there are"
    num_rows = 0
    size = 0
    # A batch of two row groups would have two dictionaries, which lists do not allow.
    for number in range(file.num_row_groups):
        rows = _batch_rows(file.metadata.row_group(number))
        batches = file.iter_batches(rows, row_groups=[number], use_threads=False)
        while (batch := _next_batch(batches, most_bytes)) is not None:
            size += sum(map(_unpacked_bytes, batch.columns))
            _check_bytes(size, most_bytes)
            num_rows += batch.num_rows
            if num_rows > stated:
                raise ValueError(f"{must} more")
            yield batch
    if num_rows < stated:
        raise ValueError(f"{must} {num_rows:,}")


def _next_batch(batches: Iterator[Any], most_bytes: int) -> Any:
    """The next batch, None after the last.

    It is read in this thread. Others of pyarrow end the process if they get no memory.
    """
    most = most_bytes + SPARE_BYTES
    try:
        with LIMITING, memory_limited(most):
            return next(batches, None)
    except MemoryError as error:
        raise TooLarge(
            f"take at most {most // MEGABYTE} MiB of memory to read, and no more than "
            "there is"
        ) from error


@contextmanager
def memory_limited(most_bytes: int) -> Iterator[None]:
    """Limit by how much the memory of this process may grow in the `with` block.

    The limit is one for all threads, so they must enter the block one after the other.
    Windows and macOS have no such limit; nothing is limited there.

    Args:
        most_bytes: of address space, beyond what is in use now.
    """
    pages = Path("/proc/self/statm")
    if find_spec("resource") is None or not pages.is_file():
        yield
        return
    import resource

    size = int(pages.read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limits = [size + most_bytes]
    for limit in (soft, hard):
        if limit != resource.RLIM_INFINITY:
            limits.append(limit)
    resource.setrlimit(resource.RLIMIT_AS, (min(limits), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _batch_rows(group: Any) -> int:
    """Rows of a batch of a row group.

    Every batch has a copy of all texts of its row group up to there, however few of
    them its rows use. So there are few batches if there are many texts.
    """
    size = 0
    for number in range(group.num_columns):
        chunk = group.column(number)
        if chunk.physical_type == "BYTE_ARRAY":
            size += chunk.total_uncompressed_size
    most_copies = max(1, COPIED_BYTES // max(1, size))
    return max(BATCH_ROWS, math.ceil(group.num_rows / most_copies))


def _unpacked_bytes(array: Any) -> int:
    """Bytes of an array, where a text counts as often as it occurs."""
    from pyarrow import compute, types

    kind = array.type
    if types.is_dictionary(kind):
        lengths = compute.binary_length(array.dictionary)
        total = compute.sum(lengths.take(array.indices)).as_py()
        return int(total or 0)
    if not types.is_nested(kind):
        return int(array.nbytes)
    if types.is_struct(kind):
        parts = array.flatten()
    elif types.is_map(kind):
        parts = [array.keys, array.items]
    else:
        parts = [array.flatten()]
    return sum(map(_unpacked_bytes, parts))


def _check_bytes(size: int, most_bytes: int) -> None:
    """Refuse a small file that unpacks to a large one."""
    if size > most_bytes:
        most = most_bytes // MEGABYTE
        raise TooLarge(f"unpack to at most {most} MiB; store fewer rows or columns")
