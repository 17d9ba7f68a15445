"""Scores of a classification that need all samples of a part at once.

Shapes: N samples, K classes.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics.functional.classification import (
    multiclass_calibration_error,
    multiclass_confusion_matrix,
)

from normlab.metrics import SCORES
from normlab.training.collectives import join_over_processes

TOP = 5
CALIBRATION = ("ece", "brier", "nll")
CALIBRATION_BINS = 15
LARGEST_MATRIX = 200  # classes: more would make files of megabytes


def score_names(num_classes: int) -> tuple[str, ...]:
    """The names of the scores that are numbers.

    Args:
        num_classes: K; of five classes or fewer, the five best are no score.
    """
    if num_classes > TOP:
        return SCORES
    return tuple(name for name in SCORES if name != f"top_{TOP}_accuracy")


class Outputs:
    """Collects the outputs of the network for a part, block by block, on the CPU."""

    def __init__(self) -> None:
        self._outputs: list[Tensor] = []
        self._targets: list[Tensor] = []

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Add the outputs ``(B, K)`` and the targets ``(B,)`` of a block."""
        self._outputs.append(outputs.detach().float().cpu())
        self._targets.append(targets.cpu())

    def joined(self) -> tuple[Tensor, Tensor]:
        """All outputs ``(N, K)`` and targets ``(N,)``, in the order of the blocks."""
        for values in (self._outputs, self._targets):
            if len(values) > 1:
                values[:] = [torch.cat(values)]
        return self._outputs[0], self._targets[0]

    def gather(self, device: torch.device) -> None:
        """Collect what all processes of a run have; all of them must call this.

        Args:
            device: through which the processes exchange tensors.
        """
        for values in (self._outputs, self._targets):
            own = torch.cat(values).to(device)
            values[:] = [join_over_processes(own).cpu()]


def numbers_only(scores: dict[str, Any]) -> dict[str, float]:
    """The scores that are numbers, without those that are lists."""
    return {name: each for name, each in scores.items() if isinstance(each, float)}


def detailed_scores(logits: Tensor, classes: Tensor) -> dict[str, Any]:
    """The scores of all classes together and of each, and the confusion matrix.

    Args:
        logits: outputs of the network ``(N, K)``.
        classes: ``(N,)``.

    Returns:
        macro_precision, macro_recall, macro_f1: means over the classes that occur among
            the samples or the predictions.
        micro_f1: of all decisions together. With one class per sample it is the
            accuracy, and so are micro precision and micro recall.
        top_5_accuracy: share of samples whose class is among the five most probable.
        auroc: mean of `class_auroc` over the classes that have one.
        brier: mean of ``sum_k (p_k - y_k)^2``, from 0 to 2 (Brier, 1950).
        nll: mean of ``-log p`` of the true class.
        ece: expected calibration error, the mean distance of confidence and accuracy
            over 15 bins of equal width (Guo et al., 2017, arXiv 1706.04599).
        per_class: lists of K numbers: `samples`, `precision`, `recall`, `f1`, and
            `auroc`, which is NaN for a class without samples.
        confusion_matrix: K lists of K counts: row i, column j has the samples of class
            i that were predicted as class j.
    """
    num_classes = logits.shape[1]
    logits = logits.double()
    probabilities = logits.softmax(1)
    matrix = multiclass_confusion_matrix(
        probabilities.argmax(1), classes, num_classes, validate_args=False
    )
    each = _class_scores(matrix) | {"auroc": class_auroc(probabilities, classes)}
    together = _macro_scores(matrix, each)
    together |= _share_scores(logits, probabilities, classes)
    return {
        **{name: float(together[name]) for name in score_names(num_classes)},
        "per_class": {name: values.tolist() for name, values in each.items()},
        "confusion_matrix": matrix.tolist(),
    }


def calibration_scores(logits: Tensor, classes: Tensor) -> dict[str, float]:
    """How far probabilities can be believed: `ece`, `brier` and `nll`.

    Args:
        logits: outputs of the network ``(N, K)``; if one of them is not finite, so is
            no score.
        classes: ``(N,)``.

    Returns:
        The scores as in `detailed_scores`.
    """
    if not logits.isfinite().all():
        return dict.fromkeys(CALIBRATION, math.nan)
    logits = logits.double()
    scores = _share_scores(logits, logits.softmax(1), classes)
    return {name: float(scores[name]) for name in CALIBRATION}


def _class_scores(matrix: Tensor) -> dict[str, Tensor]:
    """Scores of each class ``(K,)`` from the confusion matrix; 0 where nothing is."""
    right = matrix.diag().double()
    samples = matrix.sum(1)
    predicted = matrix.sum(0)
    return {
        "samples": samples,
        "precision": right / predicted.clamp(min=1),
        "recall": right / samples.clamp(min=1),
        "f1": 2 * right / (samples + predicted).clamp(min=1),
    }


def _macro_scores(matrix: Tensor, each: dict[str, Tensor]) -> dict[str, Tensor]:
    """Means over classes, and what all decisions together give."""
    occurs = matrix.sum(0) + matrix.sum(1) > 0
    return {
        "macro_precision": each["precision"][occurs].mean(),
        "macro_recall": each["recall"][occurs].mean(),
        "macro_f1": each["f1"][occurs].mean(),
        "micro_f1": matrix.diag().double().sum() / matrix.sum(),
        "auroc": each["auroc"].nanmean(),
    }


def _share_scores(
    logits: Tensor, probabilities: Tensor, classes: Tensor
) -> dict[str, Tensor]:
    """Scores of the probabilities themselves."""
    num_classes = logits.shape[1]
    best = logits.topk(min(TOP, num_classes), 1).indices
    return {
        "top_5_accuracy": best.eq(classes[:, None]).any(1).double().mean(),
        "brier": _brier(probabilities, classes),
        "nll": functional.cross_entropy(logits, classes),
        "ece": multiclass_calibration_error(
            probabilities, classes, num_classes, CALIBRATION_BINS, validate_args=False
        ),
    }


def _brier(probabilities: Tensor, classes: Tensor) -> Tensor:
    # (p - y)^2 = p^2 - 2 p y + y^2, where y is 1 for the true class and else 0.
    true = probabilities.gather(1, classes[:, None]).flatten()
    return (probabilities.square().sum(1) - 2 * true + 1).mean()


def class_auroc(probabilities: Tensor, classes: Tensor) -> Tensor:
    """Area under the ROC curve of each class against all others ``(K,)``.

    It is the probability that a sample of the class has a higher one than another
    sample, where ties count half (Hanley and McNeil, 1982). torchmetrics finds the same
    through the curves, in ten times the time.

    Args:
        probabilities: ``(N, K)``.
        classes: ``(N,)``.

    Returns:
        NaN for a class that has no samples, or all of them.
    """
    values = probabilities.float().numpy()
    labels = classes.numpy()
    num_samples, num_classes = values.shape
    ordered = np.sort(np.ascontiguousarray(values.T), axis=1)  # faster than torch's
    areas = torch.full((num_classes,), torch.nan, dtype=torch.float64)
    for number, column in enumerate(ordered):
        own = values[labels == number, number]
        others = num_samples - len(own)
        if len(own) == 0 or others == 0:
            continue
        below = np.searchsorted(column, own, "left")
        not_above = np.searchsorted(column, own, "right")
        ranks = (below + not_above + 1) / 2  # from 1, the mean rank of those that tie
        pairs_won = ranks.sum() - len(own) * (len(own) + 1) / 2
        areas[number] = pairs_won / (len(own) * others)
    return areas
