"""What happens around the optimizer steps: scores, records, the terminal, and signals.

The order of the callbacks, as `normlab.training.trainer` lists them, matters:

1. `Scoring` computes the metrics of the epoch, which all others read.
2. `NormStatistics`, `Recorder`, `Terminal` and `Profile` write what they record. Their
   order among each other is free.
3. `Checkpoints` counts the bytes that they have written, and moves the position to the
   next epoch. Callbacks that come earlier add one to `task.progress.epoch`.
4. `StopOnSignal` hands a signal on after the block's own checkpoint is written, and
   when training has ended after the last one.
5. The callback of a search, if there is one, may stop the run. It comes last, so that a
   pruned run leaves the checkpoint of its last epoch.
"""

# Lightning's hooks receive any LightningModule, those of this package always a Task.
# mypy: disable-error-code="override"

import csv
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from rich.progress import Progress, TaskID

from normlab import signals
from normlab.data.blocks import Block
from normlab.endings import Diverged, Interrupted, Pruned
from normlab.locks import check_lease
from normlab.terminal import Bar, format_metric, print_line
from normlab.training.checkpoints import Checkpoints, ends_epoch
from normlab.training.collectives import largest_over_processes
from normlab.training.compilation import compile_seconds
from normlab.training.running_statistics import statistics_note
from normlab.training.tasks import Task

LINES_PER_RUN = 20  # about as many epochs are reported in the terminal


class Scoring(Callback):
    """Computes the metrics of an epoch and measures the speed of its training.

    Args:
        validation: the samples of the validation part, each of them once.
        context: a context manager around every forward pass, such as automatic mixed
            precision.
        test: the samples of the test part, if it is scored after every epoch too.
        second: further scores of the task after every epoch by name, if there are any.

    Attributes:
        seconds: time spent by this process on the training of whole epochs, without
            their scoring and records, and without compiling.
        samples: training samples seen in that time.
        step_compile_seconds: time that optimizer steps have spent on compiling.
    """

    def __init__(
        self,
        validation: Iterable[Block],
        context: Callable = nullcontext,
        test: Iterable[Block] | None = None,
        second: Callable[[Task], dict[str, float]] | None = None,
    ) -> None:
        self.validation = validation
        self.context = context
        self.test = test
        self.second = second
        self.seconds = 0.0
        self.samples = 0
        self.step_compile_seconds = 0.0
        self._started = time.perf_counter()
        self._epoch_started = 0.0
        self._compiled_before_start = compile_seconds()
        self._compiled_before_epoch = 0.0
        self._resumed_within_epoch = False

    def speed(self, task: Task) -> dict[str, float | None]:
        """How fast this process trained.

        Args:
            task: the task that was trained.

        Returns:
            samples_per_second: training samples per second over whole epochs, None if
                there was none.
            step_milliseconds: mean time of an optimizer step, None if there was none.
            outside_share: share of all time since the start that was spent neither on
                optimizer steps nor on scoring, but on batches, Lightning, records and
                checkpoints.
            compile_seconds: time spent on compiling the network, which counts in none
                of the above; None if it was not compiled.
        """
        compiled = _compiled_since(self._compiled_before_start, task)
        elapsed = task.clock() - self._started - compiled
        step_seconds = task.step_seconds - self.step_compile_seconds
        scoring_compile_seconds = compiled - self.step_compile_seconds
        scoring_seconds = task.scoring_seconds - scoring_compile_seconds
        samples_per_second = None
        if self.seconds > 0:
            samples_per_second = self.samples / self.seconds
        step_milliseconds = None
        if task.timed_steps > 0:
            step_milliseconds = 1000 * step_seconds / task.timed_steps
        inside_share = (step_seconds + scoring_seconds) / elapsed
        return {
            "samples_per_second": samples_per_second,
            "step_milliseconds": step_milliseconds,
            "outside_share": max(0.0, 1 - inside_share),
            "compile_seconds": compiled or None,
        }

    def on_train_start(self, trainer: pl.Trainer, task: Task) -> None:
        task.scored_parts = {"val": self.validation}
        if self.test is not None:
            task.scored_parts["test"] = self.test
        self._started = task.clock()
        self._compiled_before_start = compile_seconds()

    def on_train_epoch_start(self, trainer: pl.Trainer, task: Task) -> None:
        is_within_block = task.unfinished is not None
        self._resumed_within_epoch = is_within_block or task.progress.blocks > 0
        self._epoch_started = task.clock()
        self._compiled_before_epoch = compile_seconds()

    def on_train_epoch_end(self, trainer: pl.Trainer, task: Task) -> None:
        compiled = _compiled_since(self._compiled_before_epoch, task)
        self.step_compile_seconds += compiled
        seconds = task.clock() - self._epoch_started - compiled
        # The rate of this epoch's steps: closing the epoch may step the scheduler.
        lr = trainer.optimizers[0].param_groups[0]["lr"]
        task.close_epoch(self.validation, self.context)
        if self.test is not None:
            task.score_test(self.test, self.context)
        if self.second is not None:
            started = time.perf_counter()
            task.metrics |= self.second(task)
            task.scoring_seconds += time.perf_counter() - started
        if not self._resumed_within_epoch:
            self.seconds += seconds
            self.samples += task.epoch_samples
        task.metrics["lr"] = lr


def _compiled_since(before: float, task: Task) -> float:
    """The time that a run has spent on compiling since `compile_seconds` was `before`.

    A stack compiles for all of its runs, whose clocks stand still meanwhile.
    """
    if task.stack is not None:
        return 0.0
    return compile_seconds() - before


class Recorder(Callback):
    """Writes one row per epoch to `metrics.csv` and gives the same numbers to loggers.

    Args:
        folder: the run folder.
        seconds_before: time that earlier attempts at the run spent on training.
    """

    def __init__(self, folder: Path, seconds_before: float = 0.0) -> None:
        self.path = folder / "metrics.csv"
        self.started = time.perf_counter() - seconds_before

    def on_train_epoch_end(self, trainer: pl.Trainer, task: Task) -> None:
        epoch = task.progress.epoch + 1
        seconds = task.clock() - self.started  # before servers are waited for
        for logger in trainer.loggers:
            logger.log_metrics(task.metrics, step=epoch)
        if trainer.is_global_zero:
            position = {
                "epoch": epoch,
                "step": task.progress.steps,
                "seconds": seconds,
            }
            append_rows(self.path, [position | task.metrics])


def append_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Append rows to a CSV file; a new file gets the header first.

    Args:
        path: the file.
        rows: at least one row, all with the same keys in the same order.

    Raises:
        LeaseLost: another process has taken over the run.
    """
    with open(path, "a", newline="") as file:
        # After opening: whoever takes over a run replaces its files by copies.
        check_lease(path)
        writer = csv.writer(file)
        if file.tell() == 0:
            writer.writerow(rows[0])
        for row in rows:
            writer.writerow(row.values())


class Terminal(Callback):
    """Prints the metrics of about twenty epochs, below a progress bar on a terminal.

    Args:
        max_epochs: epochs of the whole run.
    """

    def __init__(self, max_epochs: int) -> None:
        self.max_epochs = max_epochs
        self.every_n_epochs = max(1, max_epochs // LINES_PER_RUN)
        self.bar: Progress | None = None
        self.line = TaskID(0)
        self.has_noted = False

    def on_train_start(self, trainer: pl.Trainer, task: Task) -> None:
        if not trainer.is_global_zero or not sys.stderr.isatty():
            return
        blocks_per_epoch = int(trainer.num_training_batches)
        self.bar = Bar()
        self.line = self.bar.add_task(
            "training",
            total=self.max_epochs * blocks_per_epoch,
            completed=task.progress.epoch * blocks_per_epoch,
        )
        self.bar.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, task: Task, outputs: Any, block: Block, index: int
    ) -> None:
        if self.bar is not None:
            epoch = f"epoch {task.progress.epoch + 1}/{self.max_epochs}"
            self.bar.update(self.line, advance=1, description=epoch)

    def on_train_epoch_end(self, trainer: pl.Trainer, task: Task) -> None:
        if not trainer.is_global_zero:
            return
        epoch = task.progress.epoch + 1
        if epoch % self.every_n_epochs == 0 or epoch == self.max_epochs:
            self._print(epoch_line(epoch, self.max_epochs, task.metrics))
        if not self.has_noted and task.averaging is None:
            note = statistics_note(task.network, task.metrics)
            self.has_noted = note is not None
            if note is not None:
                self._print(note)

    def on_exception(
        self, trainer: pl.Trainer, task: Task, exception: BaseException
    ) -> None:
        self._stop_bar()

    def teardown(self, trainer: pl.Trainer, task: Task, stage: str) -> None:
        self._stop_bar()

    def _print(self, text: str) -> None:
        if self.bar is None:
            print_line(text)
        else:
            self.bar.console.print(text, highlight=False, markup=False)

    def _stop_bar(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


def epoch_line(epoch: int, max_epochs: int, metrics: dict[str, float]) -> str:
    """`epoch  3/10   train/loss 0.2134   train/accuracy 0.9410   ...`"""
    width = len(str(max_epochs))
    columns = [
        f"{name} {format_metric(value)}"
        for name, value in metrics.items()
        if name != "lr"
    ]
    return "   ".join([f"epoch {epoch:>{width}}/{max_epochs}", *columns])


class StopOnSignal(Callback):
    """Finishes the batch, writes a checkpoint, and hands a stop signal on.

    A signal during the last batch of an epoch waits until the epoch has ended: until it
    is scored, recorded, and reported to a search. A second signal does not wait, except
    for a checkpoint that is being written, or if it `normlab.signals.may_come_twice`.
    `normlab.signals` says which handler gets the signal afterwards.

    The handlers stay installed when training ends; the caller of the trainer puts the
    former ones back.

    Args:
        checkpoints: writes the checkpoint.

    Attributes:
        received: number of the signal that was received, 0 if there was none.
        previous: the former handlers by signal number.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints
        self.received = 0
        self.previous: dict[int, Any] = {}
        self._stop_within_block: Callable[[], None] | None = None
        self._task: Task | None = None

    def on_fit_start(self, trainer: pl.Trainer, task: Task) -> None:
        self._task = task
        self._stop_within_block = partial(self._stop_if_asked, trainer, task)
        self.previous = signals.install(self._handle)

    def on_train_start(self, trainer: pl.Trainer, task: Task) -> None:
        # Since then Lightning has put a handler of its own before ours. It starts a
        # collective operation wherever the signal finds the process, and ends training
        # without our checkpoint.
        signals.install(self._handle)
        ignore_sigterm_received_by_lightning(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, task: Task, outputs: Any, block: Block, index: int
    ) -> None:
        if not ends_epoch(trainer):
            self._stop_if_asked(trainer, task)

    def on_train_epoch_start(self, trainer: pl.Trainer, task: Task) -> None:
        """Handle a signal that arrived while the previous epoch was ending."""
        self._stop_if_asked(trainer, task)

    def on_train_end(self, trainer: pl.Trainer, task: Task) -> None:
        """Handle a signal that arrived during the last block or after it.

        `Checkpoints` has just written the last checkpoint.
        """
        if self._any_received(trainer, task):
            self._hand_over()

    def on_exception(
        self, trainer: pl.Trainer, task: Task, exception: BaseException
    ) -> None:
        """Hand a signal on although the run ends for a reason of its own.

        Otherwise the sweep that the run belongs to would continue.
        """
        ended_by_itself = isinstance(exception, Pruned | Diverged)
        if ended_by_itself and self._any_received(trainer, task):
            self._hand_over()

    def _handle(self, number: int, frame: Any) -> None:
        if self.received and not signals.may_come_twice(number):
            raise Interrupted(number)
        self.received = number
        if self._task is not None:
            self._task.on_stop = self._stop_within_block

    def _stop_if_asked(self, trainer: pl.Trainer, task: Task) -> None:
        if self._any_received(trainer, task):
            self.checkpoints.write(trainer, task)
            self._hand_over()

    def _any_received(self, trainer: pl.Trainer, task: Task) -> bool:
        # All processes have to stop after the same step, or they would wait for each
        # other forever.
        received = largest_over_processes(self.received, task.device)
        if received:  # a signal that comes meanwhile is not forgotten
            self.received = received
        return received > 0

    def _hand_over(self) -> None:
        number = self.received
        self.received = 0
        if self._task is not None:
            self._task.on_stop = None
        signals.hand_over(number, self.previous.get(number))


def ignore_sigterm_received_by_lightning(trainer: pl.Trainer) -> None:
    """Make Lightning forget a SIGTERM, after which it would end training by itself.

    This uses a private attribute, checked against Lightning 2.6.6.
    """
    trainer._signal_connector.received_sigterm = False
