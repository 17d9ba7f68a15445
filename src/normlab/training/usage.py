"""Processor time and memory that training takes, over all processes and attempts."""

import re
import resource
import sys
from contextlib import suppress
from pathlib import Path

import torch

from normlab.data.blocks import Progress
from normlab.training.collectives import sum_over_processes

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # see the manual page proc_pid_clear_refs(5)
MEBIBYTE = 2**20


class Usage:
    """Adds what this process takes from now on to what earlier attempts took.

    Args:
        progress: of the run, as it is resumed.
        device: where the run trains.
    """

    def __init__(self, progress: Progress, device: torch.device) -> None:
        self.device = device
        self._seconds_before = progress.processor_seconds
        self._memory_before = progress.peak_memory_mib
        self._device_memory_before = progress.peak_device_memory_mib
        self._started = processor_seconds()
        reset_peak_memory()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def record(self, progress: Progress) -> None:
        """Write the usage up to now into the progress of the run.

        All processes of the run must call this together.
        """
        device_memory = 0.0
        if self.device.type == "cuda":
            device_memory = torch.cuda.max_memory_allocated(self.device) / MEBIBYTE
        taken = [processor_seconds() - self._started, peak_memory(), device_memory]
        together = sum_over_processes(torch.tensor(taken, device=self.device))
        seconds, memory, device_memory = together.tolist()
        progress.processor_seconds = self._seconds_before + seconds
        progress.peak_memory_mib = max(self._memory_before, memory)
        progress.peak_device_memory_mib = max(self._device_memory_before, device_memory)


def processor_seconds() -> float:
    """Seconds that processors have worked for this process, over all its threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def peak_memory() -> float:
    """The most memory in MiB that this process has held at once.

    On Linux it counts from `reset_peak_memory`. Elsewhere, and where the system does
    not allow that, it counts from the start of the process.
    """
    # `ru_maxrss` of Linux counts the memory of the parent before an `exec`, too.
    with suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text())
        if found:
            return int(found[1]) * 1024 / MEBIBYTE
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MEBIBYTE


def reset_peak_memory() -> None:
    """Forget earlier peaks, such as those of other runs in this process."""
    with suppress(OSError):
        CLEAR_REFS.write_text(RESET_PEAK)
