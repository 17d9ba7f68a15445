"""Checkpoints that survive a kill at any moment: plain types, complete, verified, the last two kept.

A checkpoint holds everything that the rest of the run depends on, so that continuing from it ends in the same bits:
network, optimizer, scheduler, random numbers, position, unfinished scores, the best state, and how long the log
files were (rows written after it are cut off, since they will be written again).
"""

import io
import math
import os
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint

from normlab.data.blocks import Block, Progress
from normlab.device.sharding import (
    load_network_state,
    load_optimizer_state,
    network_state,
    optimizer_state,
)
from normlab.results import write_atomically
from normlab.training.tasks import Task, rows_of_processes

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
STATE_KEYS = {
    "ended",
    "progress",
    "network",
    "optimizer",
    "scheduler",
    "random",
    "metrics",
    "best",
    "logs",
}


def save(path: Path, state: dict) -> None:
    """Write a checkpoint atomically.

    Raises:
        OSError: as of writing a file; the file that was at `path` is then still there.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(path, buffer.getbuffer())


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint of tensors and plain types, every byte verified by its checksums.

    Raises:
        ValueError: the file is damaged, or holds anything that is not a tensor or a plain type.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise ValueError(f"record {damaged} does not match its checksum")
        return torch.load(path, map_location=device, weights_only=True)
    except (zipfile.BadZipFile, EOFError, ValueError, RuntimeError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"checkpoint {path} cannot be read: {reason}; delete it or name another one"
        ) from error
    except Exception as error:  # the unpickler's refusals come in several classes
        raise ValueError(
            f"checkpoint {path} holds more than tensors and plain types; it is not loaded, since it could run code"
        ) from error


def _warn(text: str) -> None:
    if os.environ.get("LOCAL_RANK", "0") == "0":  # of several processes one tells
        print(f"warning: {text}", file=sys.stderr)


def load_latest(
    folder: Path, warn: Callable[[str], None] = _warn
) -> dict[str, Any] | None:
    """The newest readable state of an unfinished run, or None where there is nothing to go on from.

    Returns:
        the state, with the name of its file as `read_from`.
    """
    paths = [path for name in (LAST, PREVIOUS) if (path := folder / name).is_file()]
    for path in paths:
        try:
            return check_state(load(path), path) | {"read_from": path.name}
        except ValueError as error:
            warn(str(error))
    if paths:
        warn(f"no checkpoint in {folder} can be used, the run starts anew")
    return None


def check_state(state: Any, path: Path) -> dict[str, Any]:
    """`state` if it is that of the run in whose folder it lies.

    Raises:
        ValueError: something else was put there.
    """
    run = path.parents[1].name
    if not isinstance(state, dict) or not state.keys() >= STATE_KEYS:
        raise ValueError(
            f"checkpoint {path} is not the state of a run; delete it or name another one"
        )
    if state.get("run", run) != run:
        raise ValueError(
            f"checkpoint {path} is of the run {state['run']}; delete it or name another one"
        )
    return state


def cut_logs(
    folder: Path, lengths: dict[str, int], warn: Callable[[str], None] = _warn
) -> None:
    """Bring every log file back to the length it had when the checkpoint was written, and name what is missing."""
    for path in log_files(folder):
        length = lengths.get(path.relative_to(folder).as_posix())
        if length is None:
            path.unlink()
        elif path.stat().st_size > length:
            with open(path, "r+b") as file:
                file.truncate(length)
    for name, length in lengths.items():
        size = (folder / name).stat().st_size if (folder / name).is_file() else 0
        if size < length:
            warn(
                f"{folder / name} has {size} of the {length} bytes that were written to it; "
                f"what is missing is lost unless the run starts anew: rerun=true"
            )


def log_files(folder: Path) -> list[Path]:
    """Files of a run folder that grow while it trains."""
    return sorted(
        [*folder.glob("*.csv"), *folder.glob("csv/*.csv"), *folder.glob("events.out.*")]
    )


def stored_size(path: Path) -> int:
    """Bytes of a file, all of them on the disk: a checkpoint that counts them must not outlive them."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_size


class Checkpoints(Checkpoint):
    """Keeps the best state in memory and the whole state on disk; stops early when nothing improves.

    Args:
        folder: the run folder.
        monitor: the metric that decides which epoch is best.
        mode: `max` or `min`.
        patience: stop after so many epochs without improvement, or None.
        every_n_steps: also within an epoch, at the next end of a block; after the last one, when the epoch has ended.
        every_seconds: at the end of an epoch, if the last checkpoint is at least this old.
        state: from `load_latest`, to go on from.
    """

    def __init__(
        self,
        folder: Path,
        monitor: str,
        mode: str,
        patience: int | None = None,
        every_n_steps: int | None = None,
        every_seconds: float = 10.0,
        state: dict | None = None,
    ) -> None:
        self.folder, self.monitor, self.mode, self.patience = (
            folder,
            monitor,
            mode,
            patience,
        )
        self.every_n_steps, self.every_seconds = every_n_steps, every_seconds
        self.best: dict = {"epoch": 0, "value": math.nan, "metrics": {}, "network": {}}
        self.state = state
        self._last_is_good = state is not None and state["read_from"] == LAST
        self._saved_steps, self._saved_at, self._ended = 0, time.monotonic(), False
        self._started = time.monotonic()

    def on_fit_start(self, trainer: pl.Trainer, task: Task) -> None:
        if self.state is None:
            return
        state, self.state = self.state, None
        load_network_state(task.network, state["network"])
        load_optimizer_state(task.network, trainer.optimizers[0], state["optimizer"])
        if task.scheduler is not None:
            task.scheduler.load_state_dict(state["scheduler"])
        if state["train_sums"] is not None:
            task.train_sums = torch.atleast_2d(state["train_sums"])[
                trainer.global_rank
            ].to(task.device)
        task.metrics, self.best = state["metrics"], state["best"]
        self._saved_steps = task.progress.steps
        set_random_state(state["random"])

    def on_train_start(self, trainer: pl.Trainer, task: Task) -> None:
        self._started = time.monotonic() - task.progress.seconds

    def on_train_batch_end(
        self, trainer: pl.Trainer, task: Task, outputs: Any, block: Block, index: int
    ) -> None:
        # What is recorded of an epoch needs its last block, which a run that goes on after it would not have.
        due = (
            self.every_n_steps
            and task.progress.steps - self._saved_steps >= self.every_n_steps
        )
        if due and not trainer.is_last_batch:
            self.write(trainer, task)

    def on_train_epoch_end(self, trainer: pl.Trainer, task: Task) -> None:
        progress = task.progress
        progress.epoch, progress.blocks = progress.epoch + 1, 0
        if self._improves(task.metrics):
            network = {
                name: value.detach().cpu().clone()
                for name, value in network_state(task.network).items()
            }
            value = task.metrics[self.monitor]
            self.best = {
                "epoch": progress.epoch,
                "value": value,
                "metrics": dict(task.metrics),
                "network": network,
            }
        if (
            self.patience is not None
            and progress.epoch - self.best["epoch"] >= self.patience
        ):
            trainer.should_stop = True
        if (
            time.monotonic() - self._saved_at >= self.every_seconds
            or self.every_n_steps
        ):
            self.write(trainer, task, ended=is_last_epoch(trainer))

    def on_train_end(self, trainer: pl.Trainer, task: Task) -> None:
        if not self._ended:
            self.write(trainer, task, ended=True)

    def write(self, trainer: pl.Trainer, task: Task, ended: bool = False) -> None:
        """Replace `last.ckpt`; the one before stays as `previous.ckpt`."""
        task.progress.seconds = time.monotonic() - self._started
        self._saved_steps, self._saved_at = task.progress.steps, time.monotonic()
        self._ended = ended
        state = self._state(trainer, task) | {"ended": ended}
        if not trainer.is_global_zero:
            return
        last = self.folder / "checkpoints" / LAST
        last.parent.mkdir(parents=True, exist_ok=True)
        if (
            self._last_is_good and last.is_file()
        ):  # a damaged one must not take the place of a good one
            last.replace(last.with_name(PREVIOUS))
        save(last, state)
        self._last_is_good = True

    def _improves(self, metrics: dict[str, float]) -> bool:
        value, best = metrics[self.monitor], self.best["value"]
        if math.isnan(best):
            return True
        return value > best if self.mode == "max" else value < best

    def _state(self, trainer: pl.Trainer, task: Task) -> dict[str, Any]:
        for logger in trainer.loggers:
            logger.save()
        return {
            "run": self.folder.name,
            "progress": asdict(task.progress),
            "network": network_state(task.network),
            "optimizer": optimizer_state(task.network, trainer.optimizers[0]),
            "scheduler": None
            if task.scheduler is None
            else task.scheduler.state_dict(),
            "random": random_state(),
            # Every process has its own: added up once more, in another order, they would be rounded otherwise.
            "train_sums": None
            if task.train_sums is None
            else rows_of_processes(task.train_sums),
            "metrics": task.metrics,
            "best": self.best,
            "logs": {
                path.relative_to(self.folder).as_posix(): stored_size(path)
                for path in log_files(self.folder)
            },
        }


def is_last_epoch(trainer: pl.Trainer) -> bool:
    """Whether no epoch follows the one that ends, once `Checkpoints` has seen its end."""
    return trainer.should_stop or trainer.current_epoch + 1 >= trainer.max_epochs


def resumed_progress(state: dict | None) -> Progress:
    """Where to go on; the start where there is no state."""
    return Progress(**state["progress"]) if state else Progress()


def random_state() -> dict[str, Any]:
    """State of torch's default generators, on the CPU and on every visible GPU."""
    return {
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Restore what `random_state` read."""
    torch.set_rng_state(state["cpu"])
    if state["cuda"] and torch.cuda.device_count() == len(state["cuda"]):
        torch.cuda.set_rng_state_all(state["cuda"])
