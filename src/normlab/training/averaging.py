"""Averages of the weights over training, which are scored and stored in their place.

The network goes on training with its own weights. The average lives in a copy of it,
whose running statistics are computed again before every score: those of the training
network belong to other weights.
"""

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, Protocol

import torch
from torch import nn
from torch.optim import Optimizer

from normlab.data.blocks import Block
from normlab.device.sharding import broadcast_buffers
from normlab.training.recalibration import (
    average_statistics,
    layers_in_training,
    may_average,
)


class SwitchingOptimizer(Protocol):
    """An optimizer that holds an average of the weights and puts it in if asked to."""

    param_groups: list[dict[str, Any]]

    def train(self) -> None:
        """Put in the weights at which gradients are computed."""

    def eval(self) -> None:
        """Put in the average of the weights."""


class Averaging:
    """A copy of a network that holds an average of its weights.

    `AveragedModel` of PyTorch copies all buffers and sorts all weights anew at every
    step, which takes as long as a step of a small network.

    Args:
        network: the network that trains.
        share: how far the average moves towards the weights, from 0 to 1, as a function
            of the number of weights that it is of; the first ones are taken over.
        batches: returns batches of the training part, from which running statistics are
            computed again.
        context: a context manager around every forward pass, see
            `normlab.device.devices.evaluation_context`.
        every_step: average after every optimizer step; otherwise after every epoch.
        first_epoch: the epoch from whose end on weights are averaged.
        source: a context manager in which the network holds the weights to average.
        world_size: number of processes that train together.

    Attributes:
        num_averaged: number of weights that the average is of.
    """

    def __init__(
        self,
        network: nn.Module,
        share: Callable[[int], float],
        batches: Callable[[], Iterable[Block]],
        context: Callable = nullcontext,
        every_step: bool = False,
        first_epoch: int = 1,
        source: Callable[[], AbstractContextManager] = nullcontext,
        world_size: int = 1,
    ) -> None:
        self.trained = network
        self.averaged = copy.deepcopy(network).requires_grad_(False)
        self.share = share
        self.batches = batches
        self.context = context
        self.every_step = every_step
        self.first_epoch = first_epoch
        self.source = source
        self.world_size = world_size
        self.num_averaged = 0
        self._weights = [value.detach() for value in network.parameters()]
        self._averages = [value.detach() for value in self.averaged.parameters()]

    @property
    def network(self) -> nn.Module:
        """The network to score and to store: the average, once there is one."""
        return self.averaged if self.num_averaged else self.trained

    def after_step(self) -> None:
        """Average the weights after an optimizer step, if that is when it is done."""
        if self.every_step:
            self._update()

    def close_epoch(self, epoch: int) -> None:
        """Average the weights after an epoch if need be, and prepare their scores.

        Args:
            epoch: number of the epoch that ends, from 1.
        """
        if not self.every_step and epoch >= self.first_epoch:
            with self.source():
                self._update()
        if self.num_averaged:
            self._renew_buffers()

    @torch.no_grad()
    def _update(self) -> None:
        share = self.share(self.num_averaged)
        if self.num_averaged == 0 or share == 1:
            torch._foreach_copy_(self._averages, self._weights)
        else:
            torch._foreach_lerp_(self._averages, self._weights, share)
        self.num_averaged += 1

    @torch.no_grad()
    def _renew_buffers(self) -> None:
        pairs = zip(self.averaged.buffers(), self.trained.buffers(), strict=True)
        for buffer, current in pairs:
            buffer.copy_(current)
        layers = list(filter(may_average, layers_in_training(self.averaged)))
        if layers:
            average_statistics(self.averaged, self.batches(), self.context, layers)
        if self.world_size > 1:
            broadcast_buffers(self.averaged)

    def state_dict(self) -> dict[str, Any]:
        """The average and how many weights it is of."""
        network = self.averaged.state_dict()
        return {"network": network, "num_averaged": self.num_averaged}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what `state_dict` returned."""
        self.averaged.load_state_dict(state["network"])
        self.num_averaged = state["num_averaged"]


def ema_share(num_averaged: int, decay: float) -> float:
    r"""The weight of the newest weights in an exponential moving average.

    .. math:: 1 - \min\left( d, \frac{1 + n}{10 + n} \right)

    Without the second term the weights from which training started would stay in the
    average for about 1 / (1 - d) steps.

    Args:
        num_averaged: number n of weights in the average.
        decay: d.
    """
    return 1 - min(decay, (1 + num_averaged) / (10 + num_averaged))


def swa_share(num_averaged: int) -> float:
    """The weight of the newest weights in a plain mean."""
    return 1 / (1 + num_averaged)


def take_over(num_averaged: int) -> float:
    """The weight of weights that are an average already."""
    return 1.0


def swa_start(start: float, epochs: int) -> int:
    """The first epoch whose weights are averaged.

    Args:
        start: share of the epochs that come before.
        epochs: number of epochs of the run.
    """
    return min(epochs, int(start * epochs) + 1)


def switches(optimizer: Optimizer) -> bool:
    """Whether an optimizer holds an average of the weights and can switch to it."""
    methods = (getattr(optimizer, name, None) for name in ("train", "eval"))
    return all(map(callable, methods))


@contextmanager
def average_of(optimizer: SwitchingOptimizer) -> Iterator[None]:
    """Put the optimizer's average into the network for the time of the `with` block.

    Afterwards the weights are the same bits as before, which the switches of an
    optimizer restore up to rounding.
    """
    weights = [value for group in optimizer.param_groups for value in group["params"]]
    before = [value.detach().clone() for value in weights]
    optimizer.eval()
    try:
        yield
    finally:
        optimizer.train()
        with torch.no_grad():
            torch._foreach_copy_(weights, before)


def build_averaging(
    network: nn.Module,
    optimizer: Any,
    options: dict[str, Any],
    epochs: int,
    **common: Any,
) -> Averaging | None:
    """Build the average that a run asks for, or that its optimizer holds.

    Args:
        network: the network that trains, on its device.
        optimizer: its optimizer.
        options: `trainer` of a resolved configuration.
        epochs: number of epochs of the run.
        common: further arguments of `Averaging`.

    Returns:
        None if weights are scored as they are.
    """
    if switches(optimizer):
        source = partial(average_of, optimizer)
        return Averaging(network, take_over, source=source, **common)
    kind = options.get("average")
    if kind is None:
        return None
    if kind == "ema":
        share = partial(ema_share, decay=options["average_decay"])
        return Averaging(network, share, every_step=True, **common)
    first_epoch = swa_start(options["average_start"], epochs)
    return Averaging(network, swa_share, first_epoch=first_epoch, **common)


def number_averaged(state: dict[str, Any]) -> int | None:
    """Number of weights in the average of a checkpoint, None if it has none."""
    average = state.get("average")
    return None if average is None else average["num_averaged"]


def check_averaging(
    options: dict[str, Any], optimizer: Optimizer, strategy: str
) -> bool:
    """Refuse averages of the weights that a run cannot have.

    Args:
        options: `trainer` of a resolved configuration.
        optimizer: the optimizer of the run.
        strategy: how processes share the work, such as fsdp.

    Returns:
        whether the run scores an average.

    Raises:
        ValueError: the optimizer averages, too, or the network is in parts.
    """
    kind = options.get("average")
    own = switches(optimizer)
    if kind is not None and own:
        raise ValueError(
            f"trainer.average must be null for {type(optimizer).__name__}, which "
            f"averages the weights itself, got {kind!r}"
        )
    if strategy == "fsdp" and (own or kind is not None):
        what = type(optimizer).__name__ if own else f"trainer.average={kind}"
        raise ValueError(
            f"device=fsdp must come without an average of the weights, of which every "
            f"process holds a part, got {what}; take device=ddp"
        )
    return own or kind is not None
