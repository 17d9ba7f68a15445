"""Predictions as rows: written to a file, shown, and scored if the truth is known."""

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from torch import Tensor

from normlab.predict.predictor import Predictor
from normlab.predict.sources import Batch, Source
from normlab.results import written_whole
from normlab.spreadsheets import without_formula
from normlab.terminal import escaped, format_metric

MOST_SHOWN = 20  # rows in a terminal


@dataclass
class Score:
    """Sums over the samples, and over those whose class or value is known."""

    samples: int = 0
    known: int = 0
    right: int = 0
    squared: float = 0.0
    absolute: float = 0.0

    def add(self, truth: Any, prediction: Any) -> None:
        """Count one sample; `truth` is None if nothing is known of it."""
        self.samples += 1
        if truth is None:
            return
        self.known += 1
        if isinstance(truth, str):
            self.right += truth == prediction
        else:
            self.squared += (truth - prediction) ** 2
            self.absolute += abs(truth - prediction)

    def metrics(self, is_classification: bool) -> dict[str, float]:
        """The scores by name; none if nothing is known."""
        if not self.known:
            return {}
        if is_classification:
            return {"accuracy": self.right / self.known}
        return {
            "rmse": math.sqrt(self.squared / self.known),
            "mae": self.absolute / self.known,
        }


def header(predictor: Predictor, source: Source) -> list[str]:
    """Names of the columns of `predicted_rows`."""
    names = [source.unit]
    if source.has_truth:
        names.append("class" if predictor.classes else "target")
    names.append("prediction")
    if predictor.classes:
        names.append("probability")
        for name in predictor.classes:
            names.append(f"probability of {name}")
    return names


def predicted_rows(
    predictor: Predictor, source: Source, score: Score
) -> Iterator[list[Any]]:
    """Predict every sample of a source, one row per sample.

    A row has the name of the sample, its class or value if that is known, and the
    prediction: a value, or a class with its probability and those of all classes.

    Args:
        predictor: the run.
        source: the samples.
        score: counts every sample.
    """
    for batch in source.batches():
        values = predictor.predict(batch.samples)
        for index, value in enumerate(values):
            yield _row(predictor, batch, index, value, score)


def _row(
    predictor: Predictor, batch: Batch, index: int, value: Tensor, score: Score
) -> list[Any]:
    truth = None
    known = []
    if batch.truth is not None:
        truth = batch.truth[index]
        known = [truth]
    prediction: list[Any]
    if predictor.classes:
        best = int(value.argmax())
        prediction = [predictor.classes[best], value[best].item(), *value.tolist()]
    elif value.numel() == 1:
        prediction = [value.item()]
    else:
        raise ValueError(
            f"predictions_from of the task must return one number per sample, got "
            f"{value.numel()}; normlab.load(RUN).predict returns them all"
        )
    score.add(truth, prediction[0])
    return [batch.names[index], *known, *prediction]


def write_rows(
    path: Path,
    names: Sequence[str],
    rows: Iterable[list[Any]],
    exact: bool = False,
) -> None:
    """Write a CSV file: all rows, or nothing if one cannot be predicted.

    Args:
        path: the file.
        names: of the columns.
        rows: see `predicted_rows`.
        exact: whether numbers need more digits than float32 has.

    Raises:
        OSError: the file cannot be written.
    """
    with (
        written_whole(path, follow_links=True) as temporary,
        open(temporary, "w", newline="", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(map(without_formula, names))
        for row in rows:
            writer.writerow([_cell(value, exact) for value in row])


def _cell(value: Any, exact: bool) -> Any:
    """A number with the digits that float32 has, or all; a text is no formula."""
    if isinstance(value, float):
        return repr(value) if exact else f"{value:.7g}"
    return without_formula(value)


def print_rows(
    console: Console, names: Sequence[str], rows: Iterator[list[Any]]
) -> None:
    """Print the first rows, without the probabilities of the other classes."""
    columns = len(names)
    if "probability" in names:
        columns = names.index("probability") + 1
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names[:columns]:
        table.add_column(escaped(name))
    for row in islice(rows, MOST_SHOWN):
        table.add_row(*[_shown(value) for value in row[:columns]])
    rest = sum(1 for _ in rows)
    console.print(table)
    if rest:
        console.print(f"... and {rest} more; --out FILE writes all of them")


def _shown(value: Any) -> str:
    text = format_metric(value) if isinstance(value, float) else str(value or "")
    return escaped(text)


def print_score(console: Console, score: Score, is_classification: bool) -> None:
    """Print how near the predictions are to the known classes or values."""
    texts = []
    for name, value in score.metrics(is_classification).items():
        texts.append(f"{name} {format_metric(value)}")
    if texts:
        console.print(
            f"{', '.join(texts)} on {score.known} of {score.samples} samples, whose "
            f"{'class' if is_classification else 'target'} is known"
        )
