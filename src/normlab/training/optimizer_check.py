"""Check that optimizer and scheduler can be used, before anything is written."""

from contextlib import suppress

import torch
from torch import nn

from normlab.training.build import build_optimizer
from normlab.training.tasks import Task

# What an optimizer raises that gets arguments, parameters or gradients that it does not
# take.
FAULTS = (TypeError, ValueError, AttributeError, RuntimeError, AssertionError)


# Optimizers whose operations PyTorch does not have for sharded tensors.
NOT_SHARDED = ("torch.optim.Adafactor",)


def check_optimizer(
    options: dict, network: nn.Module, device_type: str, strategy: str = "auto"
) -> None:
    """Refuse an optimizer that cannot be built, or that cannot make a step.

    The step is made on a small network of its own. It shows what a signature does not,
    such as an optimizer that evaluates the loss again or needs second derivatives.

    Args:
        options: the `optimizer` group of a resolved configuration.
        network: the network to train, which stays as it is.
        device_type: where the run trains, such as cuda. Off the CPU, failures that may
            come from the CPU are not refused.
        strategy: how processes share the work, such as fsdp.

    Raises:
        ValueError: has the reason that the optimizer gave.
    """
    if strategy == "fsdp" and options["_target_"] in NOT_SHARDED:
        raise ValueError(
            f"the optimizer of device=fsdp must accept sharded parameters, which "
            f"{options['_target_']} does not; take another one or device=ddp"
        )
    may_be_the_cpu = () if device_type == "cpu" else (RuntimeError, AssertionError)
    try:
        with suppress(*may_be_the_cpu):
            build_optimizer(options, network)
            _make_step(options)
    except FAULTS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        name = options.get("name", options["_target_"])
        raise ValueError(
            f"the optimizer {name} must make steps by the gradients of "
            f"batches, with the arguments that it got: {reason}"
        ) from error


def _make_step(options: dict) -> None:
    """Make one step on three linear layers."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3), nn.Linear(3, 2))
        network(torch.randn(4, 2)).square().mean().backward()
        build_optimizer(options, network).step()


def check_scheduler(task: Task, options: dict) -> None:
    """Refuse a scheduler that cannot be built for the optimizer of a task.

    Args:
        task: the task, which stays as it is.
        options: the `scheduler` group of a resolved configuration.

    Raises:
        ValueError: has the reason that the scheduler gave.
    """
    if task.build_scheduler is None:
        return
    try:
        task.build_scheduler(task.build_optimizer(task.network))
    except FAULTS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"the scheduler {options['_target_']} must suit the optimizer and its own "
            f"arguments: {reason}"
        ) from error
