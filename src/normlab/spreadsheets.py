"""Tables in CSV that spreadsheets open without evaluating anything in them."""

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

# Where a formula begins. Spreadsheets of some countries end a cell at a semicolon, and
# quotes around a part of a cell may be those of CSV.
FORMULA = re.compile(r'(^|[;\t\r\n])(?="*[=+\-@])')


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

    Where one of `=+-@` begins a text, or follows a semicolon, a tab or the end of a
    line, an apostrophe is put in front, unless the text is a number. Names of settings
    and arms, reasons, and names of classes and files come from other people.
    """
    if not isinstance(cell, str) or not FORMULA.search(cell):
        return cell
    try:
        float(cell)
    except ValueError:
        return FORMULA.sub(r"\1'", cell)
    return cell
