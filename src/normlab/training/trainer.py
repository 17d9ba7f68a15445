"""Lightning's Trainer for a run, and the callbacks that it calls."""

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments import LightningEnvironment
from pytorch_lightning.strategies import ModelParallelStrategy, Strategy

from normlab.config.targets import build
from normlab.device.devices import Device, scoring_device
from normlab.loggers import build_loggers
from normlab.metrics import higher_is_better
from normlab.training.callbacks import Recorder, StopOnSignal, Terminal
from normlab.training.checkpoints import Checkpoints
from normlab.training.limits import Limits, epochs_to_train
from normlab.training.loop import Loop
from normlab.training.norm_statistics import NormStatistics
from normlab.training.preparation import Prepared, count_steps
from normlab.training.profiling import Profile

# Of deterministic matrix products on a GPU, as Lightning sets it.
CUBLAS_WORKSPACE = ":4096:8"


def build_trainer(
    config: dict, device: Device, folder: Path, epochs_done: int
) -> pl.Trainer:
    """Build a Trainer for the epochs that are left.

    Args:
        config: a resolved configuration; `trainer.max_epochs` and `logger` are read.
        device: the device of the run.
        folder: the run folder.
        epochs_done: number of epochs that earlier attempts have finished.
    """
    with quiet_lightning():
        return pl.Trainer(
            accelerator="gpu" if device.accelerator == "cuda" else device.accelerator,
            devices=device.devices,
            strategy=build_strategy(device),
            # We start the processes, whatever the variables of a cluster say.
            plugins=LightningEnvironment(),
            precision=device.precision,  # type: ignore[arg-type] # checked by the rules
            deterministic=device.deterministic,
            detect_anomaly=config["trainer"].get("detect_anomaly", False),
            max_epochs=config["trainer"]["max_epochs"] - epochs_done,
            logger=build_loggers(config, folder),
            limit_val_batches=0,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            enable_checkpointing=True,  # admits `Checkpoints`
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )


def build_loop(config: dict, device: Device, folder: Path, epochs_done: int) -> Loop:
    """Build the loop of a run that trains together with others.

    Args:
        config, device, folder, epochs_done: see `build_trainer`.
    """
    torch.use_deterministic_algorithms(device.deterministic)
    if device.deterministic:
        torch.backends.cudnn.benchmark = False
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = CUBLAS_WORKSPACE
    epochs_left = config["trainer"]["max_epochs"] - epochs_done
    loggers = build_loggers(config, folder)
    return Loop(scoring_device(device.accelerator), epochs_left, loggers)


def build_strategy(device: Device) -> Strategy | str:
    """Lightning's strategy for the processes of a run.

    Lightning's own `fsdp` works on GPUs only. Ours is its strategy for PyTorch's
    `fully_shard`, see `normlab.device.sharding`.
    """
    if device.strategy != "fsdp":
        return device.strategy
    return ModelParallelStrategy(
        device.devices, tensor_parallel_size=1, save_distributed_checkpoint=False
    )


def build_checkpoints(
    config: dict,
    metric_names: Sequence[str],
    folder: Path,
    state: dict[str, Any] | None,
) -> Checkpoints:
    """Build the callback that keeps the best state and stores the whole state.

    Args:
        config: a resolved configuration; `trainer` and `checkpoint` are read.
        metric_names: the metrics of the task; the first is monitored by default.
        folder: the run folder.
        state: the state to resume from, or None.
    """
    options = config["trainer"]
    monitor = options["monitor"] or f"val/{metric_names[0]}"
    mode = options.get("monitor_mode")
    if mode is None:
        mode = "max" if higher_is_better(monitor) else "min"
    return Checkpoints(
        folder,
        monitor,
        mode,
        patience=options["patience"],
        stop_at=options.get("stop_at"),
        **config["checkpoint"],
        state=state,
    )


def build_limits(options: dict[str, Any]) -> list[pl.Callback]:
    """The callback that ends training after so many steps or seconds, if any.

    Args:
        options: `trainer` of a resolved configuration.
    """
    max_steps = options.get("max_steps")
    max_seconds = options.get("max_seconds")
    if max_steps is None and max_seconds is None:
        return []
    return [Limits(max_steps, max_seconds)]


def callbacks_after_scoring(
    config: dict, prepared: Prepared, checkpoints: Checkpoints, folder: Path
) -> list[pl.Callback]:
    """The callbacks that use the scores of an epoch, in the order of their calls.

    The checkpoints come after all records, since they store how long the files are.

    Args:
        config: a resolved configuration; `statistics`, `trainer`, `dataset.batch_size`,
            `progress`, `profile` and `trial` are read.
        prepared: the objects of the run.
        checkpoints: from `build_checkpoints`.
        folder: the run folder.
    """
    callbacks: list[pl.Callback] = [
        NormStatistics(prepared.norm_layers, folder, **config["statistics"]),
        Recorder(folder, prepared.task.progress.seconds),
    ]
    if config["progress"]:
        callbacks.append(Terminal(count_epochs(config, prepared)))
    if config["profile"]:
        callbacks.append(Profile(folder))
    callbacks += [checkpoints, StopOnSignal(checkpoints)]
    if config.get("trial"):
        callbacks.append(build(config["trial"], checkpoints=checkpoints))
    return callbacks


def count_epochs(config: dict, prepared: Prepared) -> int:
    """Number of epochs of a run that nothing stops early.

    Args:
        config: a resolved configuration; `trainer`, `dataset.batch_size` and
            `device.devices` are read.
        prepared: the objects of the run.
    """
    steps = count_steps(config, len(prepared.parts.train))
    return epochs_to_train(config["trainer"], steps)


def set_callbacks(trainer: pl.Trainer, callbacks: list[pl.Callback]) -> None:
    """Give a Trainer these callbacks, in this order and no others.

    The constructor of the Trainer would move checkpoints to the end and add a
    `ModelCheckpoint`; and our callbacks need to know its device and its rank. Writing
    into the list is a private interface (Lightning 2.6.6).
    """
    trainer.callbacks[:] = callbacks  # type: ignore[attr-defined] # set by a connector


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence Lightning's notices about devices, processes and empty loops.

    The names of its loggers and the texts of its warnings are private interfaces
    (Lightning 2.6.6).
    """
    names = (
        "pytorch_lightning.utilities.rank_zero",
        "lightning_fabric.utilities.rank_zero",
        "lightning_fabric.utilities.distributed",
    )
    found = map(logging.getLogger, names)
    # A stack has silenced them for its runs. Every change makes all loggers forget
    # which levels they have.
    loggers = [logger for logger in found if logger.level != logging.WARNING]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*treespec.*")
            # Frozen layers are meant to be in evaluation mode.
            warnings.filterwarnings("ignore", message=".*module.* in eval mode.*")
            # We start the processes, not srun.
            warnings.filterwarnings("ignore", message=".*srun. command is available.*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
