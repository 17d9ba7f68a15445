"""What a run says of its best state besides its metrics, once training has ended.

The outputs are those by which the metrics were computed: no sample goes through the
network again.
"""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from normlab.data.blocks import EvaluationBlocks
from normlab.data.parts import Parts
from normlab.spreadsheets import without_formula
from normlab.training.mistakes import class_name, describe_mistakes
from normlab.training.predictions import Predicted
from normlab.training.score_images import draw_matrix, draw_samples
from normlab.training.scores import LARGEST_MATRIX, Outputs, numbers_only
from normlab.training.tasks import Task

SCORED_PARTS = ("val", "test")
MISTAKES = "mistakes.csv"
MATRIX = "confusion_matrix"


def score_outputs(
    task: Task, parts: Parts, outputs: Mapping[str, Outputs]
) -> tuple[dict[str, dict[str, Any]], dict[str, bytes]]:
    """Score validation and test by all their outputs.

    Args:
        task: the task of the run.
        parts: its data as they are stored.
        outputs: the outputs of its best state by part.

    Returns:
        The scores of each part, see `Task.final_scores`; the confusion matrix of more
        than 200 classes is left to its image. And PNG files to record, by name.
    """
    scores = {}
    images = {}
    for part, collected in outputs.items():
        found = task.final_scores(*collected.joined())
        if not found:
            continue
        matrix = found.get(MATRIX)
        if matrix is not None:
            names = [class_name(parts.class_names, k) for k in range(len(matrix))]
            images[f"confusion matrix of {part}"] = draw_matrix(matrix, names)
            if len(matrix) > LARGEST_MATRIX:
                found[MATRIX] = None
        scores[part] = found
    return scores, images


class Mistakes(NamedTuple):
    """The worst mistakes of a run.

    Attributes:
        rows: one dictionary for each mistake.
        pictures: PNG files of those in images, by the name of the part.
    """

    rows: list[dict[str, Any]]
    pictures: dict[str, bytes]


def find_mistakes(
    parts: Parts, predicted: Mapping[str, Predicted], count: int
) -> Mistakes:
    """The worst mistakes, with pictures of those in images.

    Args:
        parts: the data of the run as they are stored.
        predicted: from `predictions_by_part`.
        count: at most so many mistakes of each part.
    """
    found: list[dict[str, Any]] = []
    pictures = {}
    for part, (predictions, targets) in predicted.items():
        rows = EvaluationBlocks(parts.by_name[part]).rows
        worst = describe_mistakes(part, parts, rows, predictions, targets, count)
        found += worst
        samples = _samples(parts, part, worst)
        if samples is not None:
            captions = [_caption(mistake) for mistake in worst]
            pictures[part] = draw_samples(samples, captions)
    return Mistakes(found, pictures)


def mistake_files(mistakes: Mistakes, folder: Path) -> dict[Path, bytes]:
    """`mistakes.csv` and the pictures; none if there are no mistakes.

    Args:
        mistakes: of the run.
        folder: the run folder.
    """
    files = {}
    for part, picture in mistakes.pictures.items():
        files[folder / f"mistakes_{part}.png"] = picture
    if mistakes.rows:
        files[folder / MISTAKES] = _table(mistakes.rows).encode()
    return files


def numbers_of(scores: Mapping[str, dict[str, Any]]) -> dict[str, float]:
    """The scores that are numbers, by names such as `test/macro_f1`."""
    found = {}
    for part, values in scores.items():
        for name, value in numbers_only(values).items():
            found[f"{part}/{name}"] = value
    return found


def _table(rows: list[dict[str, Any]]) -> str:
    """Rows as CSV without formulas; a column that a row does not have is empty."""
    columns = dict.fromkeys(name for row in rows for name in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writerow({name: without_formula(name) for name in columns})
    for row in rows:
        cells = {name: without_formula(value) for name, value in row.items()}
        writer.writerow(cells)
    return text.getvalue()


def _samples(parts: Parts, name: str, worst: list[dict[str, Any]]) -> Tensor | None:
    """The images of some mistakes as they are stored; None if there are none."""
    stored = parts.by_name[name].inputs
    if not worst or stored.ndim != 4:
        return None
    return stored[[mistake["row"] for mistake in worst]]


def _caption(mistake: dict[str, Any]) -> tuple[str, str]:
    if "confidence" not in mistake:
        return f"{mistake['target']:.4g}", f"as {mistake['prediction']:.4g}"
    share = f"{mistake['confidence']:.0%}"
    return str(mistake["target"]), f"as {mistake['prediction']} {share}"
