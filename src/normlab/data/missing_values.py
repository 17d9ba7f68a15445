"""Find the missing values of a table by the texts and numbers that stand for them."""

import math
from collections.abc import Sequence
from typing import Any

from normlab.data.notes import note_once

# Markers that need not occur in a file.
MISSING = ("", "NA", "NaN", "nan", "?")


def without_missing(table: Any, markers: Sequence[Any], path: str) -> Any:
    """Replace missing values by None, and note markers that occur nowhere.

    Args:
        table: data frame of text.
        markers: what stands for a missing value, besides the empty text. A text stands
            for itself. A number, or a text that is one, stands for all cells with its
            value: -999 for -999.0 and -9.99e2 too. null and NaN, which YAML does not
            take for texts, stand for these words, however they are capitalized.
        path: of the file, for the note.
    """
    texts = [marker for marker in markers if isinstance(marker, str)]
    is_missing = table.isin(["", *texts])
    for marker in markers:
        if marker in MISSING:
            continue
        found = _equal(table, marker)
        if not found.to_numpy().any():
            note_once(f"dataset.missing: {_as_text(marker)} occurs nowhere in {path}")
        is_missing |= found
    return table.where(~is_missing, None)


def _equal(table: Any, marker: Any) -> Any:
    """Whether each cell is the marker."""
    import pandas as pd

    value = _value(marker)
    if isinstance(marker, str):
        found = table.isin([marker])
    else:
        text = _as_text(marker).lower()
        found = table.apply(lambda column: column.str.lower() == text)
    if value is not None:
        found |= table.apply(pd.to_numeric, errors="coerce") == value
    return found


def _value(marker: Any) -> float | None:
    """The value of a number or of a text that is one; None for anything else."""
    if isinstance(marker, bool):
        return None
    try:
        value = float(marker)
    except (TypeError, ValueError):
        return None
    if math.isnan(value):
        return None
    return value


def _as_text(marker: Any) -> str:
    if marker is None:
        return "null"
    if isinstance(marker, bool):
        return str(marker).lower()
    return str(marker)
