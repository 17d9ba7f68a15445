"""Statistics of norm layers in evaluation: running, of the batch, recalibrated, frozen."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from itertools import count

import torch
from torch import nn

from normlab.data.blocks import Block, Part
from normlab.norms import BatchNorm

STATISTICS = ("running", "batch", "recalibrated", "frozen")


def check_statistics(statistics: str, num_batches: int) -> None:
    """Refuse statistics that do not exist, and recalibration on nothing.

    Raises:
        ValueError: names what there is.
    """
    if statistics not in STATISTICS:
        raise ValueError(
            f"statistics must be one of {', '.join(STATISTICS)}, got {statistics!r}"
        )
    if num_batches < 1:
        raise ValueError(
            f"recalibrated statistics need at least one batch, got {num_batches}"
        )


def running_layers(network: nn.Module) -> list[nn.Module]:
    """Layers that average statistics over the batches of training."""
    return [
        layer
        for layer in network.modules()
        if isinstance(getattr(layer, "running_var", None), torch.Tensor)
        and hasattr(layer, "momentum")
    ]


def averaging_layers(network: nn.Module) -> list[nn.Module]:
    """`running_layers`, of which there must be some.

    Raises:
        ValueError: there is none.
    """
    if layers := running_layers(network):
        return layers
    raise ValueError(
        "the norm of this run keeps no statistics of batches; use --statistics running"
    )


@torch.no_grad()
def recalibrate(
    network: nn.Module, blocks: Iterator[Block], context: Callable = nullcontext
) -> None:
    """Recompute running statistics with the weights as they are: the plain mean over the batches' statistics.

    A layer that the network calls several times for a batch counts every call, for the time step that it belongs to
    where every step has statistics of its own. Everything but the norm layers is in evaluation mode.

    Args:
        network: changed in place, then in evaluation mode.
        blocks: a batch each.
        context: of the forward pass, see `normlab.devices.evaluation_context`.

    Raises:
        ValueError: the network has no running statistics.
    """
    network.eval()
    with ExitStack() as stack:
        for layer in averaging_layers(network):
            stack.enter_context(averaging_anew(layer))
        for block in blocks:
            with context():
                network(block.inputs)


@contextmanager
def averaging_anew(layer: nn.Module) -> Iterator[None]:
    """While open, the layer normalizes by the batch alone and its statistics are the plain mean over the calls."""
    momentum, calls = layer.momentum, count(1)

    def weigh(layer: nn.Module, inputs: tuple) -> None:
        layer.momentum = 1 / next(calls)

    # Batch norms count where they average: one that an LSTM calls at every step has statistics and a counter for each.
    counts = isinstance(layer, BatchNorm | nn.modules.batchnorm._BatchNorm)
    hook = None if counts else layer.register_forward_pre_hook(weigh)
    if counts:
        layer.momentum = None
    if hasattr(layer, "reset_running_stats"):
        layer.reset_running_stats()
    if isinstance(layer, BatchNorm):
        layer.plain = True
    layer.train()
    try:
        yield
    finally:
        if hook is not None:
            hook.remove()
        layer.momentum = momentum
        if isinstance(layer, BatchNorm):
            layer.plain = False
        layer.eval()


@contextmanager
def statistics_of_the_batch(network: nn.Module, active: bool) -> Iterator[None]:
    """While open, norms with running statistics use those of the batch, even in evaluation, and remember nothing.

    Raises:
        ValueError: the network has no running statistics.
    """
    layers = averaging_layers(network) if active else []
    with ExitStack() as stack:
        for layer in layers:
            without = (
                without_running_statistics
                if hasattr(layer, "running_mean")
                else without_memory
            )
            stack.enter_context(without(layer))
        yield


@contextmanager
def without_running_statistics(layer: nn.Module) -> Iterator[None]:
    """Batch norms fall back to the batch where there is nothing else."""
    kept = layer.running_mean, layer.running_var
    layer.running_mean = layer.running_var = None
    try:
        yield
    finally:
        layer.running_mean, layer.running_var = kept


@contextmanager
def without_memory(layer: nn.Module) -> Iterator[None]:
    """For EvoNorm-B0, which looks at the batch in training only: it trains, and the batch has no weight."""
    momentum, training = layer.momentum, layer.training
    layer.momentum = 0.0
    hook = layer.register_forward_pre_hook(lambda layer, inputs: layer.train() and None)
    try:
        yield
    finally:
        hook.remove()
        layer.momentum = momentum
        layer.train(training)


def batches_in_random_order(part: Part, batch_size: int) -> list[Block]:
    """Batches as training would see them, every sample once; a last batch of one joins the batch before it."""
    order = torch.randperm(len(part), generator=torch.Generator().manual_seed(0)).to(
        part.rows.device
    )
    groups = list(part.rows[order].split(batch_size))
    if len(groups) > 1 and len(groups[-1]) == 1:
        groups[-2:] = [torch.cat(groups[-2:])]
    return [
        Block(part.evaluation_inputs(rows), part.targets[rows], len(rows))
        for rows in groups
    ]
