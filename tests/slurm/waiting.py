"""A network that waits for a signal, for `trusted_packages=[waiting]`."""

import os
import signal
from pathlib import Path

import torch
from torch import Tensor

from normlab.models import MLP

STEP = 30  # the second epoch on digits


class Waiting(MLP):
    """A perceptron that waits for a signal in its thirtieth training step, once.

    Args:
        marker: file that it writes before it waits, with its process and that of its
            parent. It does not wait if the file is there already.
    """

    def __init__(self, *arguments, marker: str, **options) -> None:
        super().__init__(*arguments, **options)
        self.marker = Path(marker)
        # Stored in checkpoints, so that a resumed run counts on.
        self.register_buffer("steps", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        output = super().forward(x)
        if self.training and not x.is_meta:
            self.steps.add_(1)
            if self.steps.item() == STEP and not self.marker.exists():
                self.marker.write_text(f"{os.getpid()} {os.getppid()}")
                signal.pause()
        return output
