"""Tables in parquet files are read like the same tables in text."""

import datetime

import numpy as np
import pandas as pd
import pytest

from normlab.data.columns import read_text
from normlab.data.missing_values import MISSING
from normlab.data.tabular import csv

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def write(folder, **columns):
    path = folder / "table.parquet"
    parquet.write_table(pyarrow.table(columns), path)
    return str(path)


def read(path, missing=MISSING):
    return read_text(path, ",", missing)


def test_values_become_the_text_that_stands_for_them(tmp_path):
    path = write(
        tmp_path,
        whole=[1, None, -3],
        real=[0.1, float("nan"), 1e-30],
        single=pyarrow.array([0.1, 2.5, None], pyarrow.float32()),
        truth=[True, False, None],
        text=[" red ", "?", "blue"],
        category=pyarrow.array(["a", "b", "a"]).dictionary_encode(),
        day=[datetime.date(2026, 1, 2)] * 3,
    )
    table = read(path)
    assert table.index.tolist() == [1, 2, 3]
    found = {name: table[name].tolist() for name in table}
    assert found == {
        "whole": ["1", None, "-3"],
        "real": ["0.1", None, "1e-30"],
        "single": ["0.1", "2.5", None],
        "truth": ["true", "false", None],
        "text": ["red", None, "blue"],
        "category": ["a", "b", "a"],
        "day": ["2026-01-02"] * 3,
    }


def test_numbers_are_the_same_to_the_last_bit(tmp_path):
    numbers = np.random.default_rng(0).normal(size=500) * 1e-7
    table = read(write(tmp_path, a=numbers))
    assert np.array_equal(pd.to_numeric(table["a"]), numbers)


def test_a_parquet_file_is_the_same_data_set_as_its_text(tmp_path):
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"size": random.normal(size=20), "price": range(20)})
    frame["colour"] = random.choice(["red", "blue"], size=20)
    frame.to_csv(tmp_path / "table.csv", index=False)
    path = write(tmp_path, **{name: frame[name].tolist() for name in frame})
    first = csv(path, "price", 0, 4)
    second = csv(str(tmp_path / "table.csv"), "price", 0, 4)
    pd.testing.assert_frame_equal(first.train_columns, second.train_columns)
    assert first.test_targets.tolist() == second.test_targets.tolist()


def test_the_index_of_pandas_is_left_out(tmp_path, capsys):
    frame = pd.DataFrame({"a": [1, 2]}, index=[5, 9])
    parquet.write_table(pyarrow.Table.from_pandas(frame), tmp_path / "table.parquet")
    assert list(read(str(tmp_path / "table.parquet"))) == ["a"]
    assert "holds row numbers and is left out" in capsys.readouterr().err


def test_columns_of_lists_can_only_be_dropped(tmp_path):
    columns = {"price": [1.0, 2, 3], "size": [1.0, 2, 4], "parts": [[1], [2], [3]]}
    path = write(tmp_path, **columns)
    with pytest.raises(ValueError, match=r"parts is list<.* dataset.drop=\[parts\]"):
        csv(path, "price", 0, 3)
    assert list(csv(path, "price", 0, 3, drop=["parts"]).train_columns) == ["size"]


def test_json_is_text(tmp_path):
    if not hasattr(pyarrow, "json_"):
        pytest.skip("this version of pyarrow has no type of JSON")
    storage = pyarrow.array(["[1]", None, " 2 "])
    column = pyarrow.ExtensionArray.from_storage(pyarrow.json_(), storage)
    assert read(write(tmp_path, a=column))["a"].tolist() == ["[1]", None, "2"]


def test_bytes_and_records_have_the_name_of_their_type(tmp_path):
    path = write(tmp_path, raw=[b"a", None], record=[{"a": "b"}, None])
    found = {name: column.tolist() for name, column in read(path).items()}
    assert found == {"raw": ["binary"] * 2, "record": ["struct<a: string>"] * 2}


@pytest.mark.parametrize("has_uuids", [True, False])
def test_columns_of_bytes_can_only_be_dropped(tmp_path, has_uuids):
    column = pyarrow.array([b"0123456789abcdef"] * 3, pyarrow.binary(16))
    name = "fixed_size_binary[16]"
    if has_uuids:
        if not hasattr(pyarrow, "uuid"):
            pytest.skip("this version of pyarrow has no type of UUIDs")
        column = pyarrow.ExtensionArray.from_storage(pyarrow.uuid(), column)
        name = "extension<arrow.uuid>"
    path = write(tmp_path, price=[1.0, 2, 3], size=[1.0, 2, 4], key=column)
    assert read(path)["key"].tolist() == [name] * 3
    assert list(csv(path, "price", 0, 3, drop=["key"]).train_columns) == ["size"]


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "table.parquet"
    with pytest.raises(ValueError, match=f"there is no file {path}"):
        read(str(path))
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=f"{path} is no parquet file"):
        read(str(path))
    write(tmp_path, a=[1, 2, 3] * 100)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=f"{path} is no parquet file"):
        read(str(path))
    with pytest.raises(ValueError, match="has column names and no rows"):
        read(write(tmp_path, a=[]))


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = write(tmp_path, a=[1, 2, 3])
    monkeypatch.setattr("normlab.data.parquet_files.memory_limit", lambda: 299)
    with pytest.raises(ValueError, match="must have at most 2 cells, which fill"):
        read(path)


def test_values_in_lists_are_no_cells(tmp_path, monkeypatch):
    path = write(tmp_path, size=[1, 2], parts=[[0.5] * 768] * 2)
    monkeypatch.setattr("normlab.data.parquet_files.memory_limit", lambda: 499)
    assert read(path)["size"].tolist() == ["1", "2"]
    monkeypatch.setattr("normlab.data.parquet_files.memory_limit", lambda: 399)
    with pytest.raises(ValueError, match="must have at most 3 cells, which fill"):
        read(path)


@pytest.mark.parametrize("is_category", [True, False])
def test_a_table_that_grows_too_large_is_refused(tmp_path, monkeypatch, is_category):
    """Repeated texts take 20 MB as a table and a few kB in the file."""
    column = pyarrow.array(["x" * 1000] * 20_000)
    if is_category:
        column = column.dictionary_encode()
    path = write(tmp_path, a=column)
    assert len(read(path)) == 20_000
    monkeypatch.setattr("normlab.data.parquet_files.LARGEST_TABLE", 2**20)
    with pytest.raises(ValueError, match=f"{path} must unpack to at most 1 MiB"):
        read(path)


def test_no_more_than_one_dictionary_is_in_memory(tmp_path):
    """A text of 10 MB is stored once; 39 of 40 batches use only the other one."""
    codes = pyarrow.array([0] + [1] * (40 * 4096 - 1), pyarrow.int32())
    texts = ["x" * 10_000_000, "short"]
    column = pyarrow.DictionaryArray.from_arrays(codes, texts)
    path = tmp_path / "table.parquet"
    parquet.write_table(
        pyarrow.table({"a": column}), path, dictionary_pagesize_limit=2**26
    )
    pool = pyarrow.default_memory_pool()
    before = pool.max_memory()
    table = read(str(path))
    assert table["a"].str.len().tolist() == [10_000_000] + [5] * (40 * 4096 - 1)
    assert pool.max_memory() < before + 200_000_000


def test_columns_of_one_name_are_refused(tmp_path):
    table = pyarrow.table([[1, 2], [3, 4]], names=["a", "a"])
    parquet.write_table(table, tmp_path / "table.parquet")
    with pytest.raises(ValueError, match="'a' comes twice"):
        read(str(tmp_path / "table.parquet"))
