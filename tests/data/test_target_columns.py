"""Targets as numbers and as classes."""

import pytest

from normlab.data.columns import read_text
from normlab.data.target_columns import class_targets, number_targets


@pytest.fixture
def path(tmp_path):
    return tmp_path / "table.csv"


def test_numbers_of_one_value_are_one_class(path, capsys):
    path.write_text("n,y\n1,1\n2,1.0\n3,0\n4,1.00\n5,0.50\n6,.5\n7,007\n")
    indices, names = class_targets(read_text(str(path), ",", [])["y"], "table.csv")
    assert names == ("0", "0.5", "1", "007")
    assert indices.tolist() == [2, 2, 0, 2, 1, 1, 3]
    assert capsys.readouterr().err == (
        "note: table.csv: 1, 1.0, 1.00 are taken for one class\n"
        "note: table.csv: .5, 0.50 are taken for one class\n"
    )


def test_a_target_that_is_one_number_in_two_spellings_is_refused(path):
    path.write_text("n,y\n1,1\n2,1.0\n")
    with pytest.raises(ValueError, match="target y is 1 in every row"):
        class_targets(read_text(str(path), ",", [])["y"], "f")


def test_targets(path):
    path.write_text("n,c,k,e,s\n1.5,b,10,1,7\n2,a,9,,7\n3,b,10,,7\n")
    table = read_text(str(path), ",", ["NA"])
    assert number_targets(table["n"], "f").tolist() == [1.5, 2.0, 3.0]
    indices, names = class_targets(table["c"], "f")
    assert (indices.tolist(), names) == ([1, 0, 1], ("a", "b"))
    assert class_targets(table["k"], "f")[1] == (
        "9",
        "10",
    )  # numbers in their own order
    with pytest.raises(
        ValueError,
        match="column c must hold numbers, row 1 has 'b'; "
        ".*dataset.task=classification",
    ):
        number_targets(table["c"], "f")
    with pytest.raises(
        ValueError,
        match="every row must have a target, column e is empty in row 2 and 1 more",
    ):
        number_targets(table["e"], "f")
    path.write_text("t\n1\nnan\n3\n")
    for missing, message in (
        ([], "column t must hold numbers, row 2 has 'nan'"),
        (["nan"], "t is empty in row 2;"),
    ):
        with pytest.raises(ValueError, match=message):
            number_targets(read_text(str(path), ",", missing)["t"], "f")
    with pytest.raises(ValueError, match="row 1 has 'b'; ask the author$"):
        number_targets(table["c"], "f", "ask the author")
    for targets in (number_targets, class_targets):
        with pytest.raises(ValueError, match="target s is 7 in every row"):
            targets(table["s"], "f")
