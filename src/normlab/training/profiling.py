"""Where the time of a step goes: `profile=true`."""

import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch.profiler import ProfilerActivity, profile

from normlab.data.blocks import Block
from normlab.endings import Diverged
from normlab.training.tasks import Task

ROWS = 15
TRACE = "trace.json"


class Profile(Callback):
    """Traces one block of steps, warmed up by an epoch (or by a block, where there is one epoch only).

    Writes `trace.json` into the run folder, which ui.perfetto.dev opens, and prints the operators that took longest.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.running, self.done = folder, None, False

    def on_train_batch_start(
        self, trainer: pl.Trainer, task: Task, block: Block, index: int
    ) -> None:
        last = trainer.num_training_batches - 1
        warm = trainer.current_epoch > 0 or (
            trainer.max_epochs == 1 and index >= min(1, last)
        )
        if self.done or not warm or not len(block.targets):
            return
        activities = [ProfilerActivity.CPU] + (
            [ProfilerActivity.CUDA] if task.device.type == "cuda" else []
        )
        self.running = profile(
            activities=activities, record_shapes=True, acc_events=True
        )
        self.running.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, task: Task, outputs: Any, block: Block, index: int
    ) -> None:
        if self.running is None:
            return
        self.running.stop()
        self.done = True
        if trainer.is_global_zero:
            path = self.folder / TRACE
            self.running.export_chrome_trace(str(path))
            steps = -(-len(block.targets) // block.batch_size)
            sort = (
                "self_device_time_total"
                if task.device.type == "cuda"
                else "self_cpu_time_total"
            )
            print(
                f"\n{steps} steps, trace for ui.perfetto.dev in {path}", file=sys.stderr
            )
            print(
                self.running.key_averages().table(
                    sort_by=sort, row_limit=ROWS, max_name_column_width=40
                ),
                file=sys.stderr,
            )
        self.running = None

    def on_exception(
        self, trainer: pl.Trainer, task: Task, exception: BaseException
    ) -> None:
        if self.running is not None:
            self.running.stop()
        if isinstance(exception, Diverged) and not self.done and trainer.is_global_zero:
            print(
                f"profile=true has written no trace: {exception}, before the traced steps had ended",
                file=sys.stderr,
            )
