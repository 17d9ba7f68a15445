"""The end of a run whose training loss is not finite."""

import math

from torch import Tensor

from normlab.endings import Diverged
from normlab.training.collectives import sum_over_processes


def check_finite(losses: Tensor, steps_before: int, loss_before: Tensor | None) -> None:
    """Check the losses of consecutive optimizer steps.

    Args:
        losses: mean loss of every step ``(K,)``, of this process.
        steps_before: number of optimizer steps before the first of them.
        loss_before: the loss of the step before, None if there was none.

    Raises:
        Diverged: one of them is not finite, in this process or in another one.
    """
    # A sum keeps the NaN or infinity of any process, so that all of them stop.
    total = sum_over_processes(losses.clone())
    # If their sum is finite, all are; testing each takes three times as long.
    if math.isfinite(total.sum().item()):
        return
    finite = total.isfinite()
    if finite.all():  # and their sum is too large
        return
    first = int(finite.logical_not().float().argmax())
    before = losses[first - 1] if first > 0 else loss_before
    raise Diverged(
        step=steps_before + first + 1,
        loss=float(total[first]),
        last_loss=None if before is None else float(before),
    )
