"""Arrays that are computed once, kept on disk and mapped into memory by later runs.

A file is a `.npy` file of numpy, followed by a digest of the array. The digest is
checked before the array is used, once per process.
"""

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from normlab.data.downloads import new_folder
from normlab.locks import Lock, check_lease
from normlab.messages import first_line
from normlab.terminal import print_line

DIGEST_MARK = b"normlab1"  # between the array and its digest
DIGEST_BYTES = 32
CHUNK_BYTES = 16 * 2**20  # digested by one thread at a time

# Files whose digest this process has checked, as they were then, see `_identity`.
_checked: set[tuple[object, ...]] = set()


def cached_array(
    path: Path,
    shape: tuple[int, ...],
    dtype: type,
    fill: Callable[[np.ndarray], object],
    remedy: str,
) -> torch.Tensor:
    """Return the array in a file. If the file is missing or damaged, compute it first.

    One process computes the array while others wait for it.

    Args:
        path: the file, named by a digest of everything that the array depends on.
        shape: of the array.
        dtype: type of the elements.
        fill: writes all elements of the array that it is given.
        remedy: what to do if the file cannot be written, for the message.

    Returns:
        A tensor mapped from the file. Processes share its memory, and writing to it
        copies the page and leaves the file as it is.

    Raises:
        ValueError: the file cannot be written.
    """
    if _fault(path, shape, dtype):
        try:
            with new_folder(path.parent):
                _write_once(path, shape, dtype, fill)
        except OSError as error:
            raise ValueError(
                f"the cache {path} cannot be written: {error}; "
                f"name another folder in paths.outputs, {remedy}"
            ) from error
    return torch.from_numpy(np.load(path, mmap_mode="c"))


def _fault(path: Path, shape: tuple[int, ...], dtype: type) -> str | None:
    """Why the file does not hold the array, or None if it does."""
    if not path.is_file():
        return "is missing"
    try:
        found = np.lib.format.open_memmap(path, mode="r")
    # Any type: numpy parses the header, and a damaged one raises whatever it leads to.
    except Exception as error:
        return f"cannot be read ({first_line(error)})"
    if found.shape != shape or found.dtype != np.dtype(dtype):
        return f"holds {found.dtype} {found.shape} instead of {np.dtype(dtype)} {shape}"
    identity = _identity(path)
    if identity in _checked:
        return None
    fault = _content_fault(path, found)
    if fault is None:
        _checked.add(identity)
    return fault


def _identity(path: Path) -> tuple[object, ...]:
    """What changes if a program writes to the file or replaces it."""
    status = path.stat()
    return path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _content_fault(path: Path, array: np.memmap) -> str | None:
    """Compare the array with the digest behind it in the file."""
    with path.open("rb") as file:
        file.seek(array.offset + array.nbytes)
        trailer = file.read()
    mark = trailer[: len(DIGEST_MARK)]
    if mark != DIGEST_MARK or len(trailer) != len(DIGEST_MARK) + DIGEST_BYTES:
        return "has no complete digest of its content"
    if trailer != DIGEST_MARK + _digest(array):
        return "does not hold the bytes that were written"
    return None


def _digest(array: np.ndarray) -> bytes:
    """Digest of the bytes of an array, computed in several threads.

    Each chunk has a digest of its own, and the result is the digest of these.
    """
    content = array.reshape(-1).view(np.uint8).data
    starts = range(0, len(content), CHUNK_BYTES)
    chunks = [content[start : start + CHUNK_BYTES] for start in starts]
    # hashlib releases Python's global interpreter lock.
    with ThreadPoolExecutor() as pool:
        digests = pool.map(lambda chunk: hashlib.sha256(chunk).digest(), chunks)
    return hashlib.sha256(b"".join(digests)).digest()


def _write_once(
    path: Path,
    shape: tuple[int, ...],
    dtype: type,
    fill: Callable[[np.ndarray], object],
) -> None:
    """Write the file unless another process has written it in the meantime."""
    lock = path.with_name(f".{path.stem}.lock")
    try:
        with _locked(lock, path):
            fault = _fault(path, shape, dtype)
            if fault is None:
                return
            if path.is_file():
                print_line(f"warning: the cache {path} {fault}; it is written again")
            _remove_abandoned(path)
            _write(path, shape, dtype, fill)
    except BaseException:
        lock.unlink(missing_ok=True)
        raise


@contextmanager
def _locked(lock_path: Path, path: Path) -> Iterator[None]:
    """Lock a file that is to be written. A second process says that it waits."""
    lock = Lock(lock_path)
    if not lock.acquire(seconds=0):
        print_line(f"another process computes {path}; waiting for it to end")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _remove_abandoned(path: Path) -> None:
    """Remove the incomplete files of processes that were killed while writing."""
    for abandoned in path.parent.glob(f".{path.stem}-*.npy"):
        abandoned.unlink()


def _write(
    path: Path,
    shape: tuple[int, ...],
    dtype: type,
    fill: Callable[[np.ndarray], object],
) -> None:
    """Write a file of another name and rename it once it is complete.

    No reader ever sees an incomplete file.
    """
    # Not by tempfile, whose files only their owner may read. This one is for everybody
    # who may read the folder.
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(8)}.npy")
    try:
        array = np.lib.format.open_memmap(
            temporary, mode="w+", dtype=dtype, shape=shape
        )
        # Claim the space now: a full disk raises an error here, but would crash the
        # process when the mapped memory is written.
        if hasattr(os, "posix_fallocate"):
            with temporary.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, temporary.stat().st_size)
        fill(array)
        array.flush()
        trailer = DIGEST_MARK + _digest(array)
        del array
        with temporary.open("ab") as file:
            file.write(trailer)
        check_lease(path)
        temporary.replace(path)
    except FileNotFoundError:
        check_lease(path)  # the process that took over deletes such files
        raise
    finally:
        temporary.unlink(missing_ok=True)
