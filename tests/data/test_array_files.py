"""Named arrays in files: what is read, mapped and refused."""

import io
import zipfile

import numpy as np
import pytest

from normlab.data.array_files import ArrayFile, check_memory

ARRAY = np.arange(12, dtype=np.int16).reshape(3, 4)


def write(folder, kind, **arrays):
    """Write arrays and return the path that `dataset.root` would name."""
    if kind == "npy":
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array)
        return str(folder)
    path = folder / f"arrays.{kind}"
    if kind == "npz":
        np.savez_compressed(path, **arrays)
    else:
        from safetensors.numpy import save_file

        save_file(arrays, path)
    return str(path)


@pytest.mark.parametrize("kind", ["npz", "npy", "safetensors"])
def test_arrays_are_listed_and_read(tmp_path, kind):
    file = ArrayFile(write(tmp_path, kind, b=ARRAY, a=ARRAY[:1]))
    assert sorted(file.names) == ["a", "b"]
    assert file.shape("a") == (1, 4)
    assert file.array("b").tolist() == ARRAY.tolist()


@pytest.mark.parametrize("kind", ["npy", "safetensors"])
def test_mapped_arrays_never_change_their_file(tmp_path, kind):
    root = write(tmp_path, kind, a=ARRAY)
    array = ArrayFile(root).array("a")
    array[0, 0] = 99
    assert ArrayFile(root).array("a")[0, 0] == 0


def test_other_byte_orders_are_converted(tmp_path):
    root = write(tmp_path, "npy", a=np.array([1.5, -2], dtype=">f4"))
    array = ArrayFile(root).array("a")
    assert array.dtype.isnative
    assert array.tolist() == [1.5, -2]


class Harmful:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        import os

        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("kind", ["npz", "npy"])
def test_pickled_objects_are_refused_and_run_nothing(tmp_path, kind):
    harmful = np.array([Harmful(str(tmp_path / "ran"))], dtype=object)
    root = write(tmp_path, kind, a=harmful)
    with pytest.raises(ValueError, match="holds Python objects, which are pickles"):
        ArrayFile(root).array("a")
    assert not (tmp_path / "ran").exists()


def test_a_header_that_promises_too_much_is_refused(tmp_path):
    """A terabyte of zeros fits into a small archive."""
    member = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": (2**37,)}
    np.lib.format.write_array_header_1_0(member, header)
    with zipfile.ZipFile(tmp_path / "big.npz", "w") as archive:
        archive.writestr("a.npy", member.getvalue())
    file = ArrayFile(str(tmp_path / "big.npz"))
    assert file.shape("a") == (2**37,)
    with pytest.raises(
        ValueError, match=r"big.npz: array a must fit into the memory .*needs 1024.0"
    ):
        file.array("a")


def test_memory_is_compared_with_the_product_of_all_sizes():
    check_memory("a", (1024, 1024), 8)
    with pytest.raises(ValueError, match="a must fit into the memory"):
        check_memory("a", (2**20, 2**20, 2**20), 8)


@pytest.mark.parametrize("kind", ["npz", "npy", "safetensors"])
def test_a_truncated_file_is_named(tmp_path, kind):
    write(tmp_path, kind, a=ARRAY)
    (path,) = tmp_path.glob("a*")
    path.write_bytes(path.read_bytes()[:-9])
    root = str(tmp_path) if kind == "npy" else str(path)
    with pytest.raises(ValueError, match=f"{path} cannot be read"):
        ArrayFile(root).array("a")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing.npz", "there is no .*nothing.npz"),
        ("table.txt", "must be an .npz or .safetensors file, or a folder"),
        ("single.npy", "or a folder of .npy files, one per array"),
        ("empty", "holds no array"),
    ],
)
def test_other_roots_are_refused(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "table.txt").write_text("a,b")
    np.save(tmp_path / "single.npy", ARRAY)
    with pytest.raises(ValueError, match=message):
        ArrayFile(str(tmp_path / name))


def test_arrays_of_records_are_refused(tmp_path):
    root = write(tmp_path, "npy", a=np.zeros(2, dtype=[("x", "f4"), ("y", "f4")]))
    with pytest.raises(ValueError, match="array a must hold numbers or texts"):
        ArrayFile(root).array("a")
