"""Small archives of arrays, which may come from somebody else."""

import io
import zipfile

import numpy as np
import pytest

from normlab.npz import npz_bytes, read_npz

ARRAYS = {
    "a": np.array([3, -1, 2], np.int16),
    "b": np.array([0.5, 0.25], np.float16),
    "c": np.zeros(0, np.float32),
}


def archive(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def test_arrays_come_back_as_they_were_and_numpy_reads_them():
    content = npz_bytes(ARRAYS)
    found = read_npz(content, 1000)
    loaded = np.load(io.BytesIO(content), allow_pickle=False)
    assert list(found) == loaded.files == ["a", "b", "c"]
    for name, array in ARRAYS.items():
        for other in (found[name], loaded[name]):
            assert other.dtype == array.dtype
            assert other.tolist() == array.tolist()
    assert npz_bytes(ARRAYS) == content


def test_what_is_no_row_of_numbers_is_refused():
    objects = np.array([{"a": 1}], object)
    for array in (objects, np.zeros((2, 2)), np.array("x"), np.array(["x"])):
        with pytest.raises(ValueError, match="arrays must be rows of numbers"):
            read_npz(archive({"a.npy": npy(array)}), 1000)
    for content in (b"", b"PK", npz_bytes(ARRAYS)[:-30], archive({"a.npy": b"x"})):
        with pytest.raises(ValueError, match="no readable archive of arrays"):
            read_npz(content, 1000)


def test_sizes_are_bounded_before_anything_is_unpacked():
    with pytest.raises(ValueError, match="16 arrays of 5000 bytes together, it has 1 "):
        read_npz(archive({"a.npy": npy(np.zeros(10**6))}), 5000)
    many = {f"{number}.npy": npy(np.zeros(1)) for number in range(17)}
    with pytest.raises(ValueError, match="it has 17 of"):
        read_npz(archive(many), 10**6)
    # A header that promises more than the archive has.
    for length in (b"9999999999", b"-1", b"4"):
        header = npy(np.zeros(3))
        lying = header.replace(b"(3,)", b"(%s,)" % length)
        pad = len(lying) - len(header)
        lying = lying.replace(b" " * pad + b"\n", b"\n", 1)
        assert len(lying) == len(header)
        with pytest.raises(ValueError, match="an array"):
            read_npz(archive({"a.npy": lying}), 10**6)


def test_a_changed_byte_is_noticed():
    content = bytearray(npz_bytes({"a": np.arange(1000, dtype=np.int16)}))
    content[200] ^= 1
    with pytest.raises(ValueError, match="no readable archive"):
        read_npz(bytes(content), 10**6)
