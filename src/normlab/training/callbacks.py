"""What happens around the optimizer steps: scoring, records, the terminal, and a clean stop on a signal."""

import csv
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from normlab import signals
from normlab.data.blocks import Block
from normlab.endings import Diverged, Pruned
from normlab.training.checkpoints import Checkpoints
from normlab.training.tasks import Task


class Scoring(Callback):
    """Scores the epoch on the validation part and measures how fast its training was.

    Comes first among the callbacks: the others read `task.metrics`.

    Attributes:
        seconds: time of whole epochs trained in this process, without scoring and records.
        samples: training samples seen in that time.
    """

    def __init__(
        self,
        validation: Iterable[Block],
        num_samples: int,
        context: Callable = nullcontext,
    ) -> None:
        self.validation, self.num_samples, self.context = (
            validation,
            num_samples,
            context,
        )
        self.seconds, self.samples, self._epoch_started, self._started = (
            0.0,
            0,
            0.0,
            time.perf_counter(),
        )

    def speed(self, task: Task) -> dict[str, float | None]:
        """samples_per_second, step_milliseconds, and outside_share: of all time since the start, what was spent
        neither in optimizer steps nor in scoring, but on batches, Lightning, records and checkpoints."""
        elapsed = time.perf_counter() - self._started
        rate = self.samples / self.seconds if self.seconds else None
        return {
            "samples_per_second": rate,
            "step_milliseconds": 1000 * task.step_seconds / task.timed_steps
            if task.timed_steps
            else None,
            "outside_share": max(
                0.0, 1 - (task.step_seconds + task.scoring_seconds) / elapsed
            ),
        }

    def on_train_start(self, trainer: pl.Trainer, task: Task) -> None:
        self._started = time.perf_counter()

    def on_train_epoch_start(self, trainer: pl.Trainer, task: Task) -> None:
        self._resumed_inside = task.progress.blocks > 0
        self._epoch_started = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, task: Task) -> None:
        if not self._resumed_inside:
            self.seconds += time.perf_counter() - self._epoch_started
            self.samples += self.num_samples
        lr = trainer.optimizers[0].param_groups[0]["lr"]
        task.close_epoch(self.validation, self.context)
        task.metrics["lr"] = lr


class Recorder(Callback):
    """Writes one row an epoch to `metrics.csv` and hands the same numbers to the loggers."""

    def __init__(self, folder: Path, started: float = 0.0) -> None:
        self.path = folder / "metrics.csv"
        self.started = time.monotonic() - started

    def on_train_epoch_end(self, trainer: pl.Trainer, task: Task) -> None:
        epoch = task.progress.epoch + 1
        for logger in trainer.loggers:
            logger.log_metrics(task.metrics, step=epoch)
        if trainer.is_global_zero:
            position = {
                "epoch": epoch,
                "step": task.progress.steps,
                "seconds": time.monotonic() - self.started,
            }
            append_rows(self.path, [position | task.metrics])


def append_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Append rows to a CSV file; the first call writes the header."""
    with open(path, "a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        if file.tell() == 0:
            writer.writeheader()
        writer.writerows(rows)


class Terminal(Callback):
    """A progress bar on a terminal, and a line for every epoch (at most about twenty lines a run)."""

    def __init__(self, max_epochs: int) -> None:
        self.max_epochs = max_epochs
        self.every = max(1, max_epochs // 20)
        self.bar = None

    def on_train_start(self, trainer: pl.Trainer, task: Task) -> None:
        if not (trainer.is_global_zero and sys.stderr.isatty()):
            return
        from normlab.terminal import progress_bar

        self.bar = progress_bar()
        done = task.progress.epoch * trainer.num_training_batches
        self.line = self.bar.add_task(
            "training",
            total=self.max_epochs * trainer.num_training_batches,
            completed=done,
        )
        self.bar.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, task: Task, outputs: Any, block: Block, index: int
    ) -> None:
        if self.bar is not None:
            self.bar.update(
                self.line,
                advance=1,
                description=f"epoch {task.progress.epoch + 1}/{self.max_epochs}",
            )

    def on_train_epoch_end(self, trainer: pl.Trainer, task: Task) -> None:
        epoch = task.progress.epoch + 1
        if trainer.is_global_zero and (
            epoch % self.every == 0 or epoch == self.max_epochs
        ):
            self._print(epoch_line(epoch, self.max_epochs, task.metrics))

    def _print(self, text: str) -> None:
        print(
            text, file=sys.stderr, flush=True
        ) if self.bar is None else self.bar.console.print(text, highlight=False)

    def on_exception(
        self, trainer: pl.Trainer, task: Task, exception: BaseException
    ) -> None:
        self.teardown(trainer, task, "fit")

    def teardown(self, trainer: pl.Trainer, task: Task, stage: str) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


def epoch_line(epoch: int, max_epochs: int, metrics: dict[str, float]) -> str:
    """`epoch  3/10   train/loss 0.2134   train/accuracy 0.9410   ...`"""
    width = len(str(max_epochs))
    columns = [f"{name} {value:.4f}" for name, value in metrics.items() if name != "lr"]
    return "   ".join([f"epoch {epoch:>{width}}/{max_epochs}", *columns])


class StopOnSignal(Callback):
    """On a stop signal: finish the block, write a checkpoint, and hand the signal on, see `normlab.signals`.

    After the last block of an epoch the epoch is ended first: scored, recorded, and reported to a search.
    Handlers stay as they are at the end of training: whoever calls the trainer puts the earlier ones back.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints, self.received, self.previous = checkpoints, 0, {}

    def on_fit_start(self, trainer: pl.Trainer, task: Task) -> None:
        self.previous = signals.install(self._remember)

    def on_train_start(self, trainer: pl.Trainer, task: Task) -> None:
        # Lightning has put a handler of its own before ours: it starts a collective wherever the signal finds the
        # process, and ends training without our checkpoint.
        signals.install(self._remember)
        trainer._signal_connector.received_sigterm = False

    def _remember(self, number: int, frame: Any) -> None:
        if self.received:  # a second signal does not wait
            raise signals.Interrupted(number)
        self.received = number

    def on_train_batch_end(
        self, trainer: pl.Trainer, task: Task, outputs: Any, block: Block, index: int
    ) -> None:
        if not trainer.is_last_batch:
            self._stop_if_asked(trainer, task)

    def on_train_epoch_start(self, trainer: pl.Trainer, task: Task) -> None:
        """Where a signal is answered that came while the epoch before ended."""
        self._stop_if_asked(trainer, task)

    def on_train_end(self, trainer: pl.Trainer, task: Task) -> None:
        """After the last block there is only the last checkpoint, which `Checkpoints` has just written."""
        if self._any_received(trainer, task):
            self._hand_over()

    def on_exception(
        self, trainer: pl.Trainer, task: Task, exception: BaseException
    ) -> None:
        """A run that ends by itself before the signal is answered does not swallow it: a sweep would go on."""
        if isinstance(exception, Pruned | Diverged) and self._any_received(
            trainer, task
        ):
            self._hand_over()

    def _stop_if_asked(self, trainer: pl.Trainer, task: Task) -> None:
        if self._any_received(trainer, task):
            self.checkpoints.write(trainer, task)
            self._hand_over()

    def _any_received(self, trainer: pl.Trainer, task: Task) -> bool:
        if (
            trainer.world_size > 1
        ):  # all processes stop after the same step, or they would wait for each other
            received = torch.tensor(self.received, device=task.device)
            self.received = int(trainer.strategy.reduce(received, reduce_op="max"))
        return self.received > 0

    def _hand_over(self) -> None:
        number, self.received = self.received, 0
        signals.hand_over(number, self.previous.get(number))
