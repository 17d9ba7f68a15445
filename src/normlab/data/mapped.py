"""Samples that are mapped from a file which the memory cannot hold.

Such samples are read when they are used. Left alone, the system reads them one page
after the other, and much of what lies around each of them. Here it is told which
samples come next, so that it reads just these, many at a time, while others are used.
"""

import ctypes
import mmap
import os
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# Mapped samples are treated so if they need a larger share of the memory: the rest is
# needed for the network, and for what the system keeps of other files.
LARGEST_SHARE = 0.5
GROUPS = Path("/sys/fs/cgroup")


def memory_limit() -> int:
    """The memory that this process may use, in bytes.

    It is that of the machine, or of the control group in which the process runs, as in
    a container or a job of SLURM, if that is less.
    """
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = [machine]
    for path in _limit_files():
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        if text.isdigit():  # otherwise "max"
            limits.append(int(text))
    return min(limits)


def _limit_files() -> list[Path]:
    """Files that may hold the limit of this process or of a group around it."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    files = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        root = GROUPS
        name = "memory.max"
        if controllers == "memory":
            root = GROUPS / "memory"
            name = "memory.limit_in_bytes"
        elif controllers:
            continue
        folder = Path(group.lstrip("/"))
        for around in (folder, *folder.parents):
            files.append(root / around / name)
    return files


def exceeds_memory(tensors: list[Tensor]) -> bool:
    """Whether mapped tensors are too large for the memory to keep them."""
    needed = sum(tensor.nbytes for tensor in tensors)
    return needed > LARGEST_SHARE * memory_limit()


def gather(samples: Tensor, rows: Tensor) -> Tensor:
    """Copy rows of a tensor that is mapped, in the order in which it is stored.

    Args:
        samples: ``(M, ...)``. Images whose channels are stored last are copied as they
            are stored, which is faster.
        rows: int64 ``(B,)``, on any device.
    """
    rows = rows.to(samples.device)
    if samples.ndim == 4 and not samples.is_contiguous():
        stored = samples.permute(0, 2, 3, 1)
        if stored.is_contiguous():
            return stored.index_select(0, rows).permute(0, 3, 1, 2)
    return samples.index_select(0, rows)


def read_ahead(samples: Tensor, rows: Tensor) -> None:
    """Ask the system to read rows of a mapped tensor, and do not wait for it.

    Args:
        samples: ``(M, ...)``, whose first axis is the outermost in memory.
        rows: int64 ``(B,)``.
    """
    advise = _madvise()
    if advise is None:
        return
    row_bytes = samples.stride(0) * samples.element_size()
    start = samples.data_ptr()
    for first, count in _runs(rows):
        begin = start + first * row_bytes
        num_bytes = count * row_bytes
        _advise(advise, begin, num_bytes, mmap.MADV_WILLNEED)


def read_in_any_order(samples: Tensor) -> None:
    """Ask the system to read no more of a mapped tensor than is used."""
    advise = _madvise()
    if advise is None:
        return
    _advise(advise, samples.data_ptr(), samples.nbytes, mmap.MADV_RANDOM)


def _advise(advise: Any, begin: int, num_bytes: int, advice: int) -> None:
    """Say how some bytes of the memory will be used; errors do not matter."""
    page = begin - begin % mmap.PAGESIZE  # the address must be that of a page
    length = begin + num_bytes - page
    advise(ctypes.c_void_p(page), ctypes.c_size_t(length), advice)


def _runs(rows: Tensor) -> list[tuple[int, int]]:
    """Rows as first row and length of each run of neighbours."""
    ordered = rows.cpu().unique()
    if not len(ordered):
        return []
    is_first = torch.ones(len(ordered), dtype=torch.bool)
    is_first[1:] = ordered.diff() != 1
    starts = is_first.nonzero()[:, 0]
    end = torch.tensor([len(ordered)])
    lengths = starts.diff(append=end)
    rows_of_starts = ordered[starts]
    return list(zip(rows_of_starts.tolist(), lengths.tolist(), strict=True))


@cache
def _madvise() -> Any:
    """The function of the system; None where there is none, as on Windows."""
    if not hasattr(mmap, "MADV_WILLNEED"):
        return None
    return getattr(ctypes.CDLL(None), "madvise", None)
