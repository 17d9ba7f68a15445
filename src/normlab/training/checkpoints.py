"""Checkpoints that survive a kill at any moment: plain types, complete and verified.

A checkpoint holds all that the rest of a run depends on, so that a resumed run ends in
the same bits as an uninterrupted one: network, optimizer, scheduler, random numbers,
position, scores of the unfinished epoch, and the best state so far. It also holds the
lengths and digests of the log files, see `normlab.training.log_files`.
"""

# Lightning's hooks receive any LightningModule, those of this package always a Task.
# mypy: disable-error-code="override"

import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint

from normlab import signals
from normlab.data.blocks import Block, Progress
from normlab.device.sharding import (
    load_network_state,
    load_optimizer_state,
    network_state,
    optimizer_state,
)
from normlab.metrics import parse_target, reaches
from normlab.results import copy_atomically
from normlab.training.checkpoint_files import LAST, PREVIOUS, save
from normlab.training.collectives import gather_over_processes, largest_over_processes
from normlab.training.limits import CALLBACK, PATIENCE, STOP_AT
from normlab.training.log_files import LogMeter
from normlab.training.tasks import Task
from normlab.training.unfinished import restored_block, stored_block
from normlab.training.usage import Usage
from normlab.training.user_callbacks import plain_states


class Checkpoints(Checkpoint):
    """Keeps the best state in memory and the whole state on disk; stops a run early.

    It derives from Lightning's `Checkpoint`, since Lightning ends an epoch for such
    callbacks last: a checkpoint then counts the rows that the others have written.

    Args:
        folder: the run folder.
        monitor: name of the metric that decides which epoch is best.
        mode: `max` if a high value of it is good, else `min`.
        patience: stop after this many epochs without improvement; None never stops.
        stop_at: stop after the first epoch in which a metric reaches a value, as in
            `val/accuracy=0.97`; None never stops.
        every_n_steps: also write a checkpoint within an epoch, at the end of the first
            block that is at least this many steps after the latest checkpoint, and at
            the end of every epoch; None does neither.
        every_seconds: write a checkpoint at the end of an epoch if the latest one is at
            least this old.
        state: the state from `load_latest` to resume from; None starts from the
            beginning.

    Attributes:
        best: epoch, monitored value, metrics and network of the best epoch so far.
        callbacks: those that the configuration names; their states are stored.
    """

    def __init__(
        self,
        folder: Path,
        monitor: str,
        mode: str,
        patience: int | None = None,
        stop_at: str | None = None,
        every_n_steps: int | None = None,
        every_seconds: float = 10.0,
        state: dict | None = None,
    ) -> None:
        self.folder = folder
        self.monitor = monitor
        self.mode = mode
        self.patience = patience
        self.target = None if stop_at is None else parse_target(stop_at)
        self.every_n_steps = every_n_steps
        self.every_seconds = every_seconds
        self.state = state
        self.best: dict = {"epoch": 0, "value": math.nan, "metrics": {}, "network": {}}
        self.logs = LogMeter(folder)
        self.callbacks: dict[str, pl.Callback] = {}

        self._last_is_intact = state is not None and state["read_from"] == LAST
        self._saved_steps = 0
        self._saved_at: float | None = None
        self._began = self._started = time.perf_counter()
        self._ended = False

    def on_fit_start(self, trainer: pl.Trainer, task: Task) -> None:
        """Put the state back if the run is resumed."""
        if self.state is None:
            return
        state = self.state
        self.state = None

        load_network_state(task.network, state["network"])
        load_optimizer_state(task.network, trainer.optimizers[0], state["optimizer"])
        if task.scheduler is not None:
            task.scheduler.load_state_dict(state["scheduler"])
        if state["train_sums"] is not None:
            rows = torch.atleast_2d(state["train_sums"])  # one per process
            task.train_sums = rows[trainer.global_rank].to(task.device)
        task.unfinished = restored_block(state, task.device)
        task.metrics = state["metrics"]
        task.ended_by = state.get("ended_by")
        if task.averaging is not None:
            task.averaging.load_state_dict(state["average"])
        self.best = state["best"]
        self._saved_steps = task.progress.steps

        # Last, so that nothing above draws from the restored generators.
        set_random_state(state["random"], task.device, trainer.global_rank)

    def on_train_start(self, trainer: pl.Trainer, task: Task) -> None:
        self._began = task.clock()
        self._started = self._began - task.progress.seconds
        self._usage = Usage(task.progress, task.device)

    def on_train_batch_end(
        self, trainer: pl.Trainer, task: Task, outputs: Any, block: Block, index: int
    ) -> None:
        if self._saved_at is None:
            # Without the time in which the others of a stack prepared: nothing to lose.
            self._saved_at = time.monotonic() - (task.clock() - self._began)
        # After the last block of an epoch the checkpoint waits for the epoch's records:
        # they are computed from that block, which a resumed run would not have.
        if not self.every_n_steps or ends_epoch(trainer):
            return
        if task.progress.steps - self._saved_steps >= self.every_n_steps:
            self.write(trainer, task)

    def on_train_epoch_end(self, trainer: pl.Trainer, task: Task) -> None:
        progress = task.progress
        progress.epoch += 1
        progress.blocks = 0

        if self._improves(task):
            self.best = self._snapshot(task)
        reason = self._why_to_stop(task)
        if reason is None and trainer.should_stop:
            reason = CALLBACK
        if reason is not None:
            trainer.should_stop = True
            task.ended_by = task.ended_by or reason

        assert self._saved_at is not None
        is_old = time.monotonic() - self._saved_at >= self.every_seconds
        # All processes write together, whatever the clock of each says.
        is_old = largest_over_processes(int(is_old), task.device) > 0
        if is_old or self.every_n_steps:
            self.write(trainer, task, ended=is_last_epoch(trainer))

    def on_train_end(self, trainer: pl.Trainer, task: Task) -> None:
        if not self._ended:
            self.write(trainer, task, ended=True)

    def write(self, trainer: pl.Trainer, task: Task, ended: bool = False) -> None:
        """Replace `last.ckpt` and keep its former content as `previous.ckpt`.

        Stop signals wait until both files are complete.

        Args:
            trainer: Lightning's trainer.
            task: the task that it trains.
            ended: whether training is complete and only the final scores are missing.
        """
        task.progress.seconds = task.clock() - self._started
        self._usage.record(task.progress)
        if task.stack is not None:
            task.progress.processor_seconds -= task.stack.apart.processor_seconds
        self._saved_steps = task.progress.steps
        self._saved_at = time.monotonic()
        self._ended = ended

        # A kill between any two of these steps loses nothing:
        # 1. The log files are forced to the disk, since the new state counts their
        #    bytes. After a kill, last.ckpt holds and cuts off the rows that are newer.
        # 2. last.ckpt gets the name previous.ckpt, too. Where a file has one name only,
        #    it loses its own, and after a kill the run is resumed from previous.ckpt.
        # 3. The new last.ckpt is written under another name, forced to the disk and
        #    renamed. After a kill, the former one holds; the unfinished file is deleted
        #    when the run is resumed.
        state = self._state(trainer, task) | {"ended": ended}
        if not trainer.is_global_zero:
            return
        state["logs"], state["log_digests"] = self.logs.measure()
        last = self.folder / "checkpoints" / LAST
        last.parent.mkdir(exist_ok=True)  # in a run folder that was moved, a fault
        with signals.postponed():
            # If last.ckpt is damaged, this run was resumed from previous.ckpt: keep it.
            if self._last_is_intact and last.is_file():
                copy_atomically(last, last.with_name(PREVIOUS))
            save(last, state)
            self._last_is_intact = True

    def _why_to_stop(self, task: Task) -> str | None:
        """The setting that ends training after this epoch, if any.

        A run that averages its weights goes on until there is an average.
        """
        epoch = task.progress.epoch
        first_epoch = 1 if task.averaging is None else task.averaging.first_epoch
        if self.target is not None and epoch >= first_epoch:
            metric, target = self.target
            if reaches(metric, task.metrics[metric], target):
                return STOP_AT
        since = max(self.best["epoch"], first_epoch - 1)
        if self.patience is not None and epoch - since >= self.patience:
            return PATIENCE
        return None

    def _improves(self, task: Task) -> bool:
        value = task.metrics[self.monitor]
        best = self.best["value"]
        if math.isnan(best):
            return True
        # An average is not compared with the weights that came before it.
        if task.averaging is not None:
            first_epoch = task.averaging.first_epoch
            if self.best["epoch"] < first_epoch <= task.progress.epoch:
                return True
        if self.mode == "max":
            return value > best
        return value < best

    def _snapshot(self, task: Task) -> dict[str, Any]:
        network = network_state(task.scored_network)
        return {
            "epoch": task.progress.epoch,
            "value": task.metrics[self.monitor],
            "metrics": dict(task.metrics),
            "network": {
                name: value.detach().cpu().clone() for name, value in network.items()
            },
        }

    def _state(self, trainer: pl.Trainer, task: Task) -> dict[str, Any]:
        for logger in trainer.loggers:
            logger.save()

        scheduler = None
        if task.scheduler is not None:
            scheduler = task.scheduler.state_dict()

        average = None
        if task.averaging is not None:
            average = task.averaging.state_dict()

        # The sums of every process are stored one by one. Added up now and later once
        # more, in another order, they would be rounded differently.
        train_sums = None
        if task.train_sums is not None:
            train_sums = gather_over_processes(task.train_sums)

        return {
            "run": self.folder.name,
            "progress": asdict(task.progress),
            "network": network_state(task.network),
            "optimizer": optimizer_state(task.network, trainer.optimizers[0]),
            "scheduler": scheduler,
            "average": average,
            "random": random_state(task.device),
            "train_sums": train_sums,
            "metrics": task.metrics,
            "ended_by": task.ended_by,
            "best": self.best,
            "callbacks": plain_states(self.callbacks),
            **stored_block(task.unfinished),
        }


def ends_epoch(trainer: pl.Trainer) -> bool:
    """Whether an epoch ends with the running block, as all do or before its time."""
    return trainer.is_last_batch or trainer.should_stop


def is_last_epoch(trainer: pl.Trainer) -> bool:
    """Whether no epoch follows the one that `Checkpoints` has just ended."""
    assert trainer.max_epochs is not None  # every run sets it
    return trainer.should_stop or trainer.current_epoch + 1 >= trainer.max_epochs


def resumed_progress(state: dict | None) -> Progress:
    """The position from which a run continues: the start if there is no state."""
    if state is None:
        return Progress()
    return Progress(**state["progress"])


def random_state(device: torch.device) -> dict[str, Any]:
    """The state of torch's default generators on the CPU and on GPUs.

    Processes that train together have states of their own, since they draw for shares
    of their own.

    Args:
        device: on which this process trains.

    Returns:
        cpu: ``(L,)``, or ``(P, L)`` for P processes.
        cuda: the states of all visible GPUs, or those of the GPUs of P processes.
    """
    cpu = gather_over_processes(torch.get_rng_state().to(device)).cpu()
    if len(cpu) > 1:
        cuda = []
        if device.type == "cuda":
            own = torch.cuda.get_rng_state(device).to(device)
            cuda = list(gather_over_processes(own).cpu())
        return {"cpu": cpu, "cuda": cuda}
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": cpu[0], "cuda": cuda}


def set_random_state(state: dict[str, Any], device: torch.device, rank: int) -> None:
    """Restore a state that `random_state` returned.

    GPUs are left as they are if their number has changed.

    Args:
        state: of all processes, or of the first one alone, as earlier versions stored.
        device: on which this process trains.
        rank: index of this process.
    """
    rows = torch.atleast_2d(state["cpu"])
    if len(rows) == 1:
        torch.set_rng_state(rows[0])
        if state["cuda"] and torch.cuda.device_count() == len(state["cuda"]):
            torch.cuda.set_rng_state_all(state["cuda"])
        return
    torch.set_rng_state(rows[rank].clone())  # of a view, PyTorch reads other memory
    if state["cuda"] and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"][rank], device)
