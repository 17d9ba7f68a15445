"""The samples of a part that the network is most wrong about.

Shapes: N samples, K classes.
"""

from typing import Any

import torch
from torch import Tensor

from normlab.data.parts import Parts


def worst_samples(predictions: Tensor, targets: Tensor, count: int) -> Tensor:
    """The positions of the worst mistakes, the worst first.

    Args:
        predictions: probabilities of the classes ``(N, K)``: the wrong predictions with
            the highest probability are the worst. Or values ``(N,)``: those furthest
            from their targets are.
        targets: classes or values ``(N,)``.
        count: at most so many.
    """
    if predictions.ndim == 1:
        size = (predictions - targets).abs()
        candidates = torch.arange(len(targets))
    else:
        size, predicted = predictions.max(1)
        candidates = predicted.ne(targets).nonzero().flatten()
    order = size[candidates].argsort(descending=True, stable=True)
    return candidates[order[:count]]


def describe_mistakes(
    part_name: str,
    parts: Parts,
    rows: Tensor,
    predictions: Tensor,
    targets: Tensor,
    count: int,
) -> list[dict[str, Any]]:
    """One row per mistake, for a table.

    Args:
        part_name: val or test.
        parts: the data of the run as they are stored.
        rows: int64 ``(N,)``, the stored samples.
        predictions: their probabilities ``(N, K)`` or values ``(N,)``.
        targets: classes or values ``(N,)``.
        count: at most so many rows.

    Returns:
        The part and the row of each sample among the stored training or test samples,
        its class and the predicted one with its probability, or its value and the
        predicted one, and the columns of a table.
    """
    found = []
    names = parts.class_names
    columns = None
    if parts.table is not None:
        is_training = parts.by_name[part_name].inputs is parts.train.inputs
        table = parts.table
        columns = table.train_columns if is_training else table.test_columns
    for position in worst_samples(predictions, targets, count).tolist():
        row = int(rows[position])
        mistake: dict[str, Any] = {"part": part_name, "row": row}
        if predictions.ndim == 1:
            offset = 0.0 if parts.encoder is None else parts.encoder.target_offset
            mistake["target"] = float(targets[position]) + offset
            mistake["prediction"] = float(predictions[position]) + offset
        else:
            confidence, predicted = predictions[position].max(0)
            mistake["target"] = class_name(names, int(targets[position]))
            mistake["prediction"] = class_name(names, int(predicted))
            mistake["confidence"] = float(confidence)
        if columns is not None:
            mistake |= {f"column {k}": v for k, v in columns.iloc[row].items()}
        found.append(mistake)
    return found


def class_name(names: tuple[str, ...], number: int) -> str:
    """The name of a class, or its number if the data name none."""
    return names[number] if names else str(number)
