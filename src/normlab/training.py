"""Builds what a configuration describes, fits it with Lightning, and scores the best state."""

import hashlib
import logging
import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import pytorch_lightning as pl
import torch
import yaml
from lightning_fabric.plugins.environments import LightningEnvironment
from torch import nn

from normlab import signals
from normlab.allocator import freed_memory_kept
from normlab.build import build_network, build_task, check_homes
from normlab.callbacks import Recorder, Scoring, StopOnSignal, Terminal
from normlab.checkpoints import BEST, Checkpoints, cut_logs, load_latest, resumed_progress, save
from normlab.data.blocks import MAX_BATCHES_A_BLOCK, EvaluationBlocks, Part, TrainBlocks, num_batches
from normlab.data.features import can_be_computed_once, with_features
from normlab.data.parts import Parts, load_parts, one_class_cautions
from normlab.devices import check_device, check_synchronization, evaluation_context, scoring_device, set_threads
from normlab.fairness_check import cautions, is_synchronized, looks_at_the_batch, refuse_hidden_norms
from normlab.fit_check import check_fit, declared_input, resolve_image_size
from normlab.loggers import build_loggers, check_loggers, log_final, unknown_metrics
from normlab.models.weights import untrained_cautions
from normlab.norm_statistics import NormStatistics
from normlab.norms.on_weights import is_length
from normlab.processes import build_strategy, check_shares, fit_in_processes
from normlab.profiling import Profile
from normlab.results import environment, write_atomically, write_json
from normlab.streams import stream_seed
from normlab.tasks import Diverged, Task, evaluate
from normlab.terminal import print_start


@dataclass
class Prepared:
    """Everything that can be refused, built before anything is written.

    Attributes:
        parts: train, validation and test.
        task: the LightningModule.
        norm_layers: the norm layers of its network, by name.
        flops: floating point operations of one training step.
        initial_weights: digest of the weights outside of the norm layers.
        cautions: what sets the run apart beyond its norm, a sentence each.
    """

    parts: Parts
    task: Task
    norm_layers: dict[str, nn.Module]
    flops: float
    initial_weights: str
    cautions: list[str]


def prepare(config: dict) -> Prepared:
    """Check and build; raises ValueError for what the user must change."""
    check_homes(config)
    check_device(config["device"])
    check_synchronization(config["norm"], config["device"]["accelerator"])
    check_loggers(config)
    image_size = resolve_image_size(config)
    declared = declared_input(config, image_size)
    tried = check_fit(config, *declared) if declared else None
    parts = load_parts(config, image_size)
    if tried is None:
        tried = check_fit(config, parts.input_shape, parts.num_outputs)
    check_shares(config, parts)
    network, norm_layers = build_network(config, parts.input_shape, parts.num_outputs)
    refuse_hidden_norms(config["choices"]["norm"], network)
    if config["cache_features"] and can_be_computed_once(network, parts):
        parts = _features_in_place_of_images(config, parts, network, tried.flops)
        flops = check_fit(config, parts.input_shape, parts.num_outputs, parts.train.inputs.shape[2:]).flops
        tried = tried._replace(flops=flops)
    steps = num_batches(len(parts.train), config["dataset"]["batch_size"])
    if steps == 0:
        raise ValueError(
            f"the training part must hold a batch of at least two samples, it has {len(parts.train)}; "
            f"lower dataset.batch_size or dataset.validation"
        )
    task = build_task(config, network, steps, parts.train.targets[parts.train.rows])
    check_monitor(config["trainer"]["monitor"], task)
    told = cautions(config, network, norm_layers, len(parts.train), tried.idle)
    told += one_class_cautions(parts, config["dataset"]["task"]) + untrained_cautions(config["model"])
    return Prepared(parts, task, norm_layers, tried.flops, weights_digest(network, norm_layers), told)


@freed_memory_kept()
def _features_in_place_of_images(config: dict, parts: Parts, network: nn.Module, flops: float) -> Parts:
    device = scoring_device(config["device"]["accelerator"])
    context = evaluation_context(config["device"]["precision"], device)
    set_threads(config["device"]["threads"], flops)
    parts = with_features(parts, network.to(device), Path(config["paths"]["outputs"]) / ".cache", device, context)
    network.cpu()
    return parts


def check_monitor(monitor: str | None, task: Task) -> None:
    """Refuse a metric that no epoch will have."""
    known = [f"val/{name}" for name in task.metric_names]
    if monitor is not None and monitor not in known:
        raise ValueError(f"trainer.monitor must be null or one of {', '.join(known)}, got {monitor!r}")


@freed_memory_kept()
def train(config: dict, prepared: Prepared, folder: Path) -> dict:
    """Fit from the start or the last checkpoint and score the best state: what training adds to a result."""
    set_threads(config["device"]["threads"], prepared.flops)
    _write_origin(config, folder)
    norm_report = getattr(prepared.task.network, "norm_report", [])  # of networks whose norms were swapped
    if config["progress"]:
        print_start(prepared.cautions, norm_report)
    outcome = fit_in_processes(config, folder) if config["device"]["devices"] > 1 else fit(config, prepared, folder)
    progress, best, diverged = outcome["progress"], outcome["best"], outcome["diverged"]
    result = {
        "status": "diverged" if diverged else "finished",
        "reason": None,
        "metrics": {name: value for name, value in best["metrics"].items() if name != "lr"},
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
        log_final(config, folder, "diverged", unknown_metrics(prepared.task.metric_names))
        return result | diverged
    save(folder / "checkpoints" / BEST, {"network": best["network"], "epoch": best["epoch"]})
    result["metrics"] = score_best(config, prepared, best["network"])
    log_final(config, folder, "finished", result["metrics"])
    if not_finite := [name for name in ("train/loss", "val/loss") if not math.isfinite(result["metrics"][name])]:
        reason = f"{not_finite[0]} of the best state is {result['metrics'][not_finite[0]]}"
        return result | {"status": "diverged", "reason": reason, "diverged_at_step": progress["steps"]}
    return result


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
        diverged = {"reason": str(error), "diverged_at_step": error.step, "last_finite_loss": error.last_loss}
        diverged["metrics"] = {name: value for name, value in task.metrics.items() if name != "lr"}
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
            accelerator="gpu" if device["accelerator"] == "cuda" else device["accelerator"],
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
    validation = EvaluationBlocks(parts.validation, trainer.global_rank, trainer.world_size)
    context = evaluation_context(config["device"]["precision"], trainer.strategy.root_device)
    return Scoring(validation, len(parts.train), context)


def _callbacks(config: dict, prepared: Prepared, checkpoints: Checkpoints, folder: Path) -> list[pl.Callback]:
    """What follows the scores of an epoch, in this order: checkpoints store what the others have recorded."""
    statistics = NormStatistics(prepared.norm_layers, folder, **config["statistics"])
    callbacks = [statistics, Recorder(folder, prepared.task.progress.seconds)]
    if config["progress"]:
        callbacks.append(Terminal(config["trainer"]["max_epochs"]))
    if config["profile"]:
        callbacks.append(Profile(folder))
    callbacks += [checkpoints, StopOnSignal(checkpoints)]
    if config.get("trial"):
        from normlab.search.pruning import ReportToTrial

        callbacks.append(ReportToTrial(config["trial"], checkpoints))
    return callbacks


def _checkpoints(config: dict, task: Task, folder: Path, state: dict | None) -> Checkpoints:
    monitor = config["trainer"]["monitor"] or f"val/{task.metric_names[0]}"
    mode = "min" if monitor.endswith(("loss", "rmse", "mae")) else "max"
    patience, options = config["trainer"]["patience"], config["checkpoint"]
    return Checkpoints(folder, monitor, mode, patience, **options, state=state)


def describe_network(prepared: Prepared) -> dict:
    """What two arms of a comparison should share, or be known to differ in."""
    network, layers = prepared.task.network, prepared.norm_layers
    own = [value for layer in layers.values() for value in layer.parameters()]
    own += [value for name, value in network.named_parameters() if is_length(name)]
    by_batch = [layer for layer in layers.values() if looks_at_the_batch(layer)]
    return {
        "num_parameters": sum(parameter.numel() for parameter in network.parameters()),
        "num_norm_parameters": sum(value.numel() for value in own),
        "num_norm_layers": sum(not isinstance(layer, nn.Identity) for layer in layers.values()),
        "initial_weights": prepared.initial_weights,
        "synchronized": all(map(is_synchronized, by_batch)) if by_batch else None,  # None: nothing to synchronize
        "step_flops": prepared.flops,
    }


def weights_digest(network: nn.Module, norm_layers: dict[str, nn.Module]) -> str:
    """Digest of all weights outside of the norm layers: equal for arms that start from the same weights.

    A weight that a norm reparametrizes counts as the weight it was (`original`, beside a length `original0`).
    """
    own = {id(value) for layer in norm_layers.values() for value in layer.parameters()}
    weights = {
        re.sub(r"parametrizations\.(\w+)\.original1?$", r"\1", name): value
        for name, value in network.named_parameters()
        if id(value) not in own and not is_length(name)
    }
    state = hashlib.sha256()
    for name in sorted(weights):
        state.update(f"{name} {tuple(weights[name].shape)}".encode())
        state.update(weights[name].detach().cpu().contiguous().numpy().tobytes())
    return state.hexdigest()[:16]


def _write_origin(config: dict, folder: Path) -> None:
    """The resolved configuration and where the run comes from, before the first step."""
    content = yaml.safe_dump(config | {"trial": None}, sort_keys=False)
    write_atomically(folder / "config.yaml", content.encode())
    cuda = torch.cuda.is_available() and config["device"]["accelerator"] in ("auto", "cuda")
    name = torch.cuda.get_device_name() if cuda else "cpu"
    device = {"accelerator": "cuda" if cuda else config["device"]["accelerator"], "name": name}
    write_json(folder / "environment.json", environment(device | {"threads": torch.get_num_threads()}))


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Without Lightning's notices about devices and empty loops, which say nothing that the end table does not."""
    loggers = [
        logging.getLogger(f"{package}.utilities.rank_zero") for package in ("pytorch_lightning", "lightning_fabric")
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*treespec.*")
            warnings.filterwarnings("ignore", message=".*module.* in eval mode.*")  # frozen ones are meant to be
            warnings.filterwarnings("ignore", message=".*srun. command is available.*")  # processes start here
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
