"""What the texts in the cells of a table mean: numbers, and names of classes."""

import re
from decimal import Decimal

import numpy as np
import pandas as pd

from normlab.data.notes import note_once

LARGEST = float(np.finfo(np.float32).max)
MOST_SPELLINGS_SHOWN = 5  # in a note

# Decimal numbers without leading zeros: 007 is a code and not the number 7.
PLAIN_NUMBER = re.compile(
    r"[+-]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,2})?"
)
THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d*)?")


def commas_meaning(texts: pd.Series) -> tuple[str, str] | None:
    """What commas in the texts seem to mean, and what to do.

    None if the texts are no numbers with commas.
    """
    if not texts.str.contains(",").all():
        return None
    if texts.str.fullmatch(THOUSANDS.pattern).all():
        return "commas between thousands", "write the numbers without them"
    with_points = texts.str.replace(",", ".")
    numbers = pd.to_numeric(with_points, errors="coerce")
    if numbers.notna().all():
        return "a decimal comma", "write a decimal point"
    return None


def numbers_of(
    text: pd.Series, path: str, remedy: str | None, values: pd.Series | None = None
) -> pd.Series:
    """Convert a column to float64, NaN where a value is missing.

    Args:
        text: the column, from `read_text`.
        path: of the file, for messages.
        remedy: what an error message advises; None for the options of `dataset=csv`.
        values: the column as pandas converts it, NaN for what is no number. None
            converts it here.

    Raises:
        ValueError: a cell is no number, or too large for float32.
    """
    if values is None:
        values = pd.to_numeric(text, errors="coerce")
    values = values.astype(np.float64)
    is_number = values.abs() <= LARGEST  # which NaN is not
    wrong = text[text.notna() & ~is_number]
    if wrong.empty:
        return values

    advice = (
        "correct it, add it to dataset.missing, "
        f"or put {text.name} into dataset.categorical"
    )
    guess = ""
    commas = commas_meaning(wrong[:1])
    if commas is not None:
        # The other numbers with commas tell 1,234 and 1,2345 apart.
        with_commas = wrong[wrong.str.contains(",")]
        what, advice = commas_meaning(with_commas) or commas
        guess = f" ({what}?)"
    raise ValueError(
        f"{path}: column {text.name} must hold numbers, "
        f"row {wrong.index[0]} has {wrong.iloc[0]!r}{guess}; {remedy or advice}"
    )


def one_spelling(text: pd.Series, path: str, what: str) -> pd.Series:
    """Spell each number in a column of classes or categories in one way.

    1, 1.0 and 1.00 become 1. Programs that once read a column as real numbers write
    them so.

    Args:
        text: the column, from `read_text`.
        path: of the file, for the note.
        what: what numbers of one value are taken for, as in "one class".
    """
    spellings: dict[str, list[str]] = {}
    for value in text.dropna().unique():
        spellings.setdefault(_shortest(value), []).append(value)
    merged = []
    shortest: dict[str, str] = {}
    for short, names in spellings.items():
        shortest |= dict.fromkeys(names, short)
        if len(names) > 1:
            merged.append(names)
    for names in merged[:MOST_SPELLINGS_SHOWN]:
        shown = ", ".join(sorted(names))
        note_once(f"{path}: {shown} are taken for {what}")
    return text.map(shortest).astype(object)


def _shortest(value: str) -> str:
    """The shortest spelling of a plain number; any other text as it is."""
    # Decimal has 28 digits.
    if len(value) > 28 or not PLAIN_NUMBER.fullmatch(value):
        return value
    number = Decimal(value).normalize()
    return format(number if number else Decimal(0), "f")
