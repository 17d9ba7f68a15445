"""CSV and parquet files of other programs, read as values and within bounds."""

import numpy as np
import pandas as pd
import pytest

from normlab.compare import result_tables
from normlab.compare.result_tables import read_results_file


def written(folder, text, name="results.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def columns(path):
    return read_results_file(path).table.to_dict("list")


def test_columns_become_numbers_truth_values_or_text(tmp_path):
    path = written(
        tmp_path,
        "a,b,c,d,e\n1,0.5,True,adam,1_0\n-2,nan,false,3,2\n,,,,\n7,1e3,NA,N/A,4\n",
    )
    found = columns(path)
    assert found["a"] == [1, -2, 7]
    assert found["b"][0] == 0.5
    assert found["b"][1] != found["b"][1]
    assert found["b"][2] == 1000
    assert found["c"] == [True, False, None]
    assert found["d"] == ["adam", "3", None]
    assert found["e"] == ["1_0", "2", "4"]


def test_none_is_a_word_among_words_and_nothing_among_numbers(tmp_path):
    found = columns(written(tmp_path, "a,b,c\nnone,None,none\nbatch,0.5,null\n"))
    assert found == {"a": ["none", "batch"], "b": [None, 0.5], "c": ["none", "null"]}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("r.csv", "\ufeffseed;acc\n0;0.5\n1;0.25\n"),
        ("r.tsv", "seed\tacc\n0\t0.5\n1\t0.25\n"),
        ("r.csv", 'seed,acc\r\n"0","0.5"\r\n1, 0.25\r\n'),
    ],
)
def test_separators_quotes_and_line_ends(tmp_path, name, text):
    table = read_results_file(written(tmp_path, text, name)).table
    assert table.to_dict("list") == {"seed": [0, 1], "acc": [0.5, 0.25]}
    assert table.index.tolist() == [f"{tmp_path}/{name}, line {n}" for n in (2, 3)]


def test_a_cell_of_several_lines_counts_as_one_row(tmp_path):
    table = read_results_file(written(tmp_path, 'a,b\n"x\ny",1\nz,2\n')).table
    assert table["a"].tolist() == ["x\ny", "z"]
    assert table.index[1].endswith("line 4")


def test_a_column_without_name_is_called_by_its_place(tmp_path):
    assert list(columns(written(tmp_path, ",acc\n0,0.5\n"))) == ["column 1", "acc"]


def test_parquet_keeps_types_and_tells_nan_from_missing(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "results.parquet"
    nan = float("nan")
    data = {
        "acc": [0.5, nan, None],
        "norm": ["a", "b", None],
        "lists": [[1], [2], None],
    }
    parquet.write_table(arrow.table(data), path)
    found = columns(path)
    assert found["acc"][0] == 0.5
    assert found["acc"][1] != found["acc"][1]
    assert found["acc"][2] is None
    assert found["norm"] == ["a", "b", None]
    assert found["lists"] == ["[1]", "[2]", None]


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_numbers_in_parquet_are_the_decimals_that_were_written(tmp_path, kind):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "results.parquet"
    rates = np.array([0.1, 0.003, np.nan, np.inf], dtype=kind)
    column = arrow.array([*rates, None], type=kind.replace("float16", "halffloat"))
    parquet.write_table(arrow.table({"lr": column}), path)
    *found, infinite, missing = columns(path)["lr"]
    assert found[:2] == [0.1, 0.003]
    assert found[2] != found[2]
    assert (infinite, missing) == (np.inf, None)


def test_double_precision_in_parquet_needs_no_search(tmp_path, monkeypatch):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "results.parquet"
    numbers = [0.1, None, 1e-300]
    parquet.write_table(arrow.table({"lr": numbers}), path)
    monkeypatch.setattr(result_tables, "shortest_decimal", None)
    assert columns(path)["lr"] == numbers


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("r.txt", "a\n1\n", "must end in .csv, .tsv, .parquet, .pq"),
        (
            "r.csv",
            "a,b\n1,2\n3\n",
            "line 3 must have 2 columns as the first line has",
        ),
        ("r.csv", "a,b,a\n1,2,3\n", "'a' comes 2 times"),
        ("r.csv", "a," * 5001 + "b", "must have at most 200,000 rows, 5,000 columns"),
        ("r.csv", "a,b\n", "must have rows below the names"),
        ("r.csv", "", "must have rows below the names"),
        ("r.csv", b"a\n\xff\n", "must be text in UTF-8; byte 2 is not"),
        ("r.csv", 'a\n"x\n', "is not readable"),
        ("r.parquet", b"PAR1 no", "is not readable"),
    ],
)
def test_what_is_no_table_is_refused_by_name(tmp_path, name, text, message):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    path = written(tmp_path, text, name)
    with pytest.raises(ValueError, match=message) as raised:
        read_results_file(path)
    assert str(path) in str(raised.value)


def test_tables_that_are_too_large_are_refused(tmp_path, monkeypatch):
    path = written(tmp_path, "a,b\n1,2\n3,4\n")
    monkeypatch.setattr(result_tables, "MOST_CELLS", 3)
    with pytest.raises(ValueError, match="at most .* rows, .* columns and 3 cells"):
        read_results_file(path)
    monkeypatch.setattr(result_tables, "LARGEST_FILE", 10)
    with pytest.raises(ValueError, match="must have at most 0 MiB"):
        read_results_file(path)


def test_a_small_parquet_file_that_unpacks_to_much_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    path = tmp_path / "results.parquet"
    pd.DataFrame({"a": ["x" * 1000] * 1000}).to_parquet(path, use_dictionary=False)
    monkeypatch.setattr(result_tables, "LARGEST_FILE", path.stat().st_size)
    with pytest.raises(ValueError, match="must unpack to at most"):
        read_results_file(path)


TEXT = "x" * 1000


@pytest.mark.parametrize(
    "cell",
    [TEXT, [TEXT], {"key": TEXT}, [{"key": [TEXT]}]],
    ids=["text", "list", "record", "nested"],
)
def test_a_text_that_is_stored_once_counts_in_every_row(tmp_path, monkeypatch, cell):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "results.parquet"
    parquet.write_table(arrow.table({"a": [cell] * 1000, "b": [0.5] * 1000}), path)
    monkeypatch.setattr(result_tables, "LARGEST_FILE", 1_020_000)
    assert columns(path)["a"] == [cell if cell == TEXT else str(cell)] * 1000
    monkeypatch.setattr(result_tables, "LARGEST_FILE", 900_000)
    with pytest.raises(ValueError, match="must unpack to at most"):
        read_results_file(path)


def test_a_map_and_a_category_count_in_every_row(tmp_path, monkeypatch):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "results.parquet"
    for column in (
        arrow.array(
            [[("key", TEXT)]] * 500, arrow.map_(arrow.string(), arrow.string())
        ),
        arrow.array([TEXT, None] * 250).dictionary_encode(),
        arrow.array([TEXT.encode()] * 500, arrow.binary(1000)),
    ):
        parquet.write_table(arrow.table({"a": column}), path)
        monkeypatch.setattr(result_tables, "LARGEST_FILE", 600_000)
        assert len(columns(path)["a"]) == 500
        monkeypatch.setattr(result_tables, "LARGEST_FILE", 200_000)
        with pytest.raises(ValueError, match="must unpack to at most"):
            read_results_file(path)


def test_texts_in_lists_are_read_across_row_groups(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "results.parquet"
    cells = [[f"text {number // 100}"] for number in range(600)]
    parquet.write_table(arrow.table({"a": cells}), path, row_group_size=150)
    assert columns(path)["a"] == [str(cell) for cell in cells]


def test_values_in_lists_are_counted(tmp_path, monkeypatch):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "results.parquet"
    parquet.write_table(arrow.table({"a": [[1, 2, 3, 4]]}), path)
    monkeypatch.setattr(result_tables, "MOST_CELLS", 3)
    with pytest.raises(ValueError, match="must have at most 3 values in its lists"):
        read_results_file(path)
