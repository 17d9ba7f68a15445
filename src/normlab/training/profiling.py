"""A trace of one block of optimizer steps, for `profile=true`."""

# Lightning's hooks receive any LightningModule, those of this package always a Task.
# mypy: disable-error-code="override"

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch.profiler import ProfilerActivity, profile

from normlab.data.blocks import Block
from normlab.endings import Diverged
from normlab.results import written_whole
from normlab.terminal import print_line
from normlab.training.tasks import Task

TRACE = "trace.json"
ROWS = 15  # operators in the printed table


class Profile(Callback):
    """Traces one block of optimizer steps and prints the operators that took longest.

    The block is the first of the second epoch, so that everything is warmed up. A run
    of a single epoch is warmed up by one block, if it has more than one. The trace is
    written to `trace.json` in the run folder and can be opened with ui.perfetto.dev.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.profiler: profile | None = None
        self.done = False

    def on_train_batch_start(
        self, trainer: pl.Trainer, task: Task, block: Block, index: int
    ) -> None:
        is_empty = len(block.targets) == 0  # a resumed epoch begins with such blocks
        if self.done or is_empty or not self._is_warm(trainer, index):
            return
        activities = [ProfilerActivity.CPU]
        if task.device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        self.profiler = profile(
            activities=activities, record_shapes=True, acc_events=True
        )
        self.profiler.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, task: Task, outputs: Any, block: Block, index: int
    ) -> None:
        if self.profiler is None:
            return
        profiler = self.profiler
        self.profiler = None
        self.done = True
        profiler.stop()
        if trainer.is_global_zero:
            self._report(profiler, task, block)

    def on_exception(
        self, trainer: pl.Trainer, task: Task, exception: BaseException
    ) -> None:
        if self.profiler is not None:
            self.profiler.stop()
        if isinstance(exception, Diverged) and not self.done and trainer.is_global_zero:
            print_line(
                f"profile=true has written no trace: {exception}, "
                f"before the traced steps had ended"
            )

    def _is_warm(self, trainer: pl.Trainer, index: int) -> bool:
        if trainer.max_epochs == 1:
            last = int(trainer.num_training_batches) - 1
            return index >= min(1, last)
        return trainer.current_epoch > 0

    def _report(self, profiler: profile, task: Task, block: Block) -> None:
        path = self.folder / TRACE
        with written_whole(path) as temporary:
            profiler.export_chrome_trace(str(temporary))
        steps = -(-len(block.targets) // block.batch_size)
        print_line(f"\n{steps} steps, trace for ui.perfetto.dev in {path}")

        order = "self_cpu_time_total"
        if task.device.type == "cuda":
            order = "self_device_time_total"
        operators = profiler.key_averages()
        table = operators.table(sort_by=order, row_limit=ROWS, max_name_column_width=40)
        print_line(table)
