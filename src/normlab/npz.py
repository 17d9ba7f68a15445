"""Small archives of arrays of numbers, `.npz`, which may come from somebody else.

They are read as data: arrays of Python objects, which numpy stores as pickles, are
refused, and so is what would unpack to more than a stated size.
"""

import io
import zipfile
from collections.abc import Mapping
from typing import IO

import numpy as np
from numpy.typing import NDArray

NUMBERS = "iuf"  # kinds of numpy's types: whole and real numbers
MOST_ARRAYS = 16
EARLIEST = (1980, 1, 1, 0, 0, 0)  # the same bytes at any time
ENDING = ".npy"


def npz_bytes(arrays: Mapping[str, NDArray]) -> bytes:
    """Arrays by name as a compressed archive that `numpy.load` reads.

    Equal arrays give equal bytes; `numpy.savez` writes the time into its files.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array, allow_pickle=False)
            info = zipfile.ZipInfo(name + ENDING, EARLIEST)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, member.getvalue())
    return buffer.getvalue()


def read_npz(content: bytes, largest: int) -> dict[str, NDArray]:
    """Arrays ``(N,)`` of an archive by name.

    Args:
        content: the archive.
        largest: bytes that all arrays may take together.

    Raises:
        ValueError: it is damaged, too large, or holds something else.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _read_members(archive, largest)
    # Any type: numpy and zipfile raise whatever a damaged file leads to.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"it is no readable archive of arrays ({reason})") from error


def _read_members(archive: zipfile.ZipFile, largest: int) -> dict[str, NDArray]:
    members = archive.infolist()
    count = len(members)
    size = sum(member.file_size for member in members)
    if count > MOST_ARRAYS or size > largest:
        raise ValueError(
            f"it must hold at most {MOST_ARRAYS} arrays of {largest} bytes together, "
            f"it has {count} of {size}"
        )
    arrays = {}
    for member in members:
        name = member.filename.removesuffix(ENDING)
        with archive.open(member) as file:
            arrays[name] = _read_array(file, member.file_size)
    return arrays


def _read_array(file: IO[bytes], size: int) -> NDArray:
    """One array, if its header promises no more than the member of the archive has."""
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"version {version} of the format .npy is not known")
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.kind not in NUMBERS or len(shape) != 1:
        raise ValueError(f"arrays must be rows of numbers, got {dtype} of {shape}")
    (length,) = shape
    content = file.read(size)
    if length * dtype.itemsize != len(content):
        raise ValueError(
            f"an array of {length} values does not fit into {len(content)} bytes"
        )
    return np.frombuffer(content, dtype)
