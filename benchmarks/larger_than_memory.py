"""An epoch over images that the memory cannot hold, beside the speed of the disk.

    python benchmarks/larger_than_memory.py [--memory 1] [--size 64] [--folder FOLDER]

Writes a set of bytes three times as large as the memory that is allowed, and reads it
in a process that a control group limits to this memory, which needs root. It measures

- the disk: the file from its beginning to its end, and images in random order by
  several threads with `pread`;
- an epoch of training batches as normlab makes them, shuffled and standardized, without
  a network, or the first minute of it;
- the same epoch with the file mapped as numpy maps it, and nothing more.

The machine should have nothing else to do.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from normlab.data.blocks import Part, Progress, TrainBlocks
from normlab.data.mapped import exceeds_memory
from normlab.data.transforms import ImageTransform

GIGABYTE = 2**30
TIMES_THE_MEMORY = 3
CHUNK = 2**24
BATCH_SIZE = 64
THREADS = 8
MOST_SECONDS = 60  # of an epoch
GROUPS = Path("/sys/fs/cgroup")


def write(path: Path, num_images: int, size: int) -> None:
    """Write random images, which no disk can compress."""
    shape = (num_images, 3, size, size)
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    random = np.random.default_rng(0)
    step = max(1, CHUNK // array[:1].nbytes)
    for start in range(0, num_images, step):
        chunk = array[start : start + step]
        chunk[:] = np.frombuffer(random.bytes(chunk.nbytes), np.uint8).reshape(
            chunk.shape
        )
    array.flush()
    del array
    forget(path)


def forget(path: Path) -> None:
    """Make the system forget what it keeps of a file in memory."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def sequential(path: Path) -> float:
    """Bytes per second from the beginning of the file to its end."""
    forget(path)
    start = time.perf_counter()
    with path.open("rb", buffering=0) as file:
        while file.read(CHUNK):
            pass
    return path.stat().st_size / (time.perf_counter() - start)


def random_reads(path: Path, offset: int, num_images: int, image_bytes: int) -> float:
    """Bytes per second of whole images in random order, with several threads."""
    forget(path)
    order = np.random.default_rng(0).permutation(num_images).tolist()
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)

    def read(rows: list[int]) -> int:
        starts = (offset + row * image_bytes for row in rows)
        return sum(len(os.pread(descriptor, image_bytes, at)) for at in starts)

    start = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        shares = [order[thread::THREADS] for thread in range(THREADS)]
        num_bytes = sum(pool.map(read, shares))
    os.close(descriptor)
    return num_bytes / (time.perf_counter() - start)


def epoch(path: Path, left_on_disk: bool) -> tuple[float, float]:
    """Bytes and images per second of an epoch of training batches."""
    forget(path)
    images = torch.from_numpy(np.load(path, mmap_mode="c"))
    transform = ImageTransform((0.5,) * 3, (0.25,) * 3, images.shape[-1])
    targets = torch.zeros(len(images), dtype=torch.int64)
    part = Part(images, targets, torch.arange(len(images)), transform)
    if left_on_disk:
        assert exceeds_memory([images])
        part = part.left_on_disk()
    start = time.perf_counter()
    num_images = 0
    for block in TrainBlocks(part, BATCH_SIZE, 0, Progress()):
        num_images += len(block.inputs)
        seconds = time.perf_counter() - start
        if seconds > MOST_SECONDS:
            break
    return num_images * images[0].nbytes / seconds, num_images / seconds


def measure(path: Path) -> None:
    """Print every measurement of a file; in a limited process."""
    torch.set_num_threads(1)
    array = np.load(path, mmap_mode="r")
    image_bytes = array[:1].nbytes
    print(f"{len(array):,} images of {image_bytes:,} bytes", flush=True)
    show("disk, in order", sequential(path))
    speed = random_reads(path, array.offset, len(array), image_bytes)
    show(f"disk, in random order, {THREADS} threads", speed)
    for name, left_on_disk in (("normlab", True), ("mapped alone", False)):
        speed, images = epoch(path, left_on_disk)
        show(f"epoch, {name} ({images:,.0f} images/s)", speed)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"{'largest resident set':45} {peak:8.0f} MiB")


def show(name: str, speed: float) -> None:
    print(f"{name:45} {speed / 2**20:8.0f} MiB/s", flush=True)


def limited(memory: int) -> Path:
    """Make a control group with a limit of memory in bytes, and return its folder."""
    is_first_version = (GROUPS / "memory").is_dir()
    parent = GROUPS / "memory" if is_first_version else GROUPS
    group = parent / f"normlab-benchmark-{os.getpid()}"
    group.mkdir()
    limit = "memory.limit_in_bytes" if is_first_version else "memory.max"
    (group / limit).write_text(str(memory))
    return group


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--memory", type=float, default=1, help="GiB (default: 1)")
    parser.add_argument(
        "--size", type=int, default=64, help="pixels per side (default: 64)"
    )
    parser.add_argument("--folder", type=Path, help="on the disk to measure")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure)
        return

    memory = int(options.memory * GIGABYTE)
    num_images = TIMES_THE_MEMORY * memory // (3 * options.size**2)
    group = limited(memory)
    try:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            path = Path(folder) / "images.npy"
            write(path, num_images, options.size)
            command = [sys.executable, __file__, "--measure", str(path)]
            subprocess.run(
                command,
                check=True,
                preexec_fn=lambda: (group / "cgroup.procs").write_text(
                    str(os.getpid())
                ),
            )
    finally:
        group.rmdir()


if __name__ == "__main__":
    main()
