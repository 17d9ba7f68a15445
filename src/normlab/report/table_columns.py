"""Columns of tables: what a cell shows of a row, and what it is sorted by."""

import math
from collections.abc import Callable
from typing import Any

from normlab.compare.sentences import NO_NUMBER, number, p_value
from normlab.terminal import without_control

Cell = tuple[str, float | str]  # as shown, as sorted
Row = dict[Any, Any]
Column = Callable[[Row], Cell]


def text_column(key: str) -> Column:
    """The text of a key, its control characters as escapes."""
    return lambda row: (without_control(row[key]), row[key])


def number_column(key: str) -> Column:
    """A score or another number, with as many digits as sentences have."""
    return lambda row: (with_minus(row[key]), row[key])


def count_column(key: str, form: str = ".0f") -> Column:
    """A whole number; a dash for NaN."""
    return lambda row: (formatted(row[key], form), row[key])


def two_decimals_column(key: str) -> Column:
    """A number with two decimals; a dash for NaN."""
    return lambda row: (decimals(row[key]), row[key])


def p_value_column(key: str) -> Column:
    """A p-value without its name; a dash for NaN."""
    return lambda row: (_bare_p_value(row[key]), row[key])


def time_column(key: str) -> Column:
    """A time; `not reached` if it is infinite."""
    return lambda row: (_time_text(row[key]), row[key])


def interval_column(low: str, high: str, show: Callable[[float], str]) -> Column:
    """An interval, sorted by its lower end."""

    def cell(row: Row) -> Cell:
        if math.isnan(row[low]):
            return NO_NUMBER, row[low]
        return f"{show(row[low])} to {show(row[high])}", row[low]

    return cell


def with_minus(value: float) -> str:
    """A number with a true minus sign, as in differences."""
    return f"−{number(-value)}" if value < 0 else number(value)


def formatted(value: float, form: str) -> str:
    """A number in a format of Python; a dash for NaN."""
    return NO_NUMBER if math.isnan(value) else format(value, form)


def decimals(value: float) -> str:
    """A number with two decimals and a true minus sign; a dash for NaN."""
    return formatted(value, ".2f").replace("-", "−")


def _bare_p_value(value: float) -> str:
    """`0.031` or `< 0.001`."""
    if math.isnan(value):
        return NO_NUMBER
    return p_value(value).removeprefix("p = ").removeprefix("p ")


def _time_text(value: float) -> str:
    if math.isinf(value):
        return "not reached"
    return formatted(value, ".4g")
