"""The statistics by which norms normalize in evaluation, and how to replace them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from normlab.data.blocks import Block, Part
from normlab.norms import BatchNorm
from normlab.training.recalibration import layers_with_averages

STATISTICS = ("running", "batch", "recalibrated", "frozen")


def check_statistics(statistics: str, num_batches: int) -> None:
    """Refuse unknown statistics, and recalibration over no batches.

    Args:
        statistics: should be one of `STATISTICS`.
        num_batches: number of batches for recalibration.

    Raises:
        ValueError: says what is possible.
    """
    if statistics not in STATISTICS:
        raise ValueError(
            f"statistics must be one of {', '.join(STATISTICS)}, got {statistics!r}"
        )
    if num_batches < 1:
        raise ValueError(f"num_batches must be at least 1, got {num_batches}")


# The layers below are annotated as Any: for type checkers every attribute of a module
# is a tensor or a module, but `momentum` is a number.


@contextmanager
def batch_statistics(network: nn.Module) -> Iterator[None]:
    """Normalize by the statistics of each batch inside of the `with` block.

    This concerns norms with running statistics, which are neither used nor updated.
    The network is meant to be in evaluation mode.

    Args:
        network: restored when the block ends.

    Raises:
        ValueError: the network keeps no running statistics.
    """
    with ExitStack() as stack:
        for layer in layers_with_averages(network):
            if isinstance(layer, BatchNorm | nn.modules.batchnorm._BatchNorm):
                stack.enter_context(without_running_statistics(layer))
            else:
                stack.enter_context(training_without_updates(layer))
        yield


@contextmanager
def without_running_statistics(layer: Any) -> Iterator[None]:
    """Take the running statistics from a batch norm, which then uses the batch's."""
    running_mean = layer.running_mean
    running_var = layer.running_var
    layer.running_mean = None
    layer.running_var = None
    try:
        yield
    finally:
        layer.running_mean = running_mean
        layer.running_var = running_var


@contextmanager
def training_without_updates(layer: Any) -> Iterator[None]:
    """Put a layer into training mode for every call, with a momentum of zero.

    EvoNorm-B0 needs this: it uses the variance of the batch in training mode only. So
    do norms of the user's own, whose momentum may mean something else; therefore the
    buffers are put back at the end.
    """
    momentum = layer.momentum
    buffers = {name: buffer.clone() for name, buffer in layer.named_buffers()}
    training = layer.training

    def train(layer: Any, inputs: tuple) -> None:
        layer.train()

    layer.momentum = 0.0
    hook = layer.register_forward_pre_hook(train)
    try:
        yield
    finally:
        hook.remove()
        layer.momentum = momentum
        layer.train(training)
        layer.load_state_dict(buffers, strict=False)


def shuffled_batches(part: Part, batch_size: int) -> list[Block]:
    """Batches in random order, as in training, with every sample once.

    The order is always the same. A last batch of one sample, which batch norm could not
    normalize, is joined to the batch before it.

    Args:
        part: a part of the data.
        batch_size: samples per batch.
    """
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(part), generator=generator).to(part.rows.device)
    groups = list(part.rows[order].split(batch_size))
    if len(groups) > 1 and len(groups[-1]) == 1:
        groups[-2:] = [torch.cat(groups[-2:])]
    return [
        Block(part.evaluation_inputs(rows), part.targets[rows], len(rows))
        for rows in groups
    ]
