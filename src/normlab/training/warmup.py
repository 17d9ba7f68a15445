"""A learning rate that rises over the first steps of a run, whatever its schedule."""

from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler


class Warmup:
    """Multiply the rates of a schedule by t / W in step t of the first W, from 1.

    The schedule counts from the start of the run, as it would without warm-up, so that
    it ends where it should (Goyal et al., 2017, arXiv 1706.02677). After W steps its
    rates are the same bits as without.

    `SequentialLR` of PyTorch joins only schedulers that step equally often, and none
    that steps with the validation loss; this one takes them all.

    Args:
        optimizer: the optimizer, whose rates are reduced at once.
        scheduler: the scheduler of the optimizer, or None for a constant rate.
        num_steps: number W of optimizer steps.

    Attributes:
        steps: number of optimizer steps that were made.
        rates: rates of the schedule, one per group of parameters.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        scheduler: LRScheduler | None,
        num_steps: int,
    ) -> None:
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.num_steps = num_steps
        self.steps = 0
        self.rates = self._current_rates()
        self._set_rates()

    def step(self, *metrics: Any) -> None:
        """Step the scheduler, at the interval of the run.

        Args:
            metrics: the validation loss if the scheduler steps by it.
        """
        if self.scheduler is None:
            return
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate
        self.scheduler.step(*metrics)
        self.rates = self._current_rates()
        self._set_rates()

    def advance(self) -> None:
        """Count one optimizer step."""
        self.steps += 1
        self._set_rates()

    def state_dict(self) -> dict[str, Any]:
        """The state of the warm-up and of the scheduler, in plain types."""
        scheduler = None
        if self.scheduler is not None:
            scheduler = self.scheduler.state_dict()
        return {"steps": self.steps, "rates": self.rates, "scheduler": scheduler}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what `state_dict` returned; the optimizer loads its own rates."""
        self.steps = state["steps"]
        self.rates = list(state["rates"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])

    def _current_rates(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def _set_rates(self) -> None:
        share = min(1.0, (self.steps + 1) / self.num_steps)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * share


def warmup_steps(steps: int, epochs: float, steps_per_epoch: int) -> int:
    """Number of optimizer steps of a warm-up; 0 if there is none.

    Args:
        steps: `scheduler.warmup_steps`.
        epochs: `scheduler.warmup_epochs`.
        steps_per_epoch: number of optimizer steps in an epoch.

    Raises:
        ValueError: both are given.
    """
    if steps and epochs:
        raise ValueError(
            f"one of scheduler.warmup_steps and scheduler.warmup_epochs must be 0, "
            f"got {steps} and {epochs}"
        )
    return steps or round(epochs * steps_per_epoch)
