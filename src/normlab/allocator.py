"""Memory that a step frees is kept for the next one."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

# Options of mallopt(3), and the values between which the C library moves if nobody sets them.
TRIM_THRESHOLD, MMAP_MAX = -1, -4
NEVER, BYTES_WHEN_NOT_KEPT, MAPPINGS_WHEN_NOT_KEPT = -1, 64 * 2**20, 65536
USERS_OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_")


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """While open, freed memory stays with the process; it goes back to the system when this closes.

    By default the GNU C library returns large blocks at once, and the system fills every page of the next one with
    zeros, at every step anew: 4 to 9 % of a step of AlexNet and LeNet-5 (`benchmarks/allocator.py`). A training loop
    asks for the same sizes again and again, so that its peak hardly grows. Nothing is done with other C libraries, or
    where the environment says when memory goes back (`MALLOC_TRIM_THRESHOLD_`, another of `USERS_OWN`, or
    `GLIBC_TUNABLES`).
    """
    library = None if _configured_by_user() else _gnu_c_library()
    if library is None:
        yield
        return
    library.mallopt(TRIM_THRESHOLD, NEVER)
    library.mallopt(MMAP_MAX, 0)
    try:
        yield
    finally:
        library.mallopt(TRIM_THRESHOLD, BYTES_WHEN_NOT_KEPT)
        library.mallopt(MMAP_MAX, MAPPINGS_WHEN_NOT_KEPT)
        library.malloc_trim(0)


def _configured_by_user() -> bool:
    return any(name in os.environ for name in USERS_OWN) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")


@cache
def _gnu_c_library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows has none of this name
        return None
    return library if hasattr(library, "gnu_get_libc_version") else None
