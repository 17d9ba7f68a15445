"""When the scheduler of a learning rate steps.

`scheduler.interval` says it: `step` is after every optimizer step, `epoch` after every
epoch, and `plateau` after every epoch by its validation loss. A warm-up counts
optimizer steps whatever the interval is.
"""

from collections.abc import Callable
from typing import cast

from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from normlab.training.warmup import Warmup

Scheduler = LRScheduler | Warmup


def steps_within_epochs(scheduler: Scheduler | None, interval: str) -> bool:
    """Whether `step_after_batch` may change the learning rate."""
    if scheduler is None:
        return False
    return isinstance(scheduler, Warmup) or interval == "step"


def step_after_batch(scheduler: Scheduler | None, interval: str) -> None:
    """Change the learning rate as its schedule does after an optimizer step.

    Args:
        scheduler: None for a constant rate.
        interval: `step`, `epoch` or `plateau`.
    """
    if scheduler is None:
        return
    if interval == "step":
        scheduler.step()
    if isinstance(scheduler, Warmup):
        scheduler.advance()


def step_after_epoch(
    scheduler: Scheduler | None,
    interval: str,
    validation_loss: Callable[[], float],
) -> None:
    """Change the learning rate as its schedule does after an epoch.

    Args:
        scheduler: None for a constant rate.
        interval: `step`, `epoch` or `plateau`.
        validation_loss: returns the loss of the epoch; called if it is needed.
    """
    if scheduler is None:
        return
    if interval == "plateau":
        plateau = cast(ReduceLROnPlateau, scheduler)
        plateau.step(validation_loss())
    elif interval == "epoch":
        scheduler.step()
