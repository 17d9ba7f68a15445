"""Networks to which something happens in training, for `trusted_packages=[hazards]`."""

import os
import signal
from pathlib import Path

import torch
from torch import Tensor

from normlab.models import MLP

STEP = 30  # the second epoch on digits


class Calm(MLP):
    """A perceptron to which nothing happens.

    Args:
        marker: file that is created when a network is struck, so that it is struck
            only once; the variable NORMLAB_STRUCK names it if this is None.
    """

    def __init__(self, *arguments, marker: str | None = None, **options) -> None:
        super().__init__(*arguments, **options)
        self.marker = Path(marker or os.environ.get("NORMLAB_STRUCK", "struck"))
        self.register_buffer(
            "steps", torch.tensor(0)
        )  # stored, so that a run that goes on is struck where it would be

    def forward(self, x: Tensor) -> Tensor:
        output = super().forward(x)
        if self.training and not x.is_meta:
            self.steps.add_(1)
            if self.steps.item() == STEP:
                return self.strike(output)
        return output

    def strike(self, output: Tensor) -> Tensor:
        """What happens in the thirtieth training step."""
        return output


class Crashing(Calm):
    """Raises."""

    def strike(self, output: Tensor) -> Tensor:
        raise RuntimeError("a network that crashes")


class Diverging(Calm):
    """Returns NaN."""

    def strike(self, output: Tensor) -> Tensor:
        return output * float("nan")


class Signalled(Calm):
    """Sends a signal to its own process, once.

    Args:
        number: of the signal.
    """

    def __init__(self, *arguments, number: int = signal.SIGKILL, **options) -> None:
        super().__init__(*arguments, **options)
        self.number = number

    def strike(self, output: Tensor) -> Tensor:
        if not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), self.number)
        return output
