"""The samples of a part that the network is most wrong about.

Shapes: N samples, K classes.
"""

from typing import Any

import numpy as np
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
    describe = _number_mistake if predictions.ndim == 1 else _class_mistake
    positions = worst_samples(predictions, targets, count)
    worst_rows = rows.cpu()[positions].tolist()
    cells = _cells(part_name, parts, worst_rows)
    found = []
    for number, position in enumerate(positions.tolist()):
        mistake: dict[str, Any] = {"part": part_name, "row": worst_rows[number]}
        mistake |= describe(parts, predictions[position], targets[position])
        found.append(mistake | cells[number])
    return found


def _number_mistake(parts: Parts, prediction: Tensor, target: Tensor) -> dict[str, Any]:
    offset = parts.target_offset
    return {
        "target": float(target) + offset,
        "prediction": float(prediction) + offset,
    }


def _class_mistake(
    parts: Parts, probabilities: Tensor, target: Tensor
) -> dict[str, Any]:
    confidence, predicted = probabilities.max(0)
    return {
        "target": class_name(parts.class_names, int(target)),
        "prediction": class_name(parts.class_names, int(predicted)),
        "confidence": float(confidence),
    }


def _cells(part_name: str, parts: Parts, rows: list[int]) -> list[dict[str, Any]]:
    """The columns of some rows of a table, one dict per row; empty for other data.

    A missing value is an empty text.
    """
    if parts.table is None:
        return [{} for _ in rows]
    columns = parts.table.test_columns
    if parts.by_name[part_name].inputs is parts.train.inputs:
        columns = parts.table.train_columns
    chosen = columns.iloc[rows]
    names = [f"column {name}" for name in chosen]
    cells = np.where(chosen.isna(), "", chosen.to_numpy(object))
    return [dict(zip(names, row, strict=True)) for row in cells.tolist()]


def class_name(names: tuple[str, ...], number: int) -> str:
    """The name of a class, or its number if the data name none."""
    return names[number] if names else str(number)
