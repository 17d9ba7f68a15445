import re

import pytest

from normlab.data.columns import (
    choose,
    columns_of,
    note_categories,
    read_text,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "table.csv"


def columns(
    path, text, target="y", categorical=None, drop=(), missing=("", "NA"), separator=","
):
    path.write_text(text)
    table = read_text(str(path), separator, missing)
    choice = choose(table, str(path), target, categorical, drop)
    return columns_of(table, str(path), choice)


def test_blanks_are_stripped_and_missing_values_marked(path):
    table = columns(path, "a, b ,y\n1, x ,1\n NA ,y,2\n\n3,,3\n", categorical=["b"])
    assert table["a"].tolist()[0::2] == [1.0, 3.0]
    assert table["a"].isna().tolist() == [False, True, False]
    assert table["b"].tolist() == ["x", "y", "missing"]


def test_names_lose_byte_order_mark_and_quotes(path):
    path.write_bytes('\ufeff"a","b,c","y"\n1,"p,q",2\n2,r,3\n'.encode())
    assert read_text(str(path), ",", [""]).columns.tolist() == ["a", "b,c", "y"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no table with columns separated by ','"),
        ("a,y\n", "has a line of column names and no rows below it"),
        ("a,a,y\n1,2,3\n", "name every column once in its first line; 'a' comes twice"),
        ("a,,y\n1,2,3\n", "'' comes twice or is empty"),
        (
            "a,y\n1,2\n1,2,3\n",
            "every line must have 2 cells, as the first one, line 3 has 3",
        ),
        (
            "a,y\n1,2\n1\n",
            "every line must have 2 cells, as the first one, line 3 has 1",
        ),
        (
            "a,y\n1,2\nfive,3\n2,4\n",
            "column a must hold numbers, row 2 has 'five'; "
            "correct it, add it to dataset.missing",
        ),
        ("a,y\n1,2\ninf,3\n2,4\n", "column a must hold numbers, row 2 has 'inf'"),
        (
            "a,b,y\n1,5,2\n2,5,3\n3,,4\n",
            "column b is 5.0 in every row; leave it out with dataset.drop=[b]",
        ),
        ("a,b,y\n1,x,2\n2,x,3\n", "column b is x in every row"),
        ("a,b,y\n1,,2\n2,,3\n", "column b holds no value at all"),
        (
            'w,y\n"3,5",1\n"3,5",2\n"3,75",3\n"3,75",4\n',
            "column w: row 1 has '3,5', no number .*; "
            "write a decimal point, or put w into dataset.categorical",
        ),
        (
            "a,w,y\n1,,1\n2,3kg,2\n1,4kg,3\n2,5kg,4\n",
            "column w: row 2 has '3kg', no number, and 3 of its 3 "
            ".*dataset.categorical or dataset.drop",
        ),
        ("y\n1\n2\n", "has no column besides the target y"),
        (
            "a:y\n1:2\n",
            "dataset.target must name a column of .*, got 'y'; they are a:y; "
            "is dataset.separator right?",
        ),
        (
            'w,y\n"1,000",1\n"2,500",2\n"12,000",3\n"1,000,000",4\n',
            r"column w: row 1 has '1,000', no number \(commas between thousands\?\); "
            "write the numbers without them",
        ),
        (
            'w,y\n950,1\n"1,000",2\n"2,500",3\n',
            r"column w must hold numbers, row 2 has '1,000' "
            r"\(commas between thousands\?\); write the numbers without them",
        ),
        (
            'w,y\n3,1\n"3,500",2\n"2,5",3\n',
            r"row 2 has '3,500' \(a decimal comma\?\); write a decimal point",
        ),
    ],
)
def test_a_bad_file_is_refused_by_column_and_row(path, text, message):
    with pytest.raises(
        ValueError, match=message.replace("[b]", re.escape("[b]"))
    ) as error:
        columns(path, text)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"target": "Price"},
            "dataset.target must name a column of .*, got 'Price', "
            r"did you mean 'prices'\?",
        ),
        ({"target": None}, "got None; they are a, b, prices"),
        ({"target": "prices", "drop": ["c"]}, "dataset.drop must name a column"),
        (
            {"target": "prices", "drop": "a"},
            r"dataset.drop must be a list, as in dataset.drop=\[a\]",
        ),
        (
            {"target": "prices", "categorical": ["aa"]},
            r"dataset.categorical must name .*, did you mean 'a'\?",
        ),
        (
            {"target": "prices", "drop": ["a", "prices"]},
            "dataset.drop must not name the target, got prices",
        ),
        (
            {"target": "prices", "categorical": ["prices"]},
            "dataset.categorical must not name the target, got prices",
        ),
        (
            {"target": "prices", "categorical": ["a"]},
            "column b must hold numbers, row 1 has 'x'",
        ),
        (
            {"target": "prices", "separator": ", "},
            "dataset.separator must be one character, got ', '",
        ),
        ({"target": "prices", "missing": "NA"}, "dataset.missing must be a list"),
        ({"target": "prices", "missing": -999}, "dataset.missing must be a list"),
        ({"target": "prices", "drop": 1}, "dataset.drop must be a list"),
        ({"target": 3}, "dataset.target must name a column of .*, got 3; they are a"),
    ],
)
def test_bad_options_are_refused(path, options, message):
    with pytest.raises(ValueError, match=message):
        columns(path, "a,b,prices\n1,x,2\n2,z,3\n", **options)


def test_no_file(path):
    with pytest.raises(
        ValueError,
        match=r"dataset\.root must be a file with a table; "
        r"there is no file .*table\.csv",
    ):
        read_text(str(path), ",", [])
    with pytest.raises(
        ValueError,
        match=r"dataset\.root must be the path of a file with a table, got None",
    ):
        read_text(None, ",", [])
    path.write_bytes(b"\xff\xfea")
    with pytest.raises(ValueError, match="is no readable text .*can't decode"):
        read_text(str(path), ",", [])


@pytest.mark.parametrize("ending", ["zip", "gz", "xz", "bz2", "tar", "zst"])
def test_a_file_of_another_format_than_its_name_is_refused(path, ending):
    named = path.with_suffix(f".{ending}")
    named.write_text("a,y\n1,2\n")
    with pytest.raises(
        ValueError, match=f"{named.name} is no table with columns separated by ',': "
    ) as error:
        read_text(str(named), ",", [])
    assert "\n" not in str(error.value)


def test_the_unnamed_index_of_a_data_frame_is_left_out(path, capsys):
    path.write_text(",a,y\n0,1,2\n1,5,3\n2,7,4\n")
    assert read_text(str(path), ",", []).columns.tolist() == ["a", "y"]
    assert capsys.readouterr().err == (
        f"note: {path}: the first column has no name and a different value in every "
        "row; it is taken for row numbers and left out\n"
    )


@pytest.mark.parametrize("text", [",a,y\n7,1,2\n7,5,3\n", ",,y\n0,1,2\n1,5,3\n"])
def test_another_column_without_a_name_is_refused(path, text):
    path.write_text(text)
    with pytest.raises(ValueError, match="'' comes twice or is empty"):
        read_text(str(path), ",", [])


def test_options_may_name_columns_by_numbers(path):
    path.write_text("0,1,2.50,1e3,True\n1,x,3,4,5\n2,y,4,5,6\n")
    table = read_text(str(path), ",", [])
    choice = choose(table, "f", 1000.0, [1], [2.5, True, "0"])
    assert choice == ("1e3", ["1"], ["2.50", "True", "0"])
    with pytest.raises(ValueError, match="dataset.drop must not name the target, got"):
        choose(table, "f", 0, None, ["0"])


def test_numbers_of_one_value_are_one_category(path, capsys):
    text = "c,y\n1,1\n1.0,2\n2,3\nx,4\n"
    table = columns(path, text, categorical=["c"])
    assert table["c"].tolist() == ["1", "1", "2", "x"]
    note = f"note: {path}: 1, 1.0 are taken for one category of c\n"
    assert capsys.readouterr().err == note


def test_categorical_columns_are_noted_once(path, capsys):
    table = columns(path, "a,b,c,y\n1,x,p,2\n2,z,,3\n3,x,p,4\n")
    for _ in range(2):
        note_categories(table, str(path))
    assert capsys.readouterr().err == (
        f"note: {path}: treated as categorical: b (2 values), c (2 values); "
        "set dataset.categorical=[...] to change this\n"
    )
