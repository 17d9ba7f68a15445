"""What a run says of its best state besides its metrics, once training has ended.

The outputs are those by which the metrics were computed: no sample goes through the
network again.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from torch import Tensor

from normlab.data.blocks import EvaluationBlocks
from normlab.data.parts import Parts
from normlab.results import write_atomically
from normlab.training.mistakes import class_name, describe_mistakes
from normlab.training.score_images import draw_matrix, draw_samples
from normlab.training.scores import LARGEST_MATRIX, Outputs, numbers_only
from normlab.training.tasks import Task

SCORED_PARTS = ("val", "test")
MISTAKES = "mistakes.csv"
MATRIX = "confusion_matrix"


def score_outputs(
    task: Task,
    parts: Parts,
    outputs: Mapping[str, Outputs],
    num_mistakes: int,
    folder: Path,
) -> tuple[dict[str, dict[str, Any]], dict[str, np.ndarray]]:
    """Score validation and test by all their outputs, and store the worst mistakes.

    These are rows of `mistakes.csv`; of images there is `mistakes_PART.png`, too.

    Args:
        task: the task of the run.
        parts: its data as they are stored.
        outputs: the outputs of its best state by part.
        num_mistakes: at most so many mistakes of each part; 0 for none.
        folder: the run folder.

    Returns:
        The scores of each part, see `Task.final_scores`; the confusion matrix of more
        than 200 classes is left to its image. And images to record, by name.
    """
    scores = {}
    images = {}
    mistakes: list[dict[str, Any]] = []
    for name, collected in outputs.items():
        joined, targets = collected.joined()
        found = task.final_scores(joined, targets)
        if MATRIX in found:
            classes = range(parts.num_outputs)
            names = [class_name(parts.class_names, number) for number in classes]
            images[f"confusion matrix of {name}"] = draw_matrix(found[MATRIX], names)
            if len(names) > LARGEST_MATRIX:
                found = found | {MATRIX: None}
        if found:
            scores[name] = found
        if num_mistakes and targets.ndim == 1 and joined.isfinite().all():
            predictions = task.predictions_from(joined)
            rows = EvaluationBlocks(parts.by_name[name]).rows
            worst = describe_mistakes(
                name, parts, rows, predictions, targets, num_mistakes
            )
            mistakes += worst
            samples = _samples(parts, name, worst)
            if samples is not None:
                drawn = draw_samples(samples, [_caption(mistake) for mistake in worst])
                images[f"mistakes of {name}"] = drawn
                write_atomically(folder / f"mistakes_{name}.png", _png(drawn))
    if mistakes:
        table = pd.DataFrame(mistakes).to_csv(index=False)
        write_atomically(folder / MISTAKES, table.encode())
    return scores, images


def numbers_of(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """The scores that are numbers, by names such as `test/macro_f1`."""
    found = {}
    for part, values in scores.items():
        for name, value in numbers_only(dict(values)).items():
            found[f"{part}/{name}"] = value
    return found


def _samples(parts: Parts, name: str, worst: list[dict[str, Any]]) -> Tensor | None:
    """The images of some mistakes as they are stored; None if there are none."""
    stored = parts.by_name[name].inputs
    if not worst or stored.ndim != 4:
        return None
    return stored[[mistake["row"] for mistake in worst]]


def _caption(mistake: dict[str, Any]) -> tuple[str, str]:
    if "confidence" not in mistake:
        return f"{mistake['target']:.4g}", f"not {mistake['prediction']:.4g}"
    share = f"{mistake['confidence']:.0%}"
    return str(mistake["target"]), f"not {mistake['prediction']} {share}"


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
