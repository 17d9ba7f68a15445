"""The device of a run: what is refused, where parts are scored, in which precision, and on how many threads."""

import os
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import torch
from hydra.utils import get_object

from normlab.norms import torch_batch_norm

# Below this much work a step, threads wait for each other longer than they compute: LeNet-5 on MNIST (0.1e9) ran at
# 9,600 samples/s on one thread and 400 on two of a machine that had something else to do; AlexNet (18e9) gained 1.8.
FLOPS_FOR_ALL_CORES = 4e9


def check_device(device: dict) -> None:
    """Refuse an accelerator that is not there, and more processes than there are devices for them."""
    counts = {
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }
    name, wanted = device["accelerator"], device["devices"]
    if name in counts and counts[name] == 0:
        raise ValueError(
            f"device={name} needs a {name} device and torch finds none here; use device=auto or device=cpu"
        )
    kind = (
        name
        if name in counts
        else next((kind for kind in counts if counts[kind] and name == "auto"), None)
    )
    if kind is not None and counts[kind] < wanted:
        raise ValueError(
            f"device.devices={wanted} needs as many {kind} devices and torch finds {counts[kind]}; "
            f"lower it, or set device.accelerator=cpu"
        )


def check_synchronization(norm: dict, accelerator: str) -> None:
    """Refuse PyTorch's synchronized norm where the run has no GPU, before anything is built."""
    on_gpu = scoring_device(accelerator).type == "cuda"
    if (
        norm.get("sync")
        and get_object(norm["_target_"]) is torch_batch_norm
        and not on_gpu
    ):
        raise ValueError(
            "norm=torch norm.sync=true needs GPUs (torch.nn.SyncBatchNorm has no CPU version) and this run has none; "
            "use norm=custom norm.sync=true"
        )


def scoring_device(accelerator: str) -> torch.device:
    """The device on which a run of this configuration scores its parts."""
    if accelerator in ("auto", "cuda") and torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device(
        "mps"
        if accelerator in ("auto", "mps") and torch.backends.mps.is_available()
        else "cpu"
    )


def evaluation_context(precision: str, device: torch.device) -> Callable:
    """The context of a forward pass: automatic mixed precision where training had it."""
    return (
        partial(torch.autocast, device.type, dtype=torch.bfloat16)
        if precision == "bf16-mixed"
        else nullcontext
    )


def set_threads(threads: int | str, flops: float) -> None:
    """Use as many threads as the work of one step can feed: a small network is slower, not faster, on two.

    Args:
        threads: a number, or `auto`, which takes no more than OMP_NUM_THREADS where that is set.
        flops: of one training step.
    """
    cores = (
        len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1
    )
    limit = os.environ.get("OMP_NUM_THREADS", "")
    cores = min(cores, int(limit)) if limit.isdigit() and int(limit) > 0 else cores
    torch.set_num_threads(
        threads if threads != "auto" else (1 if flops < FLOPS_FOR_ALL_CORES else cores)
    )
