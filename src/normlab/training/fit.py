"""Builds what a configuration describes, fits it with Lightning, and scores the best state."""

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytorch_lightning as pl
import torch
import yaml
from lightning_fabric.plugins.environments import LightningEnvironment

from normlab import signals
from normlab.config.targets import build
from normlab.data.blocks import (
    MAX_BATCHES_A_BLOCK,
    EvaluationBlocks,
    Part,
    TrainBlocks,
)
from normlab.data.parts import Parts
from normlab.device.devices import (
    evaluation_context,
    scoring_device,
    set_threads,
)
from normlab.endings import Diverged
from normlab.loggers import build_loggers, log_final, unknown_metrics
from normlab.metrics import higher_is_better
from normlab.results import environment, write_atomically, write_json
from normlab.streams import stream_seed
from normlab.training.callbacks import Recorder, Scoring, StopOnSignal, Terminal
from normlab.training.checkpoints import (
    BEST,
    Checkpoints,
    cut_logs,
    load_latest,
    resumed_progress,
    save,
)
from normlab.training.display import print_start
from normlab.training.norm_statistics import NormStatistics
from normlab.training.preparation import Prepared, describe_network, prepare
from normlab.training.processes import build_strategy, fit_in_processes
from normlab.training.profiling import Profile
from normlab.training.tasks import Task, evaluate


def train(config: dict, prepared: Prepared, folder: Path) -> dict:
    """Fit from the start or the last checkpoint and score the best state: what training adds to a result."""
    set_threads(config["device"]["threads"], prepared.flops)
    _write_origin(config, folder)
    norm_report = getattr(
        prepared.task.network, "norm_report", []
    )  # of networks whose norms were swapped
    if config["progress"]:
        print_start(prepared.cautions, norm_report)
    if config["device"]["devices"] > 1:
        outcome = fit_in_processes(prepare_and_fit, config, folder)
    else:
        outcome = fit(config, prepared, folder)
    progress, best, diverged = outcome["progress"], outcome["best"], outcome["diverged"]
    result = {
        "status": "diverged" if diverged else "finished",
        "reason": None,
        "metrics": {
            name: value for name, value in best["metrics"].items() if name != "lr"
        },
        "seconds": progress["seconds"],
        "epochs": progress["epoch"],
        "best_epoch": best["epoch"],
        "steps": progress["steps"],
        **outcome["speed"],
        **describe_network(prepared),
        "cautions": prepared.cautions,
        "norm_report": [asdict(swap) for swap in norm_report],
    }
    if diverged:
        log_final(
            config, folder, "diverged", unknown_metrics(prepared.task.metric_names)
        )
        return result | diverged
    save(
        folder / "checkpoints" / BEST,
        {"network": best["network"], "epoch": best["epoch"]},
    )
    result["metrics"] = score_best(config, prepared, best["network"])
    log_final(config, folder, "finished", result["metrics"])
    if not_finite := [
        name
        for name in ("train/loss", "val/loss")
        if not math.isfinite(result["metrics"][name])
    ]:
        reason = (
            f"{not_finite[0]} of the best state is {result['metrics'][not_finite[0]]}"
        )
        return result | {
            "status": "diverged",
            "reason": reason,
            "diverged_at_step": progress["steps"],
        }
    return result


def prepare_and_fit(config: dict, folder: Path) -> dict:
    """`fit` as one of several processes does it, each with data and network of its own."""
    return fit(config, prepare(config), folder)


def fit(config: dict, prepared: Prepared, folder: Path) -> dict:
    """Train in this process (one of several, if the environment says so) and report how it ended.

    Returns:
        progress, best, diverged (None, or what a result says of it), speed: tensors and plain types.
    """
    task = prepared.task
    state = load_latest(folder / "checkpoints")
    task.progress = resumed_progress(state)
    checkpoints = _checkpoints(config, task, folder, state)
    trainer = _trainer(config, task.progress.epoch, folder)
    prepared.parts = prepared.parts.to(trainer.strategy.root_device)
    scoring = _scoring(config, prepared.parts, trainer)
    trainer.callbacks[:] = [scoring, *_callbacks(config, prepared, checkpoints, folder)]
    if trainer.is_global_zero:
        cut_logs(folder, state["logs"] if state else {})
    torch.manual_seed(stream_seed(config["seed"], "dropout"))
    diverged = None
    try:
        if state is None or not state["ended"]:
            _run_trainer(config, trainer, task, prepared.parts.train)
        else:
            checkpoints.best = state["best"]
    except Diverged as error:
        diverged = {
            "reason": str(error),
            "diverged_at_step": error.step,
            "last_finite_loss": error.last_loss,
        }
        diverged["metrics"] = {
            name: value for name, value in task.metrics.items() if name != "lr"
        }
    return {
        "progress": asdict(task.progress),
        "best": checkpoints.best,
        "diverged": diverged,
        "speed": scoring.speed(task),
    }


def score_best(config: dict, prepared: Prepared, network: dict) -> dict[str, float]:
    """Metrics of every part with the best state, put back whole: weights and buffers."""
    device = scoring_device(config["device"]["accelerator"])
    task, parts = prepared.task, prepared.parts.to(device)
    task.network.load_state_dict(network)
    task.network.to(device)
    context = evaluation_context(config["device"]["precision"], device)
    metrics = {}
    for name, part in parts.by_name.items():
        scores = evaluate(task, EvaluationBlocks(part), context)
        metrics |= {f"{name}/{key}": value for key, value in scores.items()}
    return metrics


def _run_trainer(config: dict, trainer: pl.Trainer, task: Task, part: Part) -> None:
    blocks = TrainBlocks(
        part,
        config["dataset"]["batch_size"],
        config["seed"],
        task.progress,
        config["checkpoint"]["every_n_steps"] or MAX_BATCHES_A_BLOCK,
        trainer.global_rank,
        trainer.world_size,
    )
    if mode := config["device"]["compile"]:
        torch.compiler.reset()  # jobs of a sweep would share one limit of recompilations
        task.network.compile(mode=None if mode is True else mode)
        task.reuses_outputs = True
    with quiet_lightning(), signals.restored():
        trainer.fit(task, train_dataloaders=blocks)


def _trainer(config: dict, epochs_done: int, folder: Path) -> pl.Trainer:
    device = config["device"]
    with quiet_lightning():
        return pl.Trainer(
            accelerator="gpu"
            if device["accelerator"] == "cuda"
            else device["accelerator"],
            devices=device["devices"],
            strategy=build_strategy(device),
            plugins=LightningEnvironment(),  # processes are started here, whatever a cluster's variables say
            precision=device["precision"],
            deterministic=device["deterministic"],
            max_epochs=config["trainer"]["max_epochs"] - epochs_done,
            logger=build_loggers(config, folder),
            limit_val_batches=0,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            enable_checkpointing=True,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )


def _scoring(config: dict, parts: Parts, trainer: pl.Trainer) -> Scoring:
    validation = EvaluationBlocks(
        parts.validation, trainer.global_rank, trainer.world_size
    )
    context = evaluation_context(
        config["device"]["precision"], trainer.strategy.root_device
    )
    return Scoring(validation, len(parts.train), context)


def _callbacks(
    config: dict, prepared: Prepared, checkpoints: Checkpoints, folder: Path
) -> list[pl.Callback]:
    """What follows the scores of an epoch, in this order: checkpoints store what the others have recorded."""
    statistics = NormStatistics(prepared.norm_layers, folder, **config["statistics"])
    callbacks = [statistics, Recorder(folder, prepared.task.progress.seconds)]
    if config["progress"]:
        callbacks.append(Terminal(config["trainer"]["max_epochs"]))
    if config["profile"]:
        callbacks.append(Profile(folder))
    callbacks += [checkpoints, StopOnSignal(checkpoints)]
    if config.get("trial"):
        callbacks.append(build(config["trial"], checkpoints=checkpoints))
    return callbacks


def _checkpoints(
    config: dict, task: Task, folder: Path, state: dict | None
) -> Checkpoints:
    monitor = config["trainer"]["monitor"] or f"val/{task.metric_names[0]}"
    mode = "max" if higher_is_better(monitor) else "min"
    patience, options = config["trainer"]["patience"], config["checkpoint"]
    return Checkpoints(folder, monitor, mode, patience, **options, state=state)


def _write_origin(config: dict, folder: Path) -> None:
    """The resolved configuration and where the run comes from, before the first step."""
    content = yaml.safe_dump(config | {"trial": None}, sort_keys=False)
    write_atomically(folder / "config.yaml", content.encode())
    cuda = torch.cuda.is_available() and config["device"]["accelerator"] in (
        "auto",
        "cuda",
    )
    name = torch.cuda.get_device_name() if cuda else "cpu"
    device = {
        "accelerator": "cuda" if cuda else config["device"]["accelerator"],
        "name": name,
    }
    write_json(
        folder / "environment.json",
        environment(device | {"threads": torch.get_num_threads()}),
    )


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Without Lightning's notices about devices and empty loops, which say nothing that the end table does not."""
    loggers = [
        logging.getLogger(f"{package}.utilities.rank_zero")
        for package in ("pytorch_lightning", "lightning_fabric")
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*treespec.*")
            warnings.filterwarnings(
                "ignore", message=".*module.* in eval mode.*"
            )  # frozen ones are meant to be
            warnings.filterwarnings(
                "ignore", message=".*srun. command is available.*"
            )  # processes start here
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
