"""Tables in CSV that spreadsheets open without evaluating anything in them."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def without_formulas(frame: "pd.DataFrame") -> "pd.DataFrame":
    """A table with no cell or header that a spreadsheet takes for a formula."""
    return frame.apply(_without_formulas).rename(columns=without_formula)


def _without_formulas(column: "pd.Series") -> "pd.Series":
    """A column of texts without formulas; numbers keep their type, and their digits."""
    if column.dtype.kind != "O":
        return column
    return column.map(without_formula)


def without_formula(cell: Any) -> Any:
    """A cell of a table that no spreadsheet takes for a formula.

    A text that begins with one of `=+-@` gets an apostrophe in front, unless it is a
    number. Names of settings and arms, reasons, and names of classes and files come
    from other people.
    """
    if not isinstance(cell, str) or not cell.startswith(("=", "+", "-", "@")):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell
