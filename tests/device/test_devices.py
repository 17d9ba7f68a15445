"""The device of a run: what is refused, and how many threads it gets."""

import os

import pytest
import torch
from omegaconf import OmegaConf

from normlab.device.devices import check_device, set_threads
from normlab.training.preparation import prepare


@pytest.mark.parametrize(
    ("threads", "flops", "limit", "expected"),
    [
        (3, 1e6, "1", 3),
        ("auto", 1e6, "", 1),
        ("auto", 1e12, "1", 1),
        ("auto", 1e12, "", len(os.sched_getaffinity(0))),
    ],
)
def test_threads_follow_the_work_of_a_step(
    monkeypatch, threads, flops, limit, expected
):
    monkeypatch.setenv("OMP_NUM_THREADS", limit)
    before = torch.get_num_threads()
    try:
        set_threads(threads, flops)
        assert torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("accelerator", ["cpu", "auto"])
def test_torchs_synchronized_norm_on_cpus_is_refused_before_training(
    compose, monkeypatch, accelerator
):
    monkeypatch.setattr(
        torch.cuda, "is_available", lambda: accelerator == "cpu"
    )  # a GPU that the run does not use
    composed = compose("norm=torch", "norm.sync=true", f"device={accelerator}")
    settings = OmegaConf.to_container(composed, resolve=True)
    with pytest.raises(
        ValueError,
        match=r"^norm=torch norm.sync=true needs GPUs .*; use norm=custom norm.sync=true$",
    ):
        prepare(settings)


@pytest.mark.parametrize(("name", "count"), [("cuda", 1), ("auto", 1)])
def test_more_processes_than_gpus_are_refused(monkeypatch, name, count):
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    with pytest.raises(
        ValueError,
        match="device.devices=2 needs as many cuda devices and torch finds 1; lower it",
    ):
        check_device({"accelerator": name, "devices": 2})
    check_device({"accelerator": name, "devices": 1})
    check_device({"accelerator": "cpu", "devices": 2})
