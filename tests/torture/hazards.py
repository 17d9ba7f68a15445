"""Networks to which something happens in training, for `trusted_packages=[hazards]`."""

import os
from pathlib import Path

from torch import Tensor

from normlab.models import MLP

STEP = 30  # the second epoch on digits


class _Hazard(MLP):
    """A perceptron that is struck in its thirtieth training step, once as long as `marker` exists.

    Args:
        marker: a file that is created when it happens, so that it does not happen again; none strikes always.
    """

    def __init__(self, *arguments, marker: str | None = None, **options) -> None:
        super().__init__(*arguments, **options)
        self.marker, self.steps = Path(marker) if marker else None, 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training and not x.is_meta:
            self.steps += 1
            if self.steps == STEP and not (self.marker and self.marker.exists()):
                if self.marker:
                    self.marker.touch()
                self.strike()
        return super().forward(x)


class Crashing(_Hazard):
    """Raises."""

    def strike(self) -> None:
        raise RuntimeError("a network that crashes")


class Signalled(_Hazard):
    """Sends a signal to its own process.

    Args:
        number: of the signal.
    """

    def __init__(self, *arguments, number: int, **options) -> None:
        super().__init__(*arguments, **options)
        self.number = number

    def strike(self) -> None:
        os.kill(os.getpid(), self.number)
