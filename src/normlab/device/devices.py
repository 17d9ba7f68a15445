"""The device of a run: its settings, what is refused, and what follows from them."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from hydra.utils import get_object

from normlab.cores import slurm_cores
from normlab.norms import torch_batch_norm

# Below this much work per step, threads wait for each other longer than they compute.
# LeNet-5 on MNIST (0.1e9) ran at 9,600 samples/s on one thread and at 400 on two of a
# machine with other work to do; AlexNet (18e9) became 1.8 times faster with two.
FLOPS_FOR_ALL_CORES = 4e9


@dataclass(frozen=True)
class Device:
    """The `device` group of a configuration.

    Attributes:
        accelerator: `auto` (whatever is there), `cpu`, `cuda` or `mps`.
        devices: number of processes, each with a device of its own.
        strategy: how processes share the work: `auto`, `ddp` or `fsdp`.
        precision: `32-true` or `bf16-mixed`.
        threads: number of CPU threads, or `auto` to choose by the work per step.
        compile: False, True, or a mode of `torch.compile`.
        channels_last: whether images and convolutions keep the channels of a pixel
            side by side in memory.
        deterministic: whether PyTorch uses deterministic algorithms only.
    """

    accelerator: str
    devices: int
    strategy: str
    precision: str
    threads: int | str
    compile: bool | str
    channels_last: bool
    deterministic: bool

    @classmethod
    def from_config(cls, options: dict[str, Any]) -> "Device":
        """Read the `device` group of a resolved configuration.

        Args:
            options: `config["device"]`; the runs of earlier versions have no
                `channels_last`.
        """
        return cls(
            accelerator=options["accelerator"],
            devices=options["devices"],
            strategy=options["strategy"],
            precision=options["precision"],
            threads=options["threads"],
            compile=options["compile"],
            channels_last=bool(options.get("channels_last")),
            deterministic=options["deterministic"],
        )


def check_device(device: Device) -> None:
    """Refuse an accelerator that is missing, and more processes than accelerators.

    Raises:
        ValueError: says what the run needs and what torch finds.
    """
    counts = {
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }
    name = device.accelerator
    if name in counts and counts[name] == 0:
        raise ValueError(
            f"device={name} needs a {name} device and torch finds none here; "
            f"use device=auto or device=cpu"
        )

    kind: str | None = name
    if name == "auto":
        kind = next((kind for kind, count in counts.items() if count > 0), None)
    if kind in counts and counts[kind] < device.devices:
        raise ValueError(
            f"device.devices={device.devices} needs as many {kind} devices and torch "
            f"finds {counts[kind]}; lower it, or set device.accelerator=cpu"
        )


def check_synchronization(norm: dict[str, Any], accelerator: str) -> None:
    """Refuse PyTorch's synchronized batch norm if the run has no GPU.

    Args:
        norm: the `norm` group of a resolved configuration.
        accelerator: see `Device`.

    Raises:
        ValueError: names the norm that works on CPUs.
    """
    if needs_gpu_to_synchronize(norm, accelerator):
        raise ValueError(
            "norm=torch norm.sync=true needs GPUs (torch.nn.SyncBatchNorm has no CPU "
            "version) and this run has none; use norm=custom norm.sync=true"
        )


def needs_gpu_to_synchronize(norm: dict[str, Any], accelerator: str) -> bool:
    """Whether a norm is PyTorch's synchronized batch norm and this machine has no GPU.

    Args:
        norm: the `norm` group of a resolved configuration, whose target was checked.
        accelerator: see `Device`.
    """
    if not norm.get("sync") or get_object(norm["_target_"]) is not torch_batch_norm:
        return False
    return scoring_device(accelerator).type != "cuda"


def scoring_device(accelerator: str) -> torch.device:
    """The torch device on which a run with this accelerator scores its parts."""
    if accelerator in ("auto", "cuda") and torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    if accelerator in ("auto", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def evaluation_context(
    precision: str, device: torch.device
) -> Callable[[], AbstractContextManager[Any]]:
    """A maker of contexts for forward passes: mixed precision if training had it."""
    if precision == "bf16-mixed":
        return partial(torch.autocast, device.type, dtype=torch.bfloat16)
    return nullcontext


def set_threads(threads: int | str, flops: float) -> None:
    """Set the number of CPU threads of this process.

    A small network is slower on two threads than on one, so `auto` goes by the work.

    Args:
        threads: a number, or `auto` for one thread or all cores (at most
            OMP_NUM_THREADS, if that is set).
        flops: floating point operations of one training step.
    """
    if isinstance(threads, int):
        torch.set_num_threads(threads)
    elif flops < FLOPS_FOR_ALL_CORES:
        torch.set_num_threads(1)
    else:
        torch.set_num_threads(_usable_cores())


def _usable_cores() -> int:
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    cores = min(cores, slurm_cores(os.environ) or cores)
    limit = os.environ.get("OMP_NUM_THREADS", "")
    if limit.isdigit() and int(limit) > 0:
        return min(cores, int(limit))
    return cores


def describe_device(accelerator: str) -> dict[str, Any]:
    """Accelerator, name and threads that this process uses, for `environment.json`."""
    name = "cpu"
    if accelerator in ("auto", "cuda") and torch.cuda.is_available():
        accelerator = "cuda"
        name = torch.cuda.get_device_name()
    return {
        "accelerator": accelerator,
        "name": name,
        "threads": torch.get_num_threads(),
    }
