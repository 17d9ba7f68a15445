"""What the best state of a run predicts for every sample of the test part.

Shapes: N samples, K classes.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from normlab.checksums import PREDICTIONS
from normlab.data.blocks import EvaluationBlocks
from normlab.data.parts import Parts
from normlab.npz import npz_bytes
from normlab.results import write_atomically
from normlab.training.scores import Outputs
from normlab.training.tasks import Task

MOST_SHORT = 2**15  # classes that have a number of 16 bits


def store_predictions(task: Task, parts: Parts, outputs: Outputs, folder: Path) -> None:
    """Write `predictions.npz`, with one value per test sample, in their order.

    Nothing is written if an output is not finite, or for tasks with several targets per
    sample.

    Args:
        task: the task of the run.
        parts: its data as they are stored.
        outputs: the outputs of its best state for the test part.
        folder: the run folder.
    """
    joined, targets = outputs.joined()
    if targets.ndim != 1 or not joined.isfinite().all():
        return
    arrays = predictions_of(task.predictions_from(joined), targets)
    rows = EvaluationBlocks(parts.test).rows.cpu()
    if not torch.equal(rows, torch.arange(len(rows))):
        arrays["rows"] = rows.numpy().astype(np.int32)
    write_atomically(folder / PREDICTIONS, npz_bytes(arrays))


def predictions_of(predictions: Tensor, targets: Tensor) -> dict[str, NDArray]:
    """The arrays of `predictions.npz`.

    Args:
        predictions: probabilities of the classes ``(N, K)``, or values ``(N,)``.
        targets: classes or values ``(N,)``.

    Returns:
        Of classes: `target` and `predicted` ``(N,)`` int16, or int32 if there are more
        than 32,768 classes, and `score` ``(N,)`` float16, the probability of the
        predicted class. Of values: `target` and `predicted` ``(N,)`` float32, in units
        of the targets.
    """
    if predictions.ndim == 1:
        return {
            "target": targets.numpy().astype(np.float32),
            "predicted": predictions.numpy().astype(np.float32),
        }
    score, predicted = predictions.max(1)
    whole = np.int16 if predictions.shape[1] <= MOST_SHORT else np.int32
    return {
        "target": targets.numpy().astype(whole),
        "predicted": predicted.numpy().astype(whole),
        "score": score.numpy().astype(np.float16),
    }
