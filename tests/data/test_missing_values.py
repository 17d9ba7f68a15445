"""Markers of missing values are compared by value and noted if they occur nowhere."""

import math

import pytest

from normlab.data.columns import read_text
from normlab.data.missing_values import MISSING

MINUS_999 = "a,b,y\n-999.00,1,1\n2,-999,2\n3,3,3\n4,1e9,4\n5,5,5\n"


def gaps(write, text, markers):
    """Row and column of every missing value."""
    table = read_text(write(text), ",", markers)
    indices = table.isna().to_numpy().nonzero()
    return [
        (int(row) + 1, table.columns[column])
        for row, column in zip(*indices, strict=True)
    ]


@pytest.mark.parametrize("marker", [-999, -999.0, "-999", "-999.0", "-9.99e2"])
def test_a_number_stands_for_its_value(write, marker):
    assert gaps(write, MINUS_999, [marker]) == [(1, "a"), (2, "b")]


@pytest.mark.parametrize("marker", [1e9, 1000000000, "1e9"])
def test_large_numbers_stand_for_their_value(write, marker):
    assert gaps(write, MINUS_999, [marker]) == [(4, "b")]


@pytest.mark.parametrize(
    ("marker", "word"), [(None, "null"), (math.nan, "nan"), (True, "true")]
)
def test_a_value_of_yaml_stands_for_its_word(write, marker, word):
    text = f"a,y\n{word},1\n2,{word.upper()}\n3,{word}s\n"
    assert gaps(write, text, [marker]) == [(1, "a"), (2, "y")]


def test_texts_stand_for_themselves(write):
    text = "a,y\nNA,1\n?,2\nna,3\nNaN,4\n,5\n"
    assert gaps(write, text, MISSING) == [(1, "a"), (2, "a"), (4, "a"), (5, "a")]
    assert gaps(write, text, []) == [(5, "a")]


def test_markers_that_occur_nowhere_are_noted(write, capsys):
    path = write(MINUS_999)
    read_text(path, ",", [*MISSING, -999, -99, None, "none"])
    assert capsys.readouterr().err == (
        f"note: dataset.missing: -99 occurs nowhere in {path}\n"
        f"note: dataset.missing: null occurs nowhere in {path}\n"
        f"note: dataset.missing: none occurs nowhere in {path}\n"
    )
