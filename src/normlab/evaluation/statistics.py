"""The statistics by which norms normalize in evaluation, and how to replace them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from normlab.data.blocks import Block, Part
from normlab.norms import BatchNorm
from normlab.training.recalibration import (
    has_averages,
    may_average,
    no_averages,
    statistics_of_call,
)
from normlab.training.steps import unchanged_buffers

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


@contextmanager
def batch_statistics(network: nn.Module) -> Iterator[None]:
    """Normalize by the statistics of each batch inside of the `with` block.

    This concerns norms with running statistics, whatever these are called. They are
    neither used nor updated. The network is meant to be in evaluation mode.

    Args:
        network: restored when the block ends.

    Raises:
        ValueError: the network keeps no running statistics. If only a call can show
            this, it is raised at the end of the block.
    """
    if not any(map(may_average, network.modules())):
        raise no_averages()
    with batch_statistics_where_kept(network) as averaging:
        yield
    if not averaging:
        raise no_averages()


@contextmanager
def batch_statistics_where_kept(network: nn.Module) -> Iterator[set[nn.Module]]:
    """`batch_statistics`, which is nothing for a network without running statistics.

    Args:
        network: restored when the block ends.

    Yields:
        the norms that were found to keep running statistics, by now.
    """
    averaging: set[nn.Module] = set()
    with ExitStack() as stack:
        for layer in filter(may_average, network.modules()):
            if isinstance(layer, BatchNorm | nn.modules.batchnorm._BatchNorm):
                averaging.add(layer)
                stack.enter_context(without_running_statistics(layer))
            else:
                stack.enter_context(training_without_updates(layer, averaging))
        yield averaging


# The layers below are annotated as Any: for type checkers every attribute of a module
# is a tensor or a module.


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
def training_without_updates(layer: Any, averaging: set[nn.Module]) -> Iterator[None]:
    """Put a layer into training mode for every call, and its buffers back afterwards.

    EvoNorm-B0 needs this: it uses the variance of the batch in training mode only. So
    do norms of the user's own, whose buffers may have any name. Whether their calls
    move these towards the batch is tried at the first call.

    Args:
        layer: a layer that `may_average`.
        averaging: gets the layer if it keeps running statistics.
    """
    training = layer.training
    buffers = ExitStack()
    is_known = has_averages(layer)
    if is_known:
        averaging.add(layer)

    def train(layer: Any, inputs: tuple, options: dict) -> None:
        nonlocal is_known
        layer.train()
        if not is_known:
            is_known = True
            if statistics_of_call(layer, inputs, options):
                averaging.add(layer)
        if layer in averaging:
            buffers.enter_context(unchanged_buffers(layer))
        else:
            layer.eval()

    def restore(layer: Any, inputs: tuple, output: Any) -> None:
        buffers.close()

    hooks = [
        layer.register_forward_pre_hook(train, with_kwargs=True),
        layer.register_forward_hook(restore, always_call=True),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        layer.train(training)


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
