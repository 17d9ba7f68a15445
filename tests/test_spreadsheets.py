"""Cells of tables that no spreadsheet takes for formulas."""

import pandas as pd
import pytest

from normlab.spreadsheets import without_formula, without_formulas


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("@x", "'@x"),
        ("+x", "'+x"),
        ("-x", "'-x"),
        ("-0.5", "-0.5"),
        ("norm=none", "norm=none"),
        (-0.5, -0.5),
        (None, None),
    ],
)
def test_a_cell_is_no_formula(cell, written):
    assert without_formula(cell) == written


def test_neither_cells_nor_headers_of_a_table_are_formulas():
    frame = pd.DataFrame({"=1+1": ["=2+2", "none"], "mean": [-0.5, 0.25]})
    found = without_formulas(frame)
    assert found.columns.tolist() == ["'=1+1", "mean"]
    assert found["'=1+1"].tolist() == ["'=2+2", "none"]
    assert found["mean"].tolist() == [-0.5, 0.25]
