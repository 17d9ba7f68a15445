"""Train with a growing learning rate for some steps, and read off a rate.

The learning-rate range test of Smith (2017, arXiv 1506.01186): the rate grows by the
same factor with every optimizer step. While it is too low the loss hardly falls, then
it falls fast, and at last it rises.
"""

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from normlab.endings import Diverged
from normlab.streams import stream_seed
from normlab.training.fit import run_trainer
from normlab.training.preparation import prepare
from normlab.training.trainer import build_trainer, set_callbacks
from normlab.training.user_callbacks import attach

SMOOTHING = 0.9  # weight of the losses before, in the smoothed loss
STOP_FACTOR = 4.0  # the test ends once the smoothed loss is this many times its lowest
FEWEST_STEPS = 10
SKIPPED_SHARE = 0.1  # of the steps, at the start: the smoothed loss is rough there


@dataclass(frozen=True)
class RangeTest:
    """What a range test found.

    Attributes:
        rates: the learning rate of every step.
        losses: the training loss of every step, before the step.
        smoothed: running mean of the losses, see `smooth`.
        suggestion: the rate at which the smoothed loss falls fastest; None if it falls
            nowhere.
        lowest: the rate at which the smoothed loss is lowest.
        has_diverged: whether the loss grew so much that the test was ended.
    """

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    suggestion: float | None
    lowest: float
    has_diverged: bool


def range_test(
    config: dict[str, Any],
    lowest: float = 1e-6,
    highest: float = 10.0,
    steps: int = 100,
) -> RangeTest:
    """Run the range test of a configuration. No file is written, and no run resumed.

    The steps are those of training: the same batches, augmentation, precision and norm.
    The schedule is left out, and every group of parameters keeps the ratio of its rate
    to `optimizer.lr`.

    Args:
        config: a resolved and checked configuration.
        lowest: rate of the first step.
        highest: rate of the last step, unless the loss diverges before.
        steps: number of optimizer steps.

    Raises:
        ValueError: the configuration cannot be trained, has no learning rate, or the
            rates and steps make no test.
    """
    _check_arguments(config, lowest, highest, steps)
    trainer_options = {"max_epochs": steps, "max_steps": None, "max_seconds": None}
    config = config | {
        "logger": {},
        "callbacks": {},
        "trainer": config["trainer"] | trainer_options,
    }
    prepared = prepare(config)
    task = prepared.task
    task.build_scheduler = None
    rates = geometric_rates(lowest, highest, steps)
    growth = GrowingRate(rates, config["optimizer"]["lr"])
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng():
        torch.manual_seed(stream_seed(config["seed"], "dropout"))
        trainer = build_trainer(config, prepared.device, Path(folder), 0)
        set_callbacks(trainer, [*attach(trainer, task, [growth]), growth])
        parts = prepared.parts.to(trainer.strategy.root_device)
        try:
            run_trainer(config, prepared.device, trainer, task, parts, 1)
        except Diverged:
            growth.has_diverged = True
    return evaluate_losses(rates, growth.losses, growth.has_diverged)


def _check_arguments(
    config: dict[str, Any], lowest: float, highest: float, steps: int
) -> None:
    if not 0 < lowest < highest < math.inf:
        raise ValueError(
            f"lowest must be above 0 and below highest, got {lowest:g} and {highest:g}"
        )
    if steps < FEWEST_STEPS:
        raise ValueError(f"steps must be at least {FEWEST_STEPS}, got {steps}")
    if not config["optimizer"].get("lr"):
        raise ValueError("the optimizer must have a learning rate, optimizer.lr")
    if config["device"]["devices"] != 1:
        raise ValueError(
            f"device.devices must be 1 for a range test, "
            f"got {config['device']['devices']!r}"
        )


def geometric_rates(lowest: float, highest: float, steps: int) -> list[float]:
    """``lowest * (highest / lowest)^(i / (steps - 1))`` for i from 0 to steps - 1."""
    factor = highest / lowest
    return [lowest * factor ** (index / (steps - 1)) for index in range(steps)]


class GrowingRate(Callback):
    """Sets the rate of every step, notes its loss, and ends training.

    Args:
        rates: of the steps, one after the other.
        base: `optimizer.lr`, to which the rates of the groups of parameters are
            related.

    Attributes:
        losses: of the steps that were made.
        has_diverged: whether the smoothed loss rose above `STOP_FACTOR` times its
            lowest value.
    """

    def __init__(self, rates: Sequence[float], base: float) -> None:
        self.rates = rates
        self.base = base
        self.losses: list[float] = []
        self.has_diverged = False
        self._ratios: list[float] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Note how the rates of the groups are related to each other."""
        groups = trainer.optimizers[0].param_groups
        self._ratios = [group["lr"] / self.base for group in groups]

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Set the rate of the step."""
        rate = self.rates[len(self.losses)]
        groups = trainer.optimizers[0].param_groups
        for group, ratio in zip(groups, self._ratios, strict=True):
            group["lr"] = rate * ratio

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Note the loss, and end the test if it is done or the loss has grown."""
        self.losses.append(float(outputs["loss"]))
        smoothed = smooth(self.losses)
        is_long_enough = len(smoothed) >= FEWEST_STEPS
        if is_long_enough and smoothed[-1] > STOP_FACTOR * min(smoothed):
            self.has_diverged = True
        if self.has_diverged or len(self.losses) == len(self.rates):
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Go on with the next epoch, without scores."""
        pl_module.progress.epoch += 1
        pl_module.progress.blocks = 0
        pl_module.train_sums = None


def smooth(losses: Sequence[float]) -> list[float]:
    """Exponential running mean, divided by the sum of its weights.

    ``m_i = b m_(i-1) + (1 - b) loss_i``, divided by ``1 - b^i``, with b = `SMOOTHING`.
    """
    mean = 0.0
    smoothed = []
    for number, loss in enumerate(losses, start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        smoothed.append(mean / (1 - SMOOTHING**number))
    return smoothed


def evaluate_losses(
    rates: Sequence[float], losses: Sequence[float], has_diverged: bool
) -> RangeTest:
    """Read off the suggested rate from the losses of a test.

    It is the rate at which the smoothed loss falls fastest over the logarithm of the
    rate, before it is lowest.

    Args:
        rates: of all planned steps.
        losses: of the steps that were made.
        has_diverged: whether the test was ended by a loss that grew.

    Raises:
        ValueError: the loss diverged within the first steps.
    """
    count = len(losses)
    if count < FEWEST_STEPS:
        raise ValueError(
            f"the loss diverged after {count} steps, at the rate {rates[count]:g}: "
            f"begin at a lower one"
        )
    smoothed = smooth(losses)
    bottom = smoothed.index(min(smoothed))
    first = int(SKIPPED_SHARE * len(rates))
    slopes = {}
    for index in range(max(first, 1), bottom):
        slopes[index] = smoothed[index + 1] - smoothed[index - 1]
    suggestion = None
    if slopes:
        steepest = min(slopes, key=lambda index: slopes[index])
        if slopes[steepest] < 0:
            suggestion = rates[steepest]
    return RangeTest(
        rates=list(rates[:count]),
        losses=list(losses),
        smoothed=smoothed,
        suggestion=suggestion,
        lowest=rates[bottom],
        has_diverged=has_diverged,
    )
