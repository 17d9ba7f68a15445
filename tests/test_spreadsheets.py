"""Cells of tables that no spreadsheet takes for formulas."""

import numpy as np
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
        ("a;=x;b; -1", "a;'=x;b; -1"),
        ('x;"=1', "x;'\"=1"),
        ("\t=x\r\n@y", "\t'=x\r\n'@y"),
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


def test_numbers_keep_their_type():
    frame = pd.DataFrame({"arm": pd.Series(["=1", None], dtype="string")})
    frame["category"] = pd.Categorical(["=1", "b"])
    frame["single"] = np.array([0.1, 2.5], dtype=np.float32)
    frame["whole"] = [1, 2]
    frame["mixed"] = ["=1", 0.5]
    found = without_formulas(frame)
    lines = ["arm,category,single,whole,mixed", "'=1,'=1,0.1,1,'=1", ",b,2.5,2,0.5"]
    assert found.to_csv(index=False).splitlines() == lines
    assert found["single"].dtype == np.float32
    assert found["whole"].dtype == np.int64


def test_columns_of_one_name_have_no_formulas():
    frame = pd.DataFrame([["=1", 0.5, "=2"]], columns=["a", "a", "b"])
    assert without_formulas(frame).to_numpy().tolist() == [["'=1", 0.5, "'=2"]]
