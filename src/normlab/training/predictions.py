"""What the best state of a run predicts for every sample that it is scored by.

Shapes: N samples, K classes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from normlab.checksums import PREDICTIONS
from normlab.data.blocks import EvaluationBlocks
from normlab.data.parts import Parts
from normlab.npz import npz_bytes
from normlab.training.scores import Outputs
from normlab.training.tasks import Task

MOST_SHORT = 2**15  # classes that have a number of 16 bits


class Predicted(NamedTuple):
    """What is predicted for the samples of a part, and what should be.

    Attributes:
        predictions: probabilities of the classes ``(N, K)``, or values ``(N,)``.
        targets: classes or values ``(N,)``.
    """

    predictions: Tensor
    targets: Tensor


def predictions_by_part(
    task: Task, outputs: Mapping[str, Outputs]
) -> dict[str, Predicted]:
    """What the outputs say of each sample.

    A part is left out if an output for it is not finite, or if its samples have several
    targets.

    Args:
        task: the task of the run.
        outputs: the outputs of its best state by part.
    """
    found = {}
    for part, collected in outputs.items():
        joined, targets = collected.joined()
        if targets.ndim == 1 and joined.isfinite().all():
            found[part] = Predicted(task.predictions_from(joined), targets)
    return found


def prediction_files(
    parts: Parts, predicted: Mapping[str, Predicted], folder: Path
) -> dict[Path, bytes]:
    """`predictions.npz`, with one value per test sample, in their order.

    Args:
        parts: the data of the run as they are stored.
        predicted: from `predictions_by_part`; without the test part there is no file.
        folder: the run folder.
    """
    if "test" not in predicted:
        return {}
    predictions, targets = predicted["test"]
    arrays = predictions_of(predictions, targets, parts.target_offset)
    rows = EvaluationBlocks(parts.test).rows.cpu()
    if not torch.equal(rows, torch.arange(len(rows))):
        arrays["rows"] = rows.numpy().astype(np.int32)
    return {folder / PREDICTIONS: npz_bytes(arrays)}


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
