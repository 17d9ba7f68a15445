"""The task of classification: cross-entropy of logits, loss and accuracy."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from normlab.metrics import METRICS
from normlab.training.scores import detailed_scores, score_names
from normlab.training.steps import divided_by_weight
from normlab.training.tasks import Task


class Classification(Task):
    """Cross-entropy of logits; the metrics are loss and accuracy.

    Weights of classes and smoothing change the loss by which the network is trained.
    The scores are those of the plain cross-entropy, so that runs with and without them
    can be compared. A loss of another kind is also what is scored.

    Args:
        softmax_before_loss: pass probabilities to the cross-entropy as if they were
            logits. For K classes the loss can then not fall below
            ``ln(e + K - 1) - 1``, and gradients shrink. This is a common mistake, which
            the option makes measurable.
        label_smoothing: share e of the target that is spread evenly over all K classes:
            the true class counts ``1 - e + e / K``, any other ``e / K`` (Szegedy et
            al., 2016, arXiv 1512.00567).
        class_weights: weight of every class in the training loss ``(K,)``, a mean that
            is divided by the weights of the samples; None weighs all the same.
        criterion: a module from outputs ``(N, K)`` and classes ``(N,)`` to the mean
            loss, in place of the cross-entropy; it gets shares of classes ``(N, K)``
            if samples are mixed.
    """

    metric_names = METRICS["classification"]
    class_weights: Tensor | None

    def __init__(
        self,
        *args: Any,
        softmax_before_loss: bool = False,
        label_smoothing: float = 0.0,
        class_weights: Tensor | None = None,
        criterion: nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.softmax_before_loss = softmax_before_loss
        self.label_smoothing = label_smoothing
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.criterion = criterion

    def loss_of(self, predictions: Tensor, learned: Tensor) -> Tensor:
        """Mean loss of logits ``(N, K)`` and classes ``(N,)``.

        Samples that were mixed have shares of classes ``(N, K)`` for targets.
        """
        logits = self._logits(predictions)
        if self.criterion is not None:
            mean: Tensor = self.criterion(logits, learned)
            return mean
        weight = self._sum_of_weights(learned)
        loss = functional.cross_entropy(
            logits,
            learned,
            weight=self.class_weights,
            label_smoothing=self.label_smoothing,
            reduction="mean" if weight is None else "sum",
        )
        if weight is None:
            return loss
        return divided_by_weight(loss, weight)

    def weight_of(self, targets: Tensor) -> Tensor | None:
        """The sum of the weights of the classes; None without weights.

        It is also None if a derived class has a loss of its own, since that may use the
        weights otherwise; such a class can override this method as well.
        """
        kind = type(self)
        is_ours = kind.loss is Task.loss and kind.loss_of is Classification.loss_of
        if not is_ours or self.criterion is not None:
            return None
        return self._sum_of_weights(self.learned(targets))

    def _sum_of_weights(self, learned: Tensor) -> Tensor | None:
        """None without weights, and for mixed samples, whose mean is over samples."""
        if self.class_weights is None or learned.ndim != 1:
            return None
        return self.class_weights[learned].sum()

    def score(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Number of samples, summed loss, number of correct predictions ``(3,)``.

        Of samples that were mixed, the class with the largest share counts.
        """
        logits = self._logits(predictions).float()
        if self.criterion is None:
            loss = functional.cross_entropy(logits, targets, reduction="sum")
        else:
            loss = self.criterion(logits, targets) * len(targets)
        classes = targets if targets.ndim == 1 else targets.argmax(1)
        correct = predictions.argmax(1).eq(classes).sum()
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

    def final_scores(self, outputs: Tensor, targets: Tensor) -> dict[str, Any]:
        """All scores of `detailed_scores`; none for several classes per sample."""
        if targets.ndim != 1 or not outputs.isfinite().all():
            return {}
        return detailed_scores(outputs, targets)

    def final_score_names(self, num_outputs: int) -> tuple[str, ...]:
        return score_names(num_outputs)

    def _logits(self, predictions: Tensor) -> Tensor:
        if self.softmax_before_loss:
            return predictions.softmax(1)
        return predictions
