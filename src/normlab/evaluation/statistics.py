"""The statistics by which norms normalize in evaluation, and how to replace them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from normlab.data.blocks import Block, Part, spread
from normlab.training.recalibration import (
    BATCH_NORMS,
    around_calls,
    by_batch_alone,
    has_averages,
    may_average,
    no_averages,
    plain_training,
    statistics_of_call,
)
from normlab.training.steps import unchanged_buffers


@contextmanager
def restored(network: nn.Module) -> Iterator[None]:
    """Put parameters and buffers back as they were, when the `with` block ends."""
    state = {name: value.clone() for name, value in network.state_dict().items()}
    needed = {value: value.requires_grad for value in network.parameters()}
    try:
        yield
    finally:
        network.load_state_dict(state)
        for value, needs_gradient in needed.items():
            value.requires_grad_(needs_gradient)


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
            if isinstance(layer, BATCH_NORMS):
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

    with by_batch_alone(layer), around_calls(layer, train, restore):
        try:
            yield
        finally:
            layer.train(training)


@contextmanager
def mixed_statistics(network: nn.Module, pseudo_count: float) -> Iterator[None]:
    """Normalize by running and batch statistics together inside of the `with` block.

    Both mean and variance are ``a running + (1 - a) batch`` with ``a = N / (N + n)``
    for a batch of n samples: the running statistics weigh as much as N samples
    (Schneider et al., 2020, arXiv 2006.16971). As in running averages, the variance of
    a batch is the unbiased one.

    Args:
        network: in evaluation mode; its running statistics stay as they are.
        pseudo_count: N, at least 0.

    Raises:
        ValueError: the network keeps no running statistics.
    """
    found: set[nn.Module] = set()
    with ExitStack() as stack:
        for layer in filter(may_average, network.modules()):
            stack.enter_context(_mixing(layer, pseudo_count, found))
        yield
    if not found:
        raise no_averages()


@contextmanager
def _mixing(layer: Any, pseudo_count: float, found: set[nn.Module]) -> Iterator[None]:
    """Mix the buffers of a layer with the statistics of each of its calls.

    Args:
        layer: a layer that `may_average`.
        pseudo_count: see `mixed_statistics`.
        found: gets the layer if it keeps running statistics.
    """
    own: dict[str, torch.Tensor] = {}

    def mix(layer: Any, inputs: tuple, options: dict) -> None:
        num_samples = len((*inputs, *options.values())[0])
        share = pseudo_count / (pseudo_count + num_samples)
        for name, value in _statistics_of_batch(layer, inputs, options).items():
            own[name] = layer._buffers[name]
            layer._buffers[name] = share * own[name] + (1 - share) * value
            found.add(layer)

    def put_back(layer: Any, inputs: tuple, output: Any) -> None:
        layer._buffers.update(own)
        own.clear()

    with around_calls(layer, mix, put_back):
        yield


def _statistics_of_batch(
    layer: Any, inputs: tuple, options: dict
) -> dict[str, torch.Tensor]:
    """What one call would move the buffers of a layer to, which stays as it is."""
    if isinstance(layer, BATCH_NORMS):
        # With a momentum of None, the average over all batches would hardly move.
        with plain_training(layer, momentum=1.0):
            return statistics_of_call(layer, inputs, options)
    layer.train()
    try:
        return statistics_of_call(layer, inputs, options)
    finally:
        layer.eval()


class ShuffledBatches:
    """Batches in random order, as in training, with every sample once.

    The order is always the same. A last batch of one sample, which batch norm could not
    normalize, is joined to the batch before it.

    Args:
        part: a part of the data.
        batch_size: samples per batch.
    """

    def __init__(self, part: Part, batch_size: int) -> None:
        self.part = part
        rows = spread(part.rows, part.limit)
        generator = torch.Generator().manual_seed(0)
        order = torch.randperm(len(rows), generator=generator).to(rows.device)
        self.groups = list(rows[order].split(batch_size))
        if len(self.groups) > 1 and len(self.groups[-1]) == 1:
            self.groups[-2:] = [torch.cat(self.groups[-2:])]

    def __iter__(self) -> Iterator[Block]:
        for rows in self.groups:
            inputs = self.part.evaluation_inputs(rows)
            yield Block(inputs, self.part.targets[rows], len(rows))
