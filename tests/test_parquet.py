"""Parquet files are read within bounds, which hold before values are unpacked."""

import subprocess
import sys
from decimal import Decimal

import numpy
import pytest

from normlab.parquet import TooLarge, open_parquet, read_batches

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

ENOUGH = 2**20


def write(folder, **columns):
    path = folder / "table.parquet"
    parquet.write_table(pyarrow.table(columns), path)
    return path


def rows_of(path, most_bytes=ENOUGH, most_values=ENOUGH):
    with path.open("rb") as source:
        file = open_parquet(source, most_bytes, most_values)
        rows = []
        for batch in read_batches(file, most_bytes):
            rows += batch.to_pylist()
        return rows


def test_rows_are_read_in_their_order(tmp_path):
    words = ["red", None, "blue"] * 3000
    path = write(tmp_path, number=list(range(9000)), word=words)
    wanted = [{"number": each, "word": words[each]} for each in range(9000)]
    assert rows_of(path) == wanted


def test_a_text_that_is_stored_once_counts_as_often_as_it_occurs(tmp_path):
    path = write(tmp_path, word=["x" * 100] * 50)
    assert len(rows_of(path, most_bytes=5000)) == 50
    with pytest.raises(TooLarge, match="unpack to at most 0 MiB"):
        rows_of(path, most_bytes=4999)


def test_only_the_rows_up_to_the_bound_are_unpacked(tmp_path):
    path = write(tmp_path, word=["x" * 100] * 6000)
    with path.open("rb") as source:
        file = open_parquet(source, ENOUGH, ENOUGH)
        batches = read_batches(file, 410_000)
        assert len(next(batches)) == 4096
        with pytest.raises(TooLarge):
            next(batches)


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ([0], "must be 1, as its head states; there are more"),
        ([1], "must be 100,000, as its head states; there are [0-9,]+"),
        ([2], "must be 100,000, as its head states; there are 1"),
    ],
)
def test_as_many_rows_are_read_as_the_head_states(tmp_path, places, message):
    """The head has the number for the file, and for its row group twice."""
    path = write(tmp_path, flag=[True] * 100_000)
    content = path.read_bytes()
    many = b"\x16\xc0\x9a\x0c"  # an integer of 64 bits in Thrift's compact protocol
    one = b"\x16\x82\x80\x00"
    before, *parts = content.split(many)
    assert len(parts) == 3
    for place, part in enumerate(parts):
        before += (one if place in places else many) + part
    path.write_bytes(before)
    with pytest.raises(ValueError, match=f"^the number of its rows {message}$"):
        rows_of(path)


def state(path, number, stated):
    """Let the head state another number of values than there are in the column."""
    content = path.read_bytes()
    length = int.from_bytes(content[-8:-4], "little")
    head = content[-8 - length : -8]
    old, new = thrift(number), thrift(stated)
    assert head.count(old) == 1
    head = head.replace(old, new)
    end = len(head).to_bytes(4, "little") + b"PAR1"
    path.write_bytes(content[: -8 - length] + head + end)


def thrift(number):
    """A field with an integer of 64 bits in Thrift's compact protocol."""
    rest = (number << 1) ^ (number >> 63)
    parts = [rest >> shift & 0x7F for shift in range(0, max(1, rest.bit_length()), 7)]
    return bytes([0x16, *(part | 0x80 for part in parts[:-1]), parts[-1]])


NUMBER = 20_000_000


def write_list(folder):
    values = pyarrow.array(numpy.full(NUMBER, 7, dtype=numpy.int32))
    offsets = pyarrow.array([0, NUMBER], pyarrow.int32())
    return write(folder, parts=pyarrow.ListArray.from_arrays(offsets, values))


def test_a_negative_number_of_values_is_refused(tmp_path):
    path = write_list(tmp_path)
    state(path, NUMBER, -1)
    with pytest.raises(TooLarge, match="state the size of its column parts.list"):
        rows_of(path)


# In a process of its own, whose memory is not that of other tests.
READ = """
import resource, sys
from normlab import parquet

parquet.SPARE_BYTES = 16 * 2**20
before = resource.getrlimit(resource.RLIMIT_AS)
with open(sys.argv[1], "rb") as source:
    try:
        list(parquet.read_batches(parquet.open_parquet(source, 2**20), 2**20))
    except parquet.TooLarge as error:
        print(error)
assert resource.getrlimit(resource.RLIMIT_AS) == before
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the system limits no memory")
def test_more_values_than_the_head_states_take_little_memory(tmp_path):
    path = write_list(tmp_path)
    assert path.stat().st_size < 5000
    state(path, NUMBER, 1)
    words = [sys.executable, "-c", READ, path]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.stderr == ""
    wanted = "take at most 17 MiB of memory to read, and no more than there is"
    assert ended.stdout.strip() == wanted


def json(texts):
    if not hasattr(pyarrow, "json_"):
        pytest.skip("this version of pyarrow has no type of JSON")
    storage = pyarrow.array(texts)
    return pyarrow.ExtensionArray.from_storage(pyarrow.json_(), storage)


def test_texts_in_json_are_not_repeated_before_they_are_counted(tmp_path):
    path = write(tmp_path, record=json(['{"a": 1}'] * 50))
    with path.open("rb") as source:
        file = open_parquet(source, ENOUGH, ENOUGH)
        assert pyarrow.types.is_dictionary(file.schema_arrow.field("record").type)
    assert rows_of(path, most_bytes=400) == [{"record": '{"a": 1}'}] * 50
    with pytest.raises(TooLarge, match="unpack to"):
        rows_of(path, most_bytes=399)


def write_decimals(folder, values):
    """A file as pyarrow reads, but does not write it: decimals of any length."""
    path = folder / "table.parquet"
    table = pyarrow.table({"price": pyarrow.array(values, pyarrow.binary())})
    parquet.write_table(table, path, store_schema=False)
    content = path.read_bytes()
    length = int.from_bytes(content[-8:-4], "little")
    head = content[-8 - length : -8]
    # Behind the name of the column: a decimal with scale 1 and precision 5.
    name = b"\x18\x05price"
    head = head.replace(name + b"\0", name + b"\x25\x0a\x15\x02\x15\x0a\0")
    end = len(head).to_bytes(4, "little") + b"PAR1"
    path.write_bytes(content[: -8 - length] + head + end)
    return path


def test_decimals_of_any_length_are_refused(tmp_path):
    path = write_decimals(tmp_path, [b"\x0f", b"\x19"])
    assert parquet.read_table(path)["price"].type == pyarrow.decimal128(5, 1)
    with pytest.raises(TooLarge, match="decimals of its column price in a fixed"):
        rows_of(path)


@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])
def test_texts_as_differences_are_refused(tmp_path, encoding):
    path = tmp_path / "table.parquet"
    table = pyarrow.table({"word": ["red", "reddish"]})
    encodings = {"word": encoding}
    parquet.write_table(table, path, use_dictionary=False, column_encoding=encodings)
    with pytest.raises(TooLarge, match="store the texts of its column word without"):
        rows_of(path)


def test_numbers_as_differences_are_read(tmp_path):
    path = tmp_path / "table.parquet"
    table = pyarrow.table({"a": [1, 2]})
    encodings = {"a": "DELTA_BINARY_PACKED"}
    parquet.write_table(table, path, use_dictionary=False, column_encoding=encodings)
    assert rows_of(path) == [{"a": 1}, {"a": 2}]


def test_other_decimals_are_read(tmp_path):
    cells = [Decimal("1.5"), Decimal("2.5")]
    assert [row["a"] for row in rows_of(write(tmp_path, a=cells))] == cells


@pytest.mark.parametrize("as_list", [False, True])
def test_a_large_dictionary_comes_in_few_batches(tmp_path, monkeypatch, as_list):
    """Each batch of a row group has a copy of the dictionary."""
    texts = [f"{number:0100}" for number in range(10_000)]
    column = [[text] for text in texts] if as_list else texts
    path = write(tmp_path, word=column)
    for most_copied, num_batches in ((2**20, 1), (2**21 + 2**20, 2), (2**30, 3)):
        monkeypatch.setattr("normlab.parquet.COPIED_BYTES", most_copied)
        with path.open("rb") as source:
            file = open_parquet(source, 2**23, ENOUGH)
            batches = list(read_batches(file, 2**23))
        assert len(batches) == num_batches
        found = [row["word"] for batch in batches for row in batch.to_pylist()]
        assert found == column


def test_values_of_a_fixed_length_are_refused_by_the_head(tmp_path):
    path = write(tmp_path, key=pyarrow.array([b"x" * 1000] * 3, pyarrow.binary(1000)))
    with path.open("rb") as source, pytest.raises(TooLarge, match="unpack to"):
        open_parquet(source, 2999, ENOUGH)


@pytest.mark.parametrize(
    ("kind", "width"),
    [("int8", 4), ("double", 8), ("bool", 1), ("null", 4), ("string", 4)],
)
def test_values_in_lists_count_by_their_width(tmp_path, kind, width):
    """Many values may be a few bytes in the file, and they are one row."""
    values = pyarrow.nulls(50_000, kind)
    offsets = pyarrow.array([0, 50_000], pyarrow.int32())
    path = write(tmp_path, parts=pyarrow.ListArray.from_arrays(offsets, values))
    for most_bytes, is_refused in ((50_000 * width, False), (50_000 * width - 1, True)):
        with path.open("rb") as source:
            if is_refused:
                with pytest.raises(TooLarge, match="unpack to"):
                    open_parquet(source, most_bytes)
            else:
                open_parquet(source, most_bytes)


def test_values_in_lists_count_one_by_one(tmp_path):
    path = write(tmp_path, parts=[[1, 2, 3], [4]])
    assert len(rows_of(path, most_values=4)) == 2
    with pytest.raises(TooLarge, match="have at most 3 values in its lists"):
        rows_of(path, most_values=3)
