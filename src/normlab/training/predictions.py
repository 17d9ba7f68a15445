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
    offset = 0.0
    if parts.encoder is not None:
        offset = parts.encoder.target_offset
    arrays = predictions_of(task.predictions_from(joined), targets, offset)
    rows = EvaluationBlocks(parts.test).rows.cpu()
    if not torch.equal(rows, torch.arange(len(rows))):
        arrays["rows"] = rows.numpy().astype(np.int32)
    write_atomically(folder / PREDICTIONS, npz_bytes(arrays))


def predictions_of(
    predictions: Tensor, targets: Tensor, offset: float = 0.0
) -> dict[str, NDArray]:
    """The arrays of `predictions.npz`.

    Args:
        predictions: probabilities of the classes ``(N, K)``, or values ``(N,)``.
        targets: classes or values ``(N,)``.
        offset: what was subtracted from values whose digits float32 cannot hold.

    Returns:
        Of classes: `target` and `predicted` ``(N,)`` int16, or int32 if there are more
        than 32,768 classes, and `score` ``(N,)`` float16, the probability of the
        predicted class. Of values: `target` and `predicted` ``(N,)`` float32, or
        float64 with an offset, in units of the targets.
    """
    if predictions.ndim == 1:
        values = [targets.numpy(), predictions.numpy()]
        if offset:
            values = [array.astype(np.float64) + offset for array in values]
        return {"target": values[0], "predicted": values[1]}
    score, predicted = predictions.max(1)
    whole = np.int16 if predictions.shape[1] <= MOST_SHORT else np.int32
    return {
        "target": targets.numpy().astype(whole),
        "predicted": predicted.numpy().astype(whole),
        "score": score.numpy().astype(np.float16),
    }
