"""Files of named arrays: `.npz`, `.safetensors`, and folders of `.npy` files.

They are read as data. Arrays of Python objects, which numpy stores as pickles, are
refused, and so is an array that does not fit into memory before it is read.
"""

import math
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from normlab.data.downloads import data_path, open_data
from normlab.data.mapped import memory_limit
from normlab.messages import first_line

GIGABYTE = 2**30
ENDINGS = (".npz", ".safetensors", ".npy")
NUMBERS = "biuf"  # kinds of numpy's types: truth values, whole and real numbers
TEXTS = "US"
# Versions of the format `.npy`, each with numpy's reader of its header.
HEADERS: dict[tuple[int, int], Callable[[Any], tuple]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class ArrayFile:
    """Arrays by name, each of which is read when it is asked for.

    The arrays of `.npy` and `.safetensors` files are mapped into memory: only what is
    used is read, and processes share it. Those of `.npz` files are unpacked.

    Args:
        root: an `.npz` or a `.safetensors` file, or a folder with one `.npy` file per
            array.

    Attributes:
        names: of the arrays.
        is_mapped: whether all arrays that were read so far are mapped into memory.

    Raises:
        ValueError: it is none of these, or cannot be read.
    """

    def __init__(self, root: str) -> None:
        self.path = data_path(root, f"a file of arrays ({', '.join(ENDINGS)})")
        if self.path.is_dir():
            kind = ".npy"
        elif self.path.exists():
            kind = self.path.suffix.lower()
        else:
            raise ValueError(
                "dataset.root must be an .npz or .safetensors file, or a folder of "
                f".npy files; there is no {root}"
            )
        if kind not in READERS or (kind == ".npy" and not self.path.is_dir()):
            raise ValueError(
                "dataset.root must be an .npz or .safetensors file, or a folder of "
                f".npy files, one per array; got {root}"
            )
        self.is_mapped = kind != ".npz"
        list_names, self._open = READERS[kind]
        self.names: list[str] = self._guarded(lambda: list_names(self.path))
        if not self.names:
            raise ValueError(f"{root} holds no array; {kind} files of numpy have some")

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of an array, for which the array itself is not read."""
        if self.path.suffix.lower() == ".npz":
            return self._guarded(lambda: _npz_header(self.path, name)[0])
        return self.array(name).shape

    def array(self, name: str) -> np.ndarray:
        """An array of numbers or texts, in the byte order of this machine and by rows.

        Raises:
            ValueError: it is damaged, holds other things, or does not fit into memory.
        """
        array: np.ndarray = self._guarded(lambda: self._open(self.path, name))
        if array.dtype.kind not in NUMBERS + TEXTS:
            raise ValueError(
                f"{self.path}: array {name} must hold numbers or texts, it holds "
                f"{array.dtype}"
            )
        is_in_order = array.flags.c_contiguous
        if not array.dtype.isnative or not is_in_order:
            place = f"{self.path}: array {name}, which is stored in another order,"
            check_memory(place, array.shape, array.dtype.itemsize)
            array = array.astype(array.dtype.newbyteorder("="), order="C")
            self.is_mapped = False
        return array

    def _guarded(self, read: Callable[[], Any]) -> Any:
        """Call a reader, and name the file if it fails."""
        try:
            return read()
        except FileNotFoundError:
            raise
        # Any type: numpy and zipfile raise whatever a damaged file leads to.
        except Exception as error:
            message = first_line(error)
            if str(self.path) in message:
                raise
            raise ValueError(f"{self.path} cannot be read: {message}") from error


def _npz_names(path: Path) -> list[str]:
    with open_data(path) as file, zipfile.ZipFile(file) as archive:
        names = archive.namelist()
    return [name.removesuffix(".npy") for name in names if name.endswith(".npy")]


def _npz_header(path: Path, name: str) -> tuple[tuple[int, ...], np.dtype]:
    with (
        open_data(path) as file,
        zipfile.ZipFile(file) as archive,
        archive.open(f"{name}.npy") as member,
    ):
        return _header(member)


def _npz_array(path: Path, name: str) -> np.ndarray:
    """Unpack an array, if its header promises no more than the memory holds."""
    shape, dtype = _npz_header(path, name)
    check_memory(f"{path}: array {name}", shape, dtype.itemsize)
    with (
        open_data(path) as file,
        zipfile.ZipFile(file) as archive,
        archive.open(f"{name}.npy") as member,
    ):
        return np.lib.format.read_array(member, allow_pickle=False)


def _header(file: Any) -> tuple[tuple[int, ...], np.dtype]:
    """The shape and type that the header of a `.npy` file states."""
    version = np.lib.format.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"version {version} of the format .npy is not known")
    shape, _, dtype = HEADERS[version](file)
    if dtype.hasobject:
        raise ValueError(
            "it holds Python objects, which are pickles and could run code; store "
            "arrays of numbers"
        )
    return shape, dtype


def check_memory(what: str, shape: tuple[int, ...], bytes_per_value: int) -> None:
    """Refuse an array that is larger than the memory that this process may use.

    Raises:
        ValueError: names the array and both sizes.
    """
    size = bytes_per_value * math.prod(shape)
    memory = memory_limit()
    if size > memory:
        raise ValueError(
            f"{what} must fit into the memory of {memory / GIGABYTE:.1f} GiB, it needs "
            f"{size / GIGABYTE:.1f}; store training and test part as .npy files, which "
            "are not read as a whole"
        )


def _npy_names(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.npy"))


def _npy_array(folder: Path, name: str) -> np.ndarray:
    path = folder / f"{name}.npy"
    with open_data(path) as file:
        _header(file)
    try:
        # Copied on write: the file stays as it is.
        return np.load(path, mmap_mode="c", allow_pickle=False)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {first_line(error)}") from error


def _safetensors(path: Path) -> Any:
    if find_spec("safetensors") is None:
        raise ValueError(f"{path} needs the package safetensors: install it")
    from safetensors import safe_open

    check_regular(path)
    return safe_open(path, framework="pt")


def _safetensors_names(path: Path) -> list[str]:
    with _safetensors(path) as file:
        return sorted(file.keys())


def _safetensors_array(path: Path, name: str) -> np.ndarray:
    with _safetensors(path) as file:
        tensor = file.get_tensor(name)
    if tensor.dtype == torch.bfloat16:  # which numpy does not have
        tensor = tensor.float()
    return tensor.numpy()


def check_regular(path: Path) -> None:
    """Refuse what is no regular file, before a library opens it by its path."""
    file: BinaryIO = open_data(path)
    file.close()


# By ending: what lists the names of the arrays, and what reads one of them.
READERS: dict[str, tuple[Callable[[Path], list[str]], Callable[..., np.ndarray]]] = {
    ".npz": (_npz_names, _npz_array),
    ".npy": (_npy_names, _npy_array),
    ".safetensors": (_safetensors_names, _safetensors_array),
}
