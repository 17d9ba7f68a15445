"""Freed memory is asked of the system once, not at every step."""

import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from normlab import allocator
from normlab.allocator import KEPT, NOT_KEPT, freed_memory_kept
from normlab.config import run_folder
from normlab.evaluation import evaluate_run
from normlab.experiment import run

MIB, SIZE = 2**20, 64
# In a process of its own, whose memory nobody else has cut into pieces.
SCRIPT = f"""
import ctypes
from pathlib import Path
from resource import RUSAGE_SELF, getpagesize, getrusage
from normlab.allocator import freed_memory_kept

ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # no huge pages, which are handed out as one

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * getpagesize()

def handed_out():
    return getrusage(RUSAGE_SELF).ru_minflt * getpagesize()

before = resident()
try:
    with freed_memory_kept():
        b"x" * ({SIZE} * {MIB})
        kept, asked = resident() - before, handed_out()
        b"x" * ({SIZE} * {MIB})
        asked = handed_out() - asked
        raise KeyError
except KeyError:
    print(kept // {MIB}, asked // {MIB}, (resident() - before) // {MIB})
"""
only_gnu = pytest.mark.skipif(allocator._gnu_c_library() is None, reason="the C library here is not GNU's")


def measured(**environment: str) -> tuple[int, ...]:
    """MiB that stay after 64 are freed, are asked for by the next 64, and stay after an error left the context."""
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True
    )
    return tuple(map(int, process.stdout.split()))


@only_gnu
def test_the_next_block_gets_the_pages_of_the_freed_one_and_in_the_end_the_system_has_them_back():
    kept, asked, left = measured()
    assert SIZE - 2 <= kept <= SIZE + 2
    assert asked <= 2
    assert left <= 4


@only_gnu
@pytest.mark.parametrize(
    ("name", "value"),
    [("MALLOC_TRIM_THRESHOLD_", "1000000"), ("MALLOC_MMAP_MAX_", "9"), ("GLIBC_TUNABLES", "glibc.malloc.mmap_max=9")],
)
def test_what_the_user_set_is_left_alone(name, value):
    kept, asked, left = measured(**{name: value})
    assert kept <= 4
    assert SIZE - 2 <= asked <= SIZE + 4
    assert left <= 4


class Recorder:
    """A C library that notes what it is asked for."""

    def __init__(self) -> None:
        self.asked = []

    def mallopt(self, option: int, value: int) -> None:
        self.asked.append((option, value))

    def malloc_trim(self, pad: int) -> None:
        self.asked.append(pad)


@pytest.mark.filterwarnings("ignore:.*treespec.*")
def test_training_scoring_and_evaluation_keep_memory_while_they_last(compose, monkeypatch, tmp_path):
    composed = compose("trainer.max_epochs=1", "progress=false", f"paths.outputs={tmp_path}")
    config = OmegaConf.to_container(composed, resolve=True)
    library = Recorder()
    monkeypatch.setattr(allocator, "_gnu_c_library", lambda: library)
    monkeypatch.setattr(allocator, "_set_by_user", lambda: False)
    run(config)
    once = [*KEPT.items(), *NOT_KEPT.items(), 0]
    assert library.asked == once
    evaluate_run(run_folder(config))
    assert library.asked == 2 * once


def test_another_c_library_is_asked_for_nothing(monkeypatch):
    library = Recorder()  # it does not say that it is GNU's
    monkeypatch.setattr(allocator, "_gnu_c_library", allocator._gnu_c_library.__wrapped__)
    monkeypatch.setattr("ctypes.CDLL", lambda name: library)
    with freed_memory_kept():
        pass
    assert library.asked == []
