"""Builds what a configuration describes, fits it with Lightning, and scores the best state."""

import logging
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
import torch
import yaml
from pytorch_lightning.loggers import TensorBoardLogger
from torch import nn

from normlab.build import build_network, build_task, check_homes
from normlab.callbacks import Recorder, Scoring, StopOnSignal, Terminal
from normlab.checkpoints import BEST, Checkpoints, cut_logs, load_latest, resumed_progress, save
from normlab.data.blocks import EvaluationBlocks, Part, TrainBlocks
from normlab.data.parts import Parts, load_parts
from normlab.fit_check import check_fit, resolve_image_size
from normlab.norm_statistics import NormStatistics
from normlab.results import environment, write_atomically, write_json
from normlab.streams import stream_seed
from normlab.tasks import Diverged, Task, evaluate


@dataclass
class Prepared:
    """Everything that can be refused, built before anything is written.

    Attributes:
        parts: train, validation and test.
        task: the LightningModule.
        norm_layers: the norm layers of its network, by name.
        flops: floating point operations of one training step.
    """

    parts: Parts
    task: Task
    norm_layers: dict[str, nn.Module]
    flops: float


def prepare(config: dict) -> Prepared:
    """Check and build; raises ValueError for what the user must change."""
    check_homes(config)
    check_device(config["device"])
    image_size = resolve_image_size(config)
    flops = None
    if image_size is not None:
        shape = (config["dataset"]["shape"][0], image_size, image_size)
        flops = check_fit(config, shape, config["dataset"]["num_classes"] or 2)
    parts = load_parts(config, image_size)
    if flops is None:
        flops = check_fit(config, parts.input_shape, parts.num_outputs)
    network, norm_layers = build_network(config, parts.input_shape, parts.num_outputs)
    steps = TrainBlocks(
        parts.train, config["dataset"]["batch_size"], config["seed"], resumed_progress(None)
    ).num_batches
    if steps == 0:
        raise ValueError(
            f"the training part must hold a batch of at least two samples, it has {len(parts.train)}; "
            f"lower dataset.batch_size or dataset.validation"
        )
    task = build_task(config, network, steps, parts.train.targets[parts.train.rows])
    return Prepared(parts, task, norm_layers, flops)


def check_device(device: dict) -> None:
    """Refuse an accelerator that is not there."""
    available = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    name = device["accelerator"]
    if name in available and not available[name]():
        raise ValueError(
            f"device={name} needs a {name} device and torch finds none here; use device=auto or device=cpu"
        )


def train(config: dict, prepared: Prepared, folder: Path) -> dict:
    """Fit from the start or the last checkpoint; the part of the result that training determines."""
    set_threads(config["device"]["threads"], prepared.flops)
    task, parts = prepared.task, prepared.parts
    state = load_latest(folder / "checkpoints")
    cut_logs(folder, state["logs"] if state else {})
    task.progress = resumed_progress(state)
    _write_origin(config, folder)
    checkpoints = _checkpoints(config, task, folder, state)
    trainer, scoring = _trainer(config, prepared, checkpoints, folder)
    torch.manual_seed(stream_seed(config["seed"], "dropout"))
    try:
        if state is None or not state["ended"]:
            _fit(config, trainer, task, parts)
        else:
            checkpoints.best = state["best"]
    except Diverged as diverged:
        return _summary(config, prepared, checkpoints, scoring) | {
            "status": "diverged",
            "reason": str(diverged),
            "metrics": {name: value for name, value in checkpoints.best["metrics"].items() if name != "lr"},
            "diverged_at_step": diverged.step,
        }
    metrics = _score_best(task, parts, checkpoints)
    if trainer.is_global_zero:
        save(
            folder / "checkpoints" / BEST,
            {"network": checkpoints.best["network"], "epoch": checkpoints.best["epoch"]},
        )
        _log_hyperparameters(trainer, config, metrics)
    return _summary(config, prepared, checkpoints, scoring) | {
        "status": "finished",
        "reason": None,
        "metrics": metrics,
    }


def set_threads(threads: int | str, flops: float) -> None:
    """Use as many threads as the work of one step can feed: a small network is slower, not faster, on two.

    Args:
        threads: a number, or `auto`.
        flops: of one training step.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(threads if threads != "auto" else (1 if flops < 1e9 else cores))


def _fit(config: dict, trainer: pl.Trainer, task: Task, parts: Parts) -> None:
    device = trainer.strategy.root_device
    train_part = parts.train.to(device) if device.type != "cpu" else parts.train
    blocks = TrainBlocks(
        train_part,
        config["dataset"]["batch_size"],
        config["seed"],
        task.progress,
        config["checkpoint"]["every_n_steps"] or 10**9,
        trainer.global_rank,
        trainer.world_size,
    )
    if config["device"]["compile"]:
        task.network.compile()
    with _quiet_lightning():
        trainer.fit(task, train_dataloaders=blocks)


def _trainer(config: dict, prepared: Prepared, checkpoints: Checkpoints, folder: Path) -> tuple[pl.Trainer, Scoring]:
    device, max_epochs, progress = config["device"], config["trainer"]["max_epochs"], prepared.task.progress
    with _quiet_lightning():
        trainer = pl.Trainer(
            accelerator="gpu" if device["accelerator"] == "cuda" else device["accelerator"],
            devices=device["devices"],
            strategy=device["strategy"],
            precision=device["precision"],
            deterministic=device["deterministic"],
            max_epochs=max_epochs - progress.epoch,
            logger=TensorBoardLogger(folder, name="", version="tensorboard", default_hp_metric=False),
            limit_val_batches=0,
            num_sanity_val_steps=0,
            enable_checkpointing=True,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
    validation = _evaluation_blocks(prepared.parts.validation, trainer)
    context = trainer.precision_plugin.forward_context
    scoring = Scoring(validation, len(prepared.parts.train), context)
    statistics = NormStatistics(prepared.norm_layers, folder, **config["statistics"])
    callbacks = [scoring, statistics, Recorder(folder, progress.seconds)]
    if config["progress"]:
        callbacks.append(Terminal(max_epochs, checkpoints.monitor))
    trainer.callbacks[:] = [*callbacks, checkpoints, StopOnSignal(checkpoints)]
    return trainer, scoring


def _evaluation_blocks(part: Part, trainer: pl.Trainer) -> EvaluationBlocks:
    device = trainer.strategy.root_device
    on_device = part.to(device) if device.type != "cpu" else part
    return EvaluationBlocks(on_device, trainer.global_rank, trainer.world_size)


def _checkpoints(config: dict, task: Task, folder: Path, state: dict | None) -> Checkpoints:
    monitor = config["trainer"]["monitor"] or task.monitor
    mode = "min" if monitor.endswith(("loss", "rmse")) else "max"
    patience, options = config["trainer"]["patience"], config["checkpoint"]
    return Checkpoints(folder, monitor, mode, patience, **options, state=state)


def _score_best(task: Task, parts: Parts, checkpoints: Checkpoints) -> dict[str, float]:
    """Metrics of every part with the best state, put back whole: weights and buffers."""
    task.network.load_state_dict(checkpoints.best["network"])
    metrics = {}
    for name, part in (("train", parts.train), ("val", parts.validation), ("test", parts.test)):
        metrics |= {f"{name}/{key}": value for key, value in evaluate(task, EvaluationBlocks(part)).items()}
    return metrics


def _summary(config: dict, prepared: Prepared, checkpoints: Checkpoints, scoring: Scoring) -> dict:
    progress, network = prepared.task.progress, prepared.task.network
    return {
        "seconds": progress.seconds,
        "epochs": progress.epoch,
        "best_epoch": checkpoints.best["epoch"],
        "steps": progress.steps,
        "samples_per_second": scoring.samples / scoring.seconds if scoring.seconds else None,
        "num_parameters": sum(parameter.numel() for parameter in network.parameters()),
        "num_norm_layers": sum(not isinstance(layer, nn.Identity) for layer in prepared.norm_layers.values()),
        "step_flops": prepared.flops,
    }


def _write_origin(config: dict, folder: Path) -> None:
    """The resolved configuration and where the run comes from, before the first step."""
    write_atomically(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False).encode())
    cuda = torch.cuda.is_available() and config["device"]["accelerator"] in ("auto", "cuda")
    name = torch.cuda.get_device_name() if cuda else "cpu"
    device = {"accelerator": "cuda" if cuda else config["device"]["accelerator"], "name": name}
    write_json(folder / "environment.json", environment(device | {"threads": torch.get_num_threads()}))


def _log_hyperparameters(trainer: pl.Trainer, config: dict, metrics: dict[str, float]) -> None:
    """One row of TensorBoard's hyperparameter table, with the final metrics of this very run."""
    table = {f"choices/{group}": str(name) for group, name in config["choices"].items() if name is not None}
    for group in ("dataset", "model", "optimizer", "trainer"):
        plain = {key: value for key, value in config[group].items() if isinstance(value, int | float | str)}
        table |= {f"{group}/{key}": value for key, value in plain.items() if not key.startswith("_")}
    for logger in trainer.loggers:
        final = {f"final/{name}": value for name, value in metrics.items()}
        logger.log_hyperparams({"seed": config["seed"], **table}, final)
        logger.save()


class _quiet_lightning:
    """Lightning's notices about devices and empty loops say nothing that the end table does not."""

    def __enter__(self) -> None:
        self.logger = logging.getLogger("pytorch_lightning.utilities.rank_zero")
        self.level = self.logger.level
        self.logger.setLevel(logging.WARNING)
        self.warnings = warnings.catch_warnings()
        self.warnings.__enter__()
        for message in (
            ".*LeafSpec.*",
            ".*in manual optimization.*",
            ".*across ranks.*",
            ".*`isinstance.treespec.*",
        ):
            warnings.filterwarnings("ignore", message=message)

    def __exit__(self, *error: object) -> None:
        self.warnings.__exit__(*error)
        self.logger.setLevel(self.level)
