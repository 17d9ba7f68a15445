"""Memory that a step frees is kept for the next one."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

# Options of mallopt(3). Once one is set, the C library leaves off moving its thresholds with what a program frees; when
# no memory is kept they stay at the upper ends of the ranges in which it moves them.
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
KEPT = {TRIM_THRESHOLD: -1, MMAP_MAX: 0}
NOT_KEPT = {TRIM_THRESHOLD: 64 * 2**20, MMAP_THRESHOLD: 32 * 2**20, MMAP_MAX: 65536}
USERS_OWN = ("trim_threshold", "top_pad", "mmap_threshold", "mmap_max")


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """While open, freed memory stays with the process; it goes back to the system when this closes.

    By default the GNU C library returns large blocks at once, and the system fills every page of the next one with
    zeros, at every step anew: 3 to 4 % of a step of LeNet-5 and AlexNet (`benchmarks/allocator.py`). A training loop
    asks for the same sizes again and again. Nothing is done with other C libraries, or where the environment says when
    memory goes back (`MALLOC_TRIM_THRESHOLD_` or another of glibc's variables and tunables for that).
    """
    library = None if _set_by_user() else _gnu_c_library()
    if library is None:
        yield
        return
    for option, value in KEPT.items():
        library.mallopt(option, value)
    try:
        yield
    finally:
        for option, value in NOT_KEPT.items():
            library.mallopt(option, value)
        library.malloc_trim(0)


def _set_by_user() -> bool:
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    return any(f"MALLOC_{name.upper()}_" in os.environ or f"malloc.{name}" in tunables for name in USERS_OWN)


@cache
def _gnu_c_library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows has none of this name
        return None
    return library if hasattr(library, "gnu_get_libc_version") else None
