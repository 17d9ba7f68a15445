"""The task of classification: cross-entropy of logits, loss and accuracy."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from normlab.metrics import METRICS
from normlab.training.tasks import Task


class Classification(Task):
    """Cross-entropy of logits; the metrics are loss and accuracy.

    Args:
        softmax_before_loss: pass probabilities to the cross-entropy as if they were
            logits. For K classes the loss can then not fall below
            ``ln(e + K - 1) - 1``, and gradients shrink. This is a common mistake, which
            the option makes measurable.
    """

    metric_names = METRICS["classification"]

    def __init__(
        self, *args: Any, softmax_before_loss: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.softmax_before_loss = softmax_before_loss

    def loss(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy of logits ``(N, K)`` and classes ``(N,)``."""
        return functional.cross_entropy(self._logits(predictions), targets)

    def score(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Number of samples, summed loss, number of correct predictions ``(3,)``."""
        logits = self._logits(predictions).float()
        loss = functional.cross_entropy(logits, targets, reduction="sum")
        correct = predictions.argmax(1).eq(targets).sum()
        return torch.stack(
            [torch.full_like(loss, len(targets)), loss, correct.to(loss)]
        )

    def metrics_from(self, sums: list[float]) -> dict[str, float]:
        """Mean loss and share of correct predictions."""
        count, loss, correct = sums
        return {"loss": loss / count, "accuracy": correct / count}

    def predictions_from(self, outputs: Tensor) -> Tensor:
        """Probabilities of the classes ``(N, K)`` from outputs of the network."""
        return outputs.softmax(1)

    def _logits(self, predictions: Tensor) -> Tensor:
        if self.softmax_before_loss:
            return predictions.softmax(1)
        return predictions
