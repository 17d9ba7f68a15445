"""Read a text file as rows of cells. Encoding and separator are found by content."""

import codecs
import csv
import io
import re
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

from normlab.data.downloads import data_path, open_data
from normlab.data.notes import note_once
from normlab.messages import first_line

GIGABYTE = 2**30
LARGEST_TABLE = 4 * GIGABYTE  # of text, after decompression
MOST_LINES_TRIED = 50  # to find the separator
TRIED_CHARACTERS = 2**20

# Separators that are tried if the file does not have the configured one, in this order.
SEPARATORS = {
    "\t": "tabs",
    ";": "semicolons",
    "|": "vertical bars",
    ",": "commas",
    " ": "spaces",
}

# Longer marks first: that of UTF-32 begins like that of UTF-16.
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
CONTROL_CHARACTERS = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f]")
END = "\0END"  # a last line that no file has


def read_cells(
    path: str, separator: str, encoding: str | None = None
) -> list[list[str]]:
    """Read a file as a table of text.

    Args:
        path: of the file, whose first line names the columns. It may be compressed, if
            its ending says so.
        separator: the character between columns. If the first line does not have it,
            another one is looked for, and a note says which was found.
        encoding: of the file. None finds it by the content.

    Returns:
        The cells of each line that is not blank, without surrounding blanks. All lines
        have the same number of cells.

    Raises:
        ValueError: the file cannot be read, or the line that is named has more or fewer
            cells than the first one.
    """
    wanted = _one_character(separator)
    if not data_path(path, "a file with a table").exists():
        raise ValueError(
            f"dataset.root must be a file with a table; there is no file {path}"
        )
    content = _content(path, separator)
    text = _decoded(content, path, encoding)
    found = _separator_of(text, wanted)
    if found != wanted:
        note_once(
            f"{path} is read with columns separated by {SEPARATORS[found]} "
            f"(dataset.separator={found!r})"
        )
    return _rows(text, found, path)


def _one_character(separator: str) -> str:
    r"""The separator itself, where a command line has `\t` for a tab."""
    if separator == r"\t":
        return "\t"
    if not isinstance(separator, str) or len(separator) != 1:
        raise ValueError(
            f"dataset.separator must be one character, got {separator!r}; "
            r"a tab is dataset.separator='\t'"
        )
    return separator


def _content(path: str, separator: str) -> bytes:
    """The bytes of a file, decompressed if its ending says that it is compressed."""
    # pandas decompresses by endings in this private module, checked with version 3.1.
    # Its stubs do not have it.
    from pandas.io.common import (  # type: ignore[import-not-found]
        get_handle,
        infer_compression,
    )

    try:
        with open_data(Path(path)) as file:
            compression = infer_compression(path, "infer")
            with get_handle(
                file, "rb", compression=compression, is_text=False
            ) as opened:
                content = opened.handle.read(LARGEST_TABLE + 1)
    # Any type: the readers of .zip, .xz and other formats each raise their own.
    except Exception as error:
        raise ValueError(
            f"{path} is no table with columns separated by {separator!r}: "
            f"{first_line(error)}"
        ) from error
    if len(content) > LARGEST_TABLE:
        raise ValueError(
            f"{path} must have at most {LARGEST_TABLE // GIGABYTE} GiB of text"
        )
    return content


def _decoded(content: bytes, path: str, encoding: str | None) -> str:
    """The text of a file.

    Raises:
        ValueError: it has another encoding, or is no text.
    """
    wanted = encoding or _marked_encoding(content)
    try:
        text = content.decode(wanted or "utf-8")
    except LookupError as error:
        raise ValueError(
            "dataset.encoding must be null or an encoding that Python knows, such as "
            f"cp1251, got {encoding!r}"
        ) from error
    except UnicodeDecodeError as error:
        found = None if wanted else _one_byte_encoding(content)
        if found is None:
            raise ValueError(
                f"{path} is no readable text ({error}); set dataset.encoding, or store "
                "the file in UTF-8"
            ) from error
        note_once(f"{path} is not in UTF-8 and is read in the encoding {found}")
        return content.decode(found)
    if encoding is None and wanted not in (None, "utf-8-sig"):
        note_once(f"{path} is read in the encoding {wanted}")
    return text


def _marked_encoding(content: bytes) -> str | None:
    """The encoding that a byte order mark or the zeros of UTF-16 tell, or None."""
    for mark, encoding in BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return encoding
    # In UTF-16, one of the two bytes of a letter or digit in English is zero.
    start = content[:1000]
    if start[1::2].count(0) > len(start) / 4:
        return "utf-16-le"
    if start[0::2].count(0) > len(start) / 4:
        return "utf-16-be"
    return None


def _one_byte_encoding(content: bytes) -> str | None:
    """Latin-1 or its extension by Windows; None for what is no text in either."""
    for encoding in ("latin-1", "cp1252"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        # Latin-1 has control characters where Windows has quotation marks.
        if not CONTROL_CHARACTERS.search(text):
            return encoding
    return None


def _separator_of(text: str, wanted: str) -> str:
    """The wanted separator, or another one that divides the first lines evenly.

    Another one is returned only if the first line does not have the wanted one, so that
    the table would have a single column.
    """
    if _first_widths(text, wanted)[:1] != [1]:
        return wanted
    for separator in SEPARATORS:
        widths = _first_widths(text, separator)
        if widths and widths[0] >= 2 and len(set(widths)) == 1:
            return separator
    return wanted


def _first_widths(text: str, separator: str) -> list[int]:
    """The numbers of cells in the first lines; empty if these cannot be divided."""
    head = text[:TRIED_CHARACTERS]
    if len(head) < len(text):  # the last line may have been cut
        head = head[: head.rfind("\n") + 1]
    lines = _divided(io.StringIO(head, newline=""), separator)
    try:
        return [len(row) for _, row in islice(lines, MOST_LINES_TRIED)]
    except csv.Error:
        return []


def _divided(lines: Iterator[str], separator: str) -> Iterator[tuple[int, list[str]]]:
    """The cells of every line that is not blank, with the number of the line.

    A line of the table has several lines of the file if a cell in quotes has; it gets
    the number of the first one, counted from 1.
    """
    has_spaces = separator == " "
    if has_spaces:
        lines = (line.strip() for line in lines)
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=has_spaces)
    first = 1
    for row in reader:
        cells = [cell.strip() for cell in row]
        if cells not in ([], [""]):  # which are blank lines
            yield first, cells
        first = reader.line_num + 1


def _rows(text: str, separator: str, path: str) -> list[list[str]]:
    """The cells of all lines.

    Raises:
        ValueError: there are none, or a line has more or fewer cells than the first.
    """
    lines = chain(io.StringIO(text, newline=""), [END])
    rows: list[list[str]] = []
    problem = None
    try:
        for number, row in _divided(lines, separator):
            if row == [END]:
                break
            if END in row[-1]:
                problem = f"a quotation mark in line {number} is never closed"
                break
            if rows and len(row) != len(rows[0]):
                problem = (
                    f"every line must have {len(rows[0])} cells, as the first one, "
                    f"line {number} has {len(row)}"
                )
                break
            rows.append(row)
    except csv.Error as error:
        problem = first_line(error)
    if not rows:
        problem = problem or "it is empty"
    if problem is not None:
        raise ValueError(
            f"{path} is no table with columns separated by {separator!r}: {problem}"
        )
    return rows
