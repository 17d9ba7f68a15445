"""The task of regression: one number per sample, scored in the units of the target."""

import math
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from normlab.data.target_transforms import TARGET_TRANSFORMS, TargetTransform
from normlab.metrics import METRICS
from normlab.training.tasks import Task

REGRESSION_LOSSES: dict[str, Callable[..., Tensor]] = {
    "mse": functional.mse_loss,
    "mae": functional.l1_loss,
    "huber": functional.huber_loss,
}


class Regression(Task):
    """One number per sample, learned in standardized form and scored in its own units.

    The loss compares the prediction with ``(target - mean) / standard deviation``,
    where both are those of the training part. RMSE and MAE are in units of the target.
    With a transform f, the network learns ``f(target)``, standardized by its own mean
    and standard deviation, and predictions are transformed back before they are scored.
    ``R2 = 1 - sum (y - prediction)^2 / sum (y - mean y)^2``; it is NaN if all y are
    equal.

    Args:
        target_mean: mean of the targets of the training part, or of f of them.
        target_std: their standard deviation, or 1 if they are constant.
        loss_name: `mse`, `mae` or `huber`.
        criterion: a module from standardized predictions and targets, both ``(N,)``, to
            the mean loss, in place of these.
        target_transform: f, one of `TARGET_TRANSFORMS`, or None.

    Raises:
        ValueError: the loss is none of these.
    """

    metric_names = METRICS["regression"]

    def __init__(
        self,
        *args: Any,
        target_mean: float = 0.0,
        target_std: float = 1.0,
        loss_name: str = "mse",
        criterion: nn.Module | None = None,
        target_transform: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.transform: TargetTransform | None = None
        if target_transform is not None:
            self.transform = TARGET_TRANSFORMS[target_transform]
        if loss_name not in REGRESSION_LOSSES:
            known = ", ".join(REGRESSION_LOSSES)
            raise ValueError(
                f"task.loss must be one of {known} for regression, got {loss_name!r}"
            )
        self.target_mean = target_mean
        self.target_std = target_std
        self.loss_function = REGRESSION_LOSSES[loss_name]
        self.criterion = criterion

    def loss_of(self, predictions: Tensor, learned: Tensor) -> Tensor:
        """Mean loss of standardized predictions ``(N, 1)`` and targets ``(N,)``."""
        function = self.criterion or self.loss_function
        mean: Tensor = function(predictions.flatten(), learned)
        return mean

    def learned(self, targets: Tensor) -> Tensor:
        """Targets ``(N,)`` in standardized form."""
        return self.standardized(targets)

    def standardized(self, targets: Tensor) -> Tensor:
        """What the network learns in place of targets ``(N,)``."""
        if self.transform is not None:
            targets = self.transform.apply(targets)
        return (targets - self.target_mean) / self.target_std

    def predictions_from(self, outputs: Tensor) -> Tensor:
        """Values ``(N,)`` in units of the targets from outputs of the network."""
        values = outputs.flatten() * self.target_std + self.target_mean
        return values if self.transform is None else self.transform.invert(values)

    @property
    def unit(self) -> float:
        """The size of a typical target or error, in which sums are taken."""
        return self.target_std if self.transform is None else math.exp(self.target_mean)

    def score(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Six sums over samples ``(6,)``, in `unit`.

        Number of samples, loss, squared errors, absolute errors, targets, and squared
        targets.
        """
        standardized = self.standardized(targets)
        predictions = predictions.flatten()
        if self.criterion is None:
            loss = self.loss_function(
                predictions.float(), standardized, reduction="sum"
            )
        else:
            loss = self.criterion(predictions.float(), standardized) * len(targets)
        in_units = standardized
        error = predictions - standardized
        if self.transform is not None:
            in_units = targets / self.unit
            error = self.predictions_from(predictions.float()) / self.unit - in_units

        # R2 subtracts two large sums if the targets hardly differ, which would cancel
        # all digits of float32. MPS has no wider type.
        wide = in_units
        if in_units.device.type != "mps":
            wide = in_units.double()
        return torch.stack(
            [
                torch.full_like(loss, len(targets)),
                loss,
                error.square().sum(),
                error.abs().sum(),
                wide.sum(),
                wide.square().sum(),
            ]
        )

    def metrics_from(self, sums: list[float]) -> dict[str, float]:
        """Mean loss, RMSE and MAE in units of the target, and R2."""
        count, loss, squared, absolute, total, total_squared = sums
        r2 = math.nan
        spread = total_squared - total**2 / count
        rounding = total_squared * count * sys.float_info.epsilon
        if count > 1 and spread > rounding:
            r2 = 1 - squared / spread
        return {
            "loss": loss / count,
            "rmse": math.sqrt(squared / count) * self.unit,
            "mae": absolute / count * self.unit,
            "r2": r2,
        }
