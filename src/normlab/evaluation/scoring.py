"""Scores of the parts of a data set, by statistics that are chosen for them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from torch import nn

from normlab.config.claim_metrics import PARTS, SOURCES, STATISTICS
from normlab.data.blocks import Block, EvaluationBlocks, Part
from normlab.data.parts import Parts
from normlab.evaluation.entropy import EntropyMinimizer, scales_and_shifts
from normlab.evaluation.statistics import (
    ShuffledBatches,
    batch_statistics,
    batch_statistics_where_kept,
    mixed_statistics,
    restored,
)
from normlab.training.classification import Classification
from normlab.training.evaluation import evaluate
from normlab.training.recalibration import recalibrate
from normlab.training.scores import Outputs, calibration_scores
from normlab.training.tasks import Task


@dataclass(frozen=True)
class Statistics:
    """By which statistics norms normalize when a run is scored again.

    Attributes:
        name: one of `STATISTICS`, see `normlab.evaluation.evaluate.evaluate_run`.
        num_batches: largest number of batches for `recalibrated`.
        recalibrate_on: the part for `recalibrated`, one of `SOURCES`.
        batch_size: samples of a batch for `batch`, `adapted`, `mixed` and `tent`; None
            takes that of training.
        pseudo_count: number of samples that the running statistics weigh as much as,
            for `mixed`.
        lr: learning rate for `tent`.

    Raises:
        ValueError: a value is impossible.
    """

    name: str
    num_batches: int = 100
    recalibrate_on: str = "train"
    batch_size: int | None = None
    pseudo_count: float = 16
    lr: float = 1e-3

    def __post_init__(self) -> None:
        if self.name not in STATISTICS:
            raise ValueError(
                f"statistics must be one of {', '.join(STATISTICS)}, got {self.name!r}"
            )
        if self.num_batches < 1:
            raise ValueError(f"num_batches must be at least 1, got {self.num_batches}")
        if self.recalibrate_on not in SOURCES:
            raise ValueError(
                f"recalibrate_on must be one of {', '.join(SOURCES)}, got "
                f"{self.recalibrate_on!r}"
            )
        if self.batch_size is not None and self.batch_size < 2:
            raise ValueError(f"batch_size must be at least 2, got {self.batch_size}")
        if not self.pseudo_count >= 0:
            raise ValueError(
                f"pseudo_count must be at least 0, got {self.pseudo_count}"
            )
        if not self.lr > 0:
            raise ValueError(f"lr must be above 0, got {self.lr}")


def check_parts(parts: Iterable[str]) -> None:
    """Refuse names that no part has.

    Raises:
        ValueError: a name is neither train, val nor test, or there is none.
    """
    names = list(parts)
    if not names or not set(names) <= set(PARTS):
        raise ValueError(
            f"parts must name some of {', '.join(PARTS)}, got {', '.join(names)!r}"
        )


@dataclass(frozen=True)
class Scorer:
    """Scores parts with one network.

    Attributes:
        task: the network and its metrics.
        norm_layers: the norms of the run, by name.
        batch_size: samples of a batch of training.
        context: a context manager around every forward pass.
        calibration: whether probabilities are scored too.
    """

    task: Task
    norm_layers: Mapping[str, nn.Module]
    batch_size: int
    context: Callable = nullcontext
    calibration: bool = False

    def score_parts(
        self, parts: Parts, names: Iterable[str], statistics: Statistics
    ) -> dict[str, float]:
        """The metrics of several parts by name, such as `test/accuracy`.

        Args:
            parts: the data.
            names: of the parts that are scored.
            statistics: those that are chosen. The network is left as it was.

        Raises:
            ValueError: the norm of the run has nothing that could be chosen.
        """
        metrics: dict[str, float] = {}
        for name in names:
            scores = self._score(parts.by_name[name], statistics)
            metrics |= {f"{name}/{key}": value for key, value in scores.items()}
        return metrics

    def _score(self, part: Part, statistics: Statistics) -> dict[str, float]:
        """The metrics of a part by name."""
        blocks: Iterable[Block] = EvaluationBlocks(part)
        if statistics.name in ("batch", "mixed", "tent"):
            blocks = ShuffledBatches(part, statistics.batch_size or self.batch_size)
        outputs = None
        if self.calibration and isinstance(self.task, Classification):
            outputs = Outputs()
        with self._chosen(part, statistics) as network:
            metrics = evaluate(self.task, blocks, self.context, outputs, network)
        if outputs is not None:
            logits, classes = outputs.joined()
            # The user's own task may predict several classes of each sample.
            if classes.ndim == 1:
                metrics |= calibration_scores(logits, classes)
        return metrics

    @contextmanager
    def _chosen(self, part: Part, statistics: Statistics) -> Iterator[nn.Module]:
        """The network as it is to be scored on a part."""
        network = self.task.network
        name = statistics.name
        if name == "batch":
            with batch_statistics(network):
                yield network
        elif name == "mixed":
            with mixed_statistics(network, statistics.pseudo_count):
                yield network
        elif name == "adapted":
            with restored(network):
                batch_size = statistics.batch_size or self.batch_size
                batches = ShuffledBatches(part, batch_size)
                recalibrate(network, batches, self.context)
                yield network
        elif name == "tent":
            with self._minimizer(statistics.lr) as minimizer:
                yield minimizer
        else:
            yield network

    @contextmanager
    def _minimizer(self, lr: float) -> Iterator[nn.Module]:
        network = self.task.network
        if not isinstance(self.task, Classification):
            raise ValueError(
                "statistics must not be tent, since the run predicts no classes, whose "
                "entropy tent lowers"
            )
        parameters = scales_and_shifts(network, self.norm_layers)
        network.eval()
        with restored(network), batch_statistics_where_kept(network):
            yield EntropyMinimizer(network, parameters, lr)
