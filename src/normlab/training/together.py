"""What a run that trains together with others asks of their stack.

`normlab.stacked` trains several runs as one network. Each of them goes through the same
code as a run by itself. Only the optimizer steps of a block are made for all of them at
once, by the object in `STACK`.
"""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from normlab.data.blocks import Block


class Request(NamedTuple):
    """A block of batches that a run wants to be trained on.

    Attributes:
        task: of the run, with its network and its trainer.
        block: the batches.
        done: number of them that were made before.
        random_state: of the generator that dropout draws from, on the CPU.
    """

    task: Any
    block: Block
    done: int
    random_state: Tensor | None = None


class Answer(NamedTuple):
    """What the steps of a block gave.

    Attributes:
        losses: mean loss of every batch ``(K,)``.
        predictions: of their samples ``(K * B, num_outputs)``.
        random_state: of the generator after the last step.
    """

    losses: Tensor
    predictions: Tensor
    random_state: Tensor | None = None


class Stack(Protocol):
    """The stack that a run is a member of."""

    @property
    def members(self) -> int:
        """Number of runs that were trained together, at most."""

    @property
    def apart(self) -> "Apart":
        """The time that others took while this run waited."""

    @property
    def draws_together(self) -> bool:
        """Whether random numbers of the steps are not those of the run alone."""

    def train(self, request: Request) -> Answer | None:
        """Make the steps of a block; None if the run has to make them itself."""


@dataclass
class Apart:
    """Time in which a run waited, without its share of what was done for all.

    Attributes:
        seconds: on the clock.
        processor_seconds: of this process.
    """

    seconds: float = 0.0
    processor_seconds: float = 0.0


# The stack of the run in this thread, None for a run by itself.
STACK: ContextVar[Stack | None] = ContextVar("STACK", default=None)
