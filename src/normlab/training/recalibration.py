"""Running statistics, computed again for the weights as they are."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from normlab.data.blocks import Block, Part, Progress, TrainBlocks
from normlab.norms import BatchNorm, MovingAverageBatchNorm

# The base class of all batch norms, ours among them.
BATCH_NORMS = nn.modules.batchnorm._BatchNorm
# Buffers of which every norm with running statistics has one.
AVERAGES = ("running_var", "running_whitening", "running_mean_square")
# A buffer in which a batch weighs less than this is no running average.
LEAST_WEIGHT = 1e-4


@torch.no_grad()
def recalibrate(
    network: nn.Module,
    blocks: Iterable[Block],
    context: Callable = nullcontext,
    layers: Iterable[nn.Module] | None = None,
) -> None:
    """Recompute running statistics with the weights as they are now.

    They become the plain mean of the statistics of all batches ("PreciseBN": Wu and
    Johnson, 2021, arXiv 2105.07576). If the network calls a layer several times for one
    batch, every call counts; a layer with statistics for every time step counts a call
    for the step that it belongs to. All other layers are in evaluation mode.

    Args:
        network: changed in place, and left in evaluation mode.
        blocks: blocks of one batch each.
        context: a context manager around every forward pass, see
            `normlab.device.devices.evaluation_context`.
        layers: the layers whose statistics are recomputed; None takes all layers.

    Raises:
        ValueError: none of the layers keeps running statistics.
    """
    if layers is None:
        layers = network.modules()
    if not average_statistics(network, blocks, context, layers):
        raise no_averages()


@torch.no_grad()
def average_statistics(
    network: nn.Module,
    blocks: Iterable[Block],
    context: Callable,
    layers: Iterable[nn.Module],
) -> set[nn.Module]:
    """`recalibrate` if any of the layers keeps running statistics.

    Returns:
        the layers that do.
    """
    network.eval()
    averaging: set[nn.Module] = set()
    with ExitStack() as stack:
        for layer in filter(may_average, layers):
            stack.enter_context(plain_average(layer, averaging))
        for block in blocks:
            with context():
                network(block.inputs)
    return averaging


def no_averages() -> ValueError:
    """The error for a network without running statistics."""
    return ValueError(
        "statistics must be running, since the norm of this run keeps no "
        "statistics of batches"
    )


def has_averages(layer: nn.Module) -> bool:
    """Whether a layer has running statistics and a `momentum`, as PyTorch's norms."""
    has_average = False
    for name in AVERAGES:
        has_average |= isinstance(getattr(layer, name, None), torch.Tensor)
    return has_average and hasattr(layer, "momentum")


def may_average(layer: nn.Module) -> bool:
    """Whether a layer has buffers that a batch may move, whatever they are called."""
    is_leaf = next(layer.children(), None) is None
    return has_averages(layer) or (is_leaf and bool(_vectors(layer)))


def layers_in_training(network: nn.Module) -> list[nn.Module]:
    """The layers that are in training mode when the network is.

    Frozen parts of a network stay in evaluation mode, so that their statistics do not
    move.

    Args:
        network: returned to the mode that it had.
    """
    modes = {module: module.training for module in network.modules()}
    network.train()
    layers = [layer for layer in network.modules() if layer.training]
    for module, mode in modes.items():
        module.training = mode
    return layers


def training_batches(
    config: dict,
    train: Part,
    num_batches: int | None,
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[Block]:
    """The first batches of a run's first epoch, as in its training.

    Args:
        config: the configuration of the run.
        train: its training part.
        num_batches: number of batches; there are fewer if the epoch has fewer. None
            takes all of the epoch.
        rank: index of this process, which gets its share of every batch.
        world_size: number of processes.
    """
    blocks = TrainBlocks(
        train,
        config["dataset"]["batch_size"],
        config["seed"],
        Progress(),
        max_steps=1,
        rank=rank,
        world_size=world_size,
    )
    return islice(blocks, num_batches)


# The layers below are annotated as Any: for type checkers every attribute of a module
# is a tensor or a module, but `momentum` is a number.


@contextmanager
def plain_average(layer: Any, averaging: set[nn.Module]) -> Iterator[None]:
    """Start the averages of a layer from zero, and weigh all calls alike.

    Inside the `with` block the layer is in training mode and normalizes by the batch
    alone; afterwards it is in evaluation mode.

    Args:
        layer: a layer that `may_average`.
        averaging: gets the layer if it keeps running statistics.
    """
    if not isinstance(layer, BATCH_NORMS):
        with _average_of_calls(layer, averaging):
            yield
        return
    averaging.add(layer)
    layer.reset_running_stats()
    # Without a momentum, batch norms count by themselves. In an LSTM this is
    # necessary: every time step has its own statistics and its own counter.
    with plain_training(layer, momentum=None):
        yield


@contextmanager
def plain_training(layer: Any, momentum: float | None) -> Iterator[None]:
    """Let a batch norm average with another momentum inside of the `with` block.

    It is in training mode there, and in evaluation mode afterwards.

    Args:
        layer: one of `BATCH_NORMS`.
        momentum: see `torch.nn.BatchNorm1d`.
    """
    own_momentum = layer.momentum
    layer.momentum = momentum
    layer.train()
    try:
        with by_batch_alone(layer):
            yield
    finally:
        layer.momentum = own_momentum
        layer.eval()


@contextmanager
def by_batch_alone(layer: Any) -> Iterator[None]:
    """Let a layer in training mode use the statistics of each batch, and nothing else.

    Some norms add noise or corrections, or use the batches before as well.
    """
    if not isinstance(layer, (BatchNorm, MovingAverageBatchNorm)):
        yield
        return
    was_plain = layer.plain
    layer.plain = True
    try:
        yield
    finally:
        layer.plain = was_plain


@contextmanager
def _average_of_calls(layer: Any, averaging: set[nn.Module]) -> Iterator[None]:
    """Average what the calls of any other layer move its buffers to.

    Nothing is assumed of the names of the buffers or of the meaning of a momentum, see
    `statistics_of_call`. A layer that moves none is in evaluation mode.
    """
    # By the memory of a buffer: without gradients, every time step has its own.
    counts: Counter[int] = Counter()
    means: list[tuple[str, Tensor, Tensor]] = []

    def look(layer: Any, inputs: tuple, options: dict) -> None:
        layer.train()
        means.clear()
        for name, value in statistics_of_call(layer, inputs, options).items():
            buffer = layer._buffers[name]
            place = buffer.data_ptr()
            counts[place] += 1
            mean = value
            if counts[place] > 1:
                mean = buffer + (value - buffer) / counts[place]
            means.append((name, buffer, mean))
        if means:
            averaging.add(layer)
        layer.train(bool(means))

    def keep(layer: Any, inputs: tuple, output: Any) -> None:
        for name, buffer, mean in means:
            layer._buffers[name] = buffer.copy_(mean)

    with by_batch_alone(layer), around_calls(layer, look, keep):
        try:
            yield
        finally:
            layer.eval()


@contextmanager
def around_calls(layer: nn.Module, before: Callable, after: Callable) -> Iterator[None]:
    """Call functions before and after every call of a layer in the `with` block.

    Args:
        layer: a layer.
        before: gets the layer, the arguments of the call, and those by name.
        after: gets the layer, the arguments and the output, None after an error.
    """
    hooks = [
        layer.register_forward_pre_hook(before, with_kwargs=True),
        layer.register_forward_hook(after, always_call=True),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def statistics_of_call(layer: Any, inputs: tuple, options: dict) -> dict[str, Tensor]:
    """What one call in training mode moves the buffers of a layer to.

    A running average b moves to ``(1 - w) b + w s`` for the statistic s of the batch,
    with one w for all channels. Two trial calls, from b = 0 and from another b, show w
    and s. What moves in another way, as the vectors of spectral norm do, is no average.

    Args:
        layer: a layer in training mode, which is left as it was.
        inputs: the arguments of the call.
        options: its arguments by name.

    Returns:
        s by the name of the buffer, for those buffers that move in this way.
    """
    zeros = {name: torch.zeros_like(value) for name, value in _vectors(layer).items()}
    moved = _buffers_after(layer, inputs, options, zeros)
    # Of the size of the statistic, so that the differences lose no digits.
    starts = {name: 1 + value.abs() for name, value in moved.items()}
    moved_further = _buffers_after(layer, inputs, options, starts)

    found = {}
    for name, value in moved.items():
        kept = (moved_further[name] - value) / starts[name]
        weight = 1 - kept.mean()
        rounding = torch.finfo(kept.dtype).eps ** 0.5
        stays = weight.abs() <= LEAST_WEIGHT
        differs = ((kept - kept.mean()).abs() > rounding).any()
        moves_otherwise = differs or weight > 1 + rounding
        if not stays and not moves_otherwise:
            found[name] = value / weight
    return found


def _buffers_after(
    layer: Any, inputs: tuple, options: dict, starts: dict[str, Tensor]
) -> dict[str, Tensor]:
    """The buffers after a trial call that finds the given values in them."""
    own = dict(layer._buffers)
    for name, buffer in own.items():
        if name in starts:
            layer._buffers[name] = starts[name].clone()
        elif buffer is not None:
            layer._buffers[name] = buffer.clone()
    try:
        with by_batch_alone(layer):
            layer.forward(*inputs, **options)
        return {name: layer._buffers[name] for name in starts}
    finally:
        layer._buffers.update(own)


def _vectors(layer: nn.Module) -> dict[str, Tensor]:
    """The buffers of a layer that can hold one statistic per channel, by name."""
    return {
        name: buffer
        for name, buffer in layer.named_buffers(recurse=False)
        if buffer.is_floating_point() and buffer.ndim > 0
    }
