"""What a run that trains together with others asks of their stack.

`normlab.stacked` trains several runs as one network. Each of them goes through the same
code as a run by itself. Only the optimizer steps of a block are made for all of them at
once, by the object in `STACK`.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from normlab.data.blocks import Block
from normlab.training.usage import processor_seconds

Parts = Mapping[str, Iterable[Block]]  # by their names in metrics, such as val
NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass
class Spent:
    """Time that something took.

    Attributes:
        seconds: on the clock.
        processor_seconds: of this process.
    """

    seconds: float = 0.0
    processor_seconds: float = 0.0

    def add(self, other: "Spent", times: int = 1) -> None:
        """Add another time, or subtract it with `times=-1`."""
        self.seconds += times * other.seconds
        self.processor_seconds += times * other.processor_seconds


@contextmanager
def spent(sharers: int = 1) -> Iterator[Spent]:
    """Measure the time of the `with` block, of which each sharer gets an equal part."""
    share = Spent()
    started = time.perf_counter()
    worked = processor_seconds()
    yield share
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()  # or the first to read a result waits for all
    share.seconds = (time.perf_counter() - started) / sharers
    share.processor_seconds = (processor_seconds() - worked) / sharers


class Request(NamedTuple):
    """A block of batches that a run wants to be trained on.

    Attributes:
        task: of the run, with its network and its trainer.
        block: the batches.
        done: number of them that were made before.
        random_state: of the generator that dropout draws from, on the CPU.
        scored: the parts that are scored after the block.
    """

    task: Any
    block: Block
    done: int
    random_state: Tensor | None = None
    scored: Parts = NONE


class Predicted(NamedTuple):
    """What the network of a run returns for a part in evaluation.

    Attributes:
        outputs: ``(N, num_outputs)``.
        targets: ``(N,)``.
        share: of the run in the time that this took.
    """

    outputs: Tensor
    targets: Tensor
    share: Spent


class Answer(NamedTuple):
    """What the steps of a block gave.

    Attributes:
        losses: mean loss of every batch ``(K,)``.
        predictions: of their samples ``(K * B, num_outputs)``.
        random_state: of the generator after the last step.
        predicted: parts that are scored after the block, by name; those that are left
            out, the run sends through its network itself.
    """

    losses: Tensor
    predictions: Tensor
    random_state: Tensor | None = None
    predicted: Mapping[str, Predicted] = NONE


class Stack(Protocol):
    """The stack that a run is a member of."""

    @property
    def members(self) -> int:
        """Number of runs that were trained together, at most."""

    @property
    def apart(self) -> Spent:
        """The time that others took while this run waited."""

    @property
    def draws_together(self) -> bool:
        """Whether random numbers of the steps are not those of the run alone."""

    @property
    def is_compiled(self) -> bool:
        """Whether the steps were compiled."""

    def train(self, request: Request) -> Answer | None:
        """Make the steps of a block; None if the run has to make them itself."""

    def share(self, share: Spent) -> None:
        """Count time that passed while the run waited as its own."""


# The stack of the run in this thread, None for a run by itself.
STACK: ContextVar[Stack | None] = ContextVar("STACK", default=None)
