"""Arrays that are computed once, kept on disk, and mapped into the memory of every later run."""

import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock

from normlab.data.downloads import first_line, new_folder


def cached_array(
    path: Path,
    shape: tuple[int, ...],
    dtype: type,
    fill: Callable[[np.ndarray], object],
    remedy: str,
) -> torch.Tensor:
    """The array in `path`; where there is none or a damaged one, `fill` computes it, in one process while others wait.

    Args:
        path: named by a digest of everything that the array depends on.
        shape: of the array.
        dtype: of its elements.
        fill: writes the whole array that it is given.
        remedy: what a user can do who has no place for the file.

    Returns:
        A tensor mapped from the file, copy-on-write: shared between processes, and the file stays as it is.

    Raises:
        ValueError: the file cannot be written.
    """
    if _fault(path, shape, dtype):
        try:
            with new_folder(path.parent):
                _write_once(path, shape, dtype, fill)
        except OSError as error:
            raise ValueError(
                f"the cache {path} cannot be written: {error}; name another folder in paths.outputs, {remedy}"
            ) from error
    return torch.from_numpy(np.load(path, mmap_mode="c"))


def _fault(path: Path, shape: tuple[int, ...], dtype: type) -> str | None:
    """Why the file is not the array; None if it is, as far as its header and length tell."""
    if not path.is_file():
        return "is missing"
    try:
        found = np.lib.format.open_memmap(path, mode="r")
    except (
        Exception
    ) as error:  # damaged headers make numpy raise whatever their text is parsed to
        return f"cannot be read ({first_line(error)})"
    if (found.shape, found.dtype) != (shape, np.dtype(dtype)):
        return f"holds {found.dtype} {found.shape} instead of {np.dtype(dtype)} {shape}"
    return None


def _write_once(
    path: Path,
    shape: tuple[int, ...],
    dtype: type,
    fill: Callable[[np.ndarray], object],
) -> None:
    lock = path.with_name(f".{path.stem}.lock")
    try:
        with FileLock(lock):
            fault = _fault(path, shape, dtype)
            if fault is None:
                return
            if path.is_file():
                print(
                    f"note: the cache {path} {fault}; it is made anew", file=sys.stderr
                )
            for abandoned in path.parent.glob(
                f".{path.stem}-*.npy"
            ):  # by a process that was killed
                abandoned.unlink()
            _write(path, shape, dtype, fill)
    except BaseException:
        lock.unlink(missing_ok=True)
        raise


def _write(
    path: Path,
    shape: tuple[int, ...],
    dtype: type,
    fill: Callable[[np.ndarray], object],
) -> None:
    """Into a file of another name, renamed when it is complete, so that no half of one is ever read."""
    # Not tempfile's: its files are for their owner alone, this one is for all who may read the folder.
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(8)}.npy")
    try:
        array = np.lib.format.open_memmap(
            temporary, mode="w+", dtype=dtype, shape=shape
        )
        if hasattr(
            os, "posix_fallocate"
        ):  # a full disk is an error here and would be a crash below
            with temporary.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, temporary.stat().st_size)
        fill(array)
        array.flush()
        del array
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
