"""Processor time and memory of a run."""

import sys
import time

import pytest
import torch

from normlab.data.blocks import Progress
from normlab.training import usage
from normlab.training.usage import Usage, peak_memory, processor_seconds


def work(seconds):
    end = processor_seconds() + seconds
    while processor_seconds() < end:
        sum(range(1000))


def test_processor_time_counts_work_and_not_waiting():
    progress = Progress(processor_seconds=100.0)
    measured = Usage(progress, torch.device("cpu"))
    work(0.1)
    time.sleep(0.3)
    measured.record(progress)
    assert 100.1 <= progress.processor_seconds < 100.4
    before = progress.processor_seconds
    measured.record(progress)  # once more: nothing is counted twice
    assert progress.processor_seconds - before < 0.1


@pytest.mark.skipif(sys.platform != "linux", reason="others cannot forget a peak")
def test_the_peak_of_a_run_is_its_own(monkeypatch):
    torch.ones(100 * 2**20)  # 400 MiB, of another run
    device = torch.device("cpu")
    progress = Progress()
    measured = Usage(progress, device)
    start = peak_memory()
    torch.ones(50 * 2**20)
    measured.record(progress)
    assert progress.peak_memory_mib - start == pytest.approx(200, abs=40)
    # An earlier attempt may have held more.
    resumed = Progress(peak_memory_mib=1e6)
    Usage(resumed, device).record(resumed)
    assert resumed.peak_memory_mib == 1e6


def test_without_the_files_of_linux_the_system_is_asked(monkeypatch, tmp_path):
    monkeypatch.setattr(usage, "STATUS", tmp_path / "status")
    monkeypatch.setattr(usage, "CLEAR_REFS", tmp_path / "no folder" / "clear_refs")
    usage.reset_peak_memory()
    assert 50 < peak_memory() < 1e6


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_the_peak_of_a_gpu_is_that_of_its_tensors():
    device = torch.device("cuda")
    torch.ones(100 * 2**20, device=device)
    progress = Progress()
    measured = Usage(progress, device)
    before = torch.cuda.memory_allocated() / 2**20
    torch.ones(50 * 2**20, device=device)
    measured.record(progress)
    assert progress.peak_device_memory_mib - before == pytest.approx(200, abs=1)
