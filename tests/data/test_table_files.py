"""Text files are read whatever their separator, encoding and ending."""

import bz2
import gzip
import lzma
import os
import zipfile

import pytest

from normlab.data import table_files
from normlab.data.table_files import read_cells

CELLS = [["a", "b", "y"], ["1", "x", "2"], ["3", "z", "4"]]


def text_of(separator, cells=CELLS):
    return "".join(separator.join(row) + "\n" for row in cells)


@pytest.mark.parametrize(
    ("separator", "note"),
    [
        ("\t", r"tabs (dataset.separator='\t')"),
        (";", "semicolons (dataset.separator=';')"),
        ("|", "vertical bars (dataset.separator='|')"),
        (" ", "spaces (dataset.separator=' ')"),
    ],
)
def test_the_separator_is_found_and_noted_once(write, capsys, separator, note):
    path = write(text_of(separator), "table.tsv")
    assert read_cells(path, ",") == CELLS
    assert read_cells(path, ",") == CELLS
    assert capsys.readouterr().err == (
        f"note: {path} is read with columns separated by {note}\n"
    )


@pytest.mark.parametrize("separator", ["\t", r"\t"])
def test_a_tab_may_be_named(write, capsys, separator):
    assert read_cells(write(text_of("\t")), separator) == CELLS
    assert capsys.readouterr().err == ""


def test_commas_are_found_if_another_separator_is_configured(write):
    assert read_cells(write(text_of(",")), ";") == CELLS


def test_a_separator_of_the_first_line_is_not_questioned(write):
    cells = [["a;b", "y"], ["1;2", "3"]]
    assert read_cells(write(text_of(",", cells)), ",") == cells


def test_a_file_of_one_column_keeps_its_separator(write):
    assert read_cells(write("a b\nc\nd e f\n"), ",") == [["a b"], ["c"], ["d e f"]]


def test_columns_may_be_aligned_by_spaces(write):
    assert read_cells(write(" a   b y\n 1   x 2 \n 3   z 4\n"), ",") == CELLS


@pytest.mark.parametrize(
    ("encoding", "noted"),
    [
        ("utf-8", None),
        ("utf-8-sig", None),
        ("utf-16", "is read in the encoding utf-16"),
        ("utf-16-le", "is read in the encoding utf-16-le"),
        ("utf-16-be", "is read in the encoding utf-16-be"),
        ("utf-32", "is read in the encoding utf-32"),
        ("latin-1", "is not in UTF-8 and is read in the encoding latin-1"),
        ("cp1252", "is not in UTF-8 and is read in the encoding cp1252"),
    ],
)
def test_the_encoding_is_found(tmp_path, capsys, encoding, noted):
    price = "10 €" if encoding == "cp1252" else "10 £"
    text = f"größe,größte,y\n{price},é,2\n1,b,3\n"
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode(encoding))
    expected = [["größe", "größte", "y"], [price, "é", "2"], ["1", "b", "3"]]
    assert read_cells(str(path), ",") == expected
    note = "" if noted is None else f"note: {path} {noted}\n"
    assert capsys.readouterr().err == note


def test_the_encoding_may_be_named(tmp_path, capsys):
    path = tmp_path / "table.csv"
    path.write_bytes("цена,y\n1,2\n".encode("cp1251"))
    assert read_cells(str(path), ",", "cp1251")[0] == ["цена", "y"]
    assert capsys.readouterr().err == ""
    with pytest.raises(
        ValueError, match="is no readable text .*; set dataset.encoding, or store the"
    ):
        read_cells(str(path), ",", "ascii")
    for wrong in ("cp9999", "rot13"):
        with pytest.raises(
            ValueError, match=f"dataset.encoding must be null or .*, got '{wrong}'"
        ):
            read_cells(str(path), ",", wrong)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "image.csv"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    with pytest.raises(ValueError, match="image.csv is no readable text"):
        read_cells(str(path), ",")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "a,b\n1,2\n\n3\n4,5\n",
            "every line must have 2 cells, as the first one, line 4 has 1",
        ),
        (
            'a,b\n"1\n1",2\n3,4,5\n',
            "every line must have 2 cells, as the first one, line 4 has 3",
        ),
        ('a,b\n1,2\n3,"4\n5,6\n', "a quotation mark in line 3 is never closed"),
        ("", "it is empty"),
        (" \n\n", "it is empty"),
    ],
)
def test_uneven_lines_are_refused_by_their_number(write, text, problem):
    with pytest.raises(ValueError, match=f"separated by ',': {problem}$"):
        read_cells(write(text), ",")


def test_a_short_line_is_no_missing_value(write):
    text = "y,a,b,c\nq,0.126,-4.364,green\np,-1.010\nq,0.640,17.394,red\n"
    with pytest.raises(
        ValueError, match="every line must have 4 cells, as the first one, line 3 has 2"
    ):
        read_cells(write(text), ",")
    assert read_cells(write(text.replace("1.010", "1.010,,")), ",")[2] == [
        *("p", "-1.010", "", "")
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_quoted_cells_and_ends_of_lines(write, tmp_path, end):
    text = f'"a","b""c"{end}"1,{end}2",3{end}4,5'
    (tmp_path / "table.csv").write_bytes(text.encode())
    assert read_cells(str(tmp_path / "table.csv"), ",") == [
        ["a", 'b"c'],
        [f"1,{end}2", "3"],
        ["4", "5"],
    ]


def test_compressed_files_are_read(tmp_path):
    content = text_of(",").encode()
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(content))
    (tmp_path / "a.csv.bz2").write_bytes(bz2.compress(content))
    (tmp_path / "a.csv.xz").write_bytes(lzma.compress(content))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.csv", content)
    for path in tmp_path.iterdir():
        assert read_cells(str(path), ",") == CELLS


def test_a_small_file_may_not_unpack_to_a_huge_table(tmp_path, monkeypatch):
    monkeypatch.setattr(table_files, "LARGEST_TABLE", 10_000)
    path = tmp_path / "bomb.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 10_000))
    with pytest.raises(ValueError, match="bomb.csv.gz must have at most 0 GiB of text"):
        read_cells(str(path), ",")


@pytest.mark.timeout(100)
def test_pipes_devices_and_folders_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "device.csv").symlink_to("/dev/zero")
    (tmp_path / "folder.csv").mkdir()
    for name in ("pipe", "device", "folder"):
        with pytest.raises(ValueError, match="must be a regular file"):
            read_cells(str(tmp_path / f"{name}.csv"), ",")


def test_a_link_to_a_file_is_followed(write, tmp_path):
    (tmp_path / "link.csv").symlink_to(write(text_of(",")))
    assert read_cells(str(tmp_path / "link.csv"), ",") == CELLS
