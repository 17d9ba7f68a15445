"""Rows of predictions are written to files, devices and pipes."""

import os
from pathlib import Path

import pytest

from normlab.predict.predictions import write_rows

NAMES = ["row", "prediction"]
ROWS = [["1", 0.5], ["2", 0.25]]
TEXT = b"row,prediction\n1,0.5\n2,0.25\n"


def test_a_file_is_replaced_by_all_rows(tmp_path):
    path = tmp_path / "predictions.csv"
    path.write_text("old")
    write_rows(path, NAMES, ROWS)
    assert path.read_bytes() == TEXT


def test_nothing_is_written_if_a_row_fails(tmp_path):
    def rows():
        yield ["1", 0.5]
        raise ValueError("the second image is damaged")

    path = tmp_path / "predictions.csv"
    path.write_text("old")
    with pytest.raises(ValueError, match="the second image is damaged"):
        write_rows(path, NAMES, rows())
    assert path.read_text() == "old"


def test_names_are_no_formulas_for_spreadsheets(tmp_path):
    path = tmp_path / "predictions.csv"
    write_rows(path, ["@file", "prediction"], [["-1.png", -0.5], ["-1", "=1+1"]])
    assert path.read_text() == "'@file,prediction\n'-1.png,-0.5\n-1,'=1+1\n"


def test_a_pipe_gets_the_rows(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    write_rows(path, NAMES, ROWS)
    assert os.read(reader, 100) == TEXT
    os.close(reader)


def test_the_pipe_behind_a_descriptor_gets_the_rows():
    reader, writer = os.pipe()
    write_rows(Path(f"/dev/fd/{writer}"), NAMES, ROWS)
    assert os.read(reader, 100) == TEXT
    os.close(reader)
    os.close(writer)


def test_a_device_is_written_to():
    write_rows(Path(os.devnull), NAMES, ROWS)
    assert not Path(os.devnull).is_file()


def test_numbers_that_float32_cannot_hold_are_written_in_full(tmp_path):
    path = tmp_path / "predictions.csv"
    write_rows(path, NAMES, [["1", 1700000123.4]], exact=True)
    assert path.read_text().splitlines()[1] == "1,1700000123.4"
