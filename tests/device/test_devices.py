"""The device of a run: what is refused, where it scores, and its threads."""

import os
from contextlib import nullcontext

import pytest
import torch
from omegaconf import OmegaConf

from normlab.device.devices import (
    Device,
    check_device,
    describe_device,
    evaluation_context,
    scoring_device,
    set_threads,
)
from normlab.training.preparation import prepare

OPTIONS = {
    "accelerator": "auto",
    "devices": 1,
    "strategy": "auto",
    "precision": "32-true",
    "threads": "auto",
    "compile": False,
    "channels_last": True,
    "deterministic": False,
}


def test_a_device_is_read_from_a_configuration(compose):
    assert Device.from_config(OPTIONS) == Device(**OPTIONS)
    composed = OmegaConf.to_container(compose("device=ddp").device)
    device = Device.from_config(composed)
    assert (device.devices, device.strategy, device.compile) == (2, "ddp", False)


def test_runs_of_earlier_versions_have_no_channels_last():
    earlier = {key: value for key, value in OPTIONS.items() if key != "channels_last"}
    assert Device.from_config(earlier) == Device(**earlier, channels_last=False)


def test_options_that_nothing_reads_are_left_out():
    assert Device.from_config(OPTIONS | {"color": "red"}) == Device(**OPTIONS)


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
def test_torchs_synchronized_norm_is_refused_on_cpus(compose, monkeypatch, accelerator):
    # With `cpu` there is a GPU that the run does not use.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: accelerator == "cpu")
    composed = compose("norm=torch", "norm.sync=true", f"device={accelerator}")
    settings = OmegaConf.to_container(composed, resolve=True)
    with pytest.raises(
        ValueError,
        match=r"^norm=torch norm.sync=true needs GPUs .*; "
        r"use norm=custom norm.sync=true$",
    ):
        prepare(settings)


@pytest.mark.parametrize(("name", "count"), [("cuda", 1), ("auto", 1)])
def test_more_processes_than_gpus_are_refused(monkeypatch, name, count):
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    with pytest.raises(
        ValueError,
        match="device.devices=2 needs as many cuda devices and torch finds 1; lower it",
    ):
        check_device(device(name, 2))
    check_device(device(name, 1))
    check_device(device("cpu", 2))


def test_an_accelerator_that_is_missing_is_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(
        ValueError,
        match="^device=cuda needs a cuda device and torch finds none here; "
        "use device=auto or device=cpu$",
    ):
        check_device(device("cuda", 1))
    check_device(device("auto", 2))


def device(accelerator, devices):
    return Device(**OPTIONS | {"accelerator": accelerator, "devices": devices})


@pytest.mark.parametrize(
    ("accelerator", "cuda", "mps", "expected"),
    [
        ("auto", True, True, "cuda:1"),
        ("auto", False, True, "mps"),
        ("auto", False, False, "cpu"),
        ("cuda", True, False, "cuda:1"),
        ("mps", True, True, "mps"),
        ("cpu", True, True, "cpu"),
    ],
)
def test_parts_are_scored_on_the_accelerator(
    monkeypatch, accelerator, cuda, mps, expected
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert scoring_device(accelerator) == torch.device(expected)


def test_mixed_precision_is_that_of_training():
    layer, cpu = torch.nn.Linear(2, 2), torch.device("cpu")
    assert evaluation_context("32-true", cpu) is nullcontext
    with evaluation_context("bf16-mixed", cpu)():
        assert layer(torch.ones(1, 2)).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("accelerator", "cuda", "expected"),
    [
        ("auto", True, ("cuda", "a GPU")),
        ("cpu", True, ("cpu", "cpu")),
        ("auto", False, ("auto", "cpu")),
    ],
)
def test_a_device_is_described_by_its_name(monkeypatch, accelerator, cuda, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    kind, name = expected
    threads = torch.get_num_threads()
    described = {"accelerator": kind, "name": name, "threads": threads}
    assert describe_device(accelerator) == described
