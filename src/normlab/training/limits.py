"""The ends of training that are no whole number of epochs: steps and seconds."""

# Lightning's hooks receive any LightningModule, those of this package always a Task.
# mypy: disable-error-code="override"

import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from normlab.data.batches import ceil_div
from normlab.data.blocks import Block
from normlab.training.collectives import largest_over_processes
from normlab.training.tasks import Task

# Why a run ended, as its result says.
MAX_EPOCHS = "max_epochs"
MAX_STEPS = "max_steps"
MAX_SECONDS = "max_seconds"
PATIENCE = "patience"
STOP_AT = "stop_at"
CALLBACK = "callback"  # one that the configuration names


class Limits(Callback):
    """Ends training, and the epoch that is running, after so many steps or seconds.

    The epoch is then scored and recorded like any other, from the batches that it had.
    This comes before all other callbacks, which ask whether an epoch ends.

    Args:
        max_steps: number of optimizer steps of the run, or None.
        max_seconds: time in seconds that the run may train over all its attempts, with
            the scores and records of epochs; or None. A step that has begun is
            finished.
    """

    def __init__(self, max_steps: int | None, max_seconds: float | None) -> None:
        self.max_steps = max_steps
        self.max_seconds = max_seconds

    def on_train_start(self, trainer: pl.Trainer, task: Task) -> None:
        if self.max_seconds is not None:
            left = self.max_seconds - task.progress.seconds
            task.deadline = time.monotonic() + left

    def on_train_batch_end(
        self, trainer: pl.Trainer, task: Task, outputs: Any, block: Block, index: int
    ) -> None:
        if self.max_steps is not None and task.progress.steps >= self.max_steps:
            self._end(trainer, task, MAX_STEPS)
        elif self._time_is_over(task) and not _ends_anyway(trainer, task):
            self._end(trainer, task, MAX_SECONDS)

    def _end(self, trainer: pl.Trainer, task: Task, reason: str) -> None:
        task.ended_by = reason
        trainer.should_stop = True

    def _time_is_over(self, task: Task) -> bool:
        if task.deadline is None:
            return False
        is_over = time.monotonic() >= task.deadline
        # All processes have to stop after the same step.
        return largest_over_processes(int(is_over), task.device) > 0


def _ends_anyway(trainer: pl.Trainer, task: Task) -> bool:
    """Whether the running block is the last one of the last epoch, and is whole."""
    assert trainer.max_epochs is not None  # every run sets it
    if task.left_out_steps:
        return False
    return trainer.is_last_batch and trainer.current_epoch + 1 >= trainer.max_epochs


def epochs_to_train(options: dict[str, Any], steps_per_epoch: int) -> int:
    """Number of epochs of a run that nothing stops early; the last may be shorter.

    Args:
        options: `trainer` of a resolved configuration.
        steps_per_epoch: number of optimizer steps in an epoch.
    """
    max_epochs: int = options["max_epochs"]
    max_steps = options.get("max_steps")
    if max_steps is None:
        return max_epochs
    return min(max_epochs, ceil_div(max_steps, steps_per_epoch))
