"""Scores a stored run again: on its own data or other data, with the statistics of one's choice."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import yaml

from normlab.data.blocks import EvaluationBlocks, Progress, TrainBlocks
from normlab.data.parts import Parts, load_parts
from normlab.device.devices import evaluation_context, scoring_device, set_threads
from normlab.evaluation.statistics import (
    batches_in_random_order,
    check_statistics,
    recalibrate,
    statistics_of_the_batch,
)
from normlab.training.checkpoints import BEST, load
from normlab.training.preparation import Prepared, prepare
from normlab.training.tasks import evaluate


def read_config(folder: Path, trusted: Sequence[str] = ()) -> dict:
    """The configuration of a stored run.

    Args:
        folder: of the run.
        trusted: packages of the user's own that the run may call.

    Raises:
        ValueError: the folder holds no run, or one that calls other packages.
    """
    path = folder / "config.yaml"
    if not path.is_file():
        raise ValueError(f"{folder} must be the folder of a run, it has no config.yaml")
    config = yaml.safe_load(path.read_text())
    if others := [name for name in config["trusted_packages"] if name not in trusted]:
        raise ValueError(
            f"the run calls the package {others[0]}; if it is your own code, add --trust {' '.join(others)}"
        )
    return config


def evaluate_run(
    folder: Path,
    dataset: dict | None = None,
    statistics: str = "running",
    num_batches: int = 100,
    trusted: Sequence[str] = (),
) -> dict[str, float]:
    """Metrics of a stored run's best state.

    Args:
        folder: of the run.
        dataset: configuration of another data set, whose three parts are scored instead; inputs are normalized as in
            training, by the statistics of the run's own training part.
        statistics: by which norms with running statistics normalize: `running` (stored in training), `batch` (of the
            batch being scored), `recalibrated` (recomputed with the final weights over training batches, "PreciseBN":
            Wu and Johnson, 2021, arXiv 2105.07576), or `frozen` (the stored ones as constants, as `FrozenBatchNorm`
            holds them: the same numbers as `running`, since evaluation updates nothing).
        num_batches: of the training part, for `recalibrated`; at most one epoch.
        trusted: packages of the user's own that the run may call.

    Raises:
        ValueError: no run, an unreadable checkpoint, no batches, data that do not fit the network, or a norm without
            running statistics where others are wanted.
    """
    check_statistics(statistics, num_batches)
    config = read_config(folder, trusted)
    state = load(folder / "checkpoints" / BEST)
    prepared = prepare(config)
    set_threads(config["device"]["threads"], prepared.flops)
    prepared.task.network.load_state_dict(state["network"])
    parts = (
        prepared.parts if dataset is None else _other_parts(config, dataset, prepared)
    )
    return _score(config, prepared, parts, statistics, num_batches)


def _other_parts(config: dict, dataset: dict, prepared: Prepared) -> Parts:
    own = prepared.parts
    size = own.input_shape[-1] if len(own.input_shape) == 3 else None
    other = load_parts(config | {"dataset": dataset}, size, own.encoder)
    if (other.input_shape, other.num_outputs) != (own.input_shape, own.num_outputs):
        raise ValueError(
            f"the run takes inputs {own.input_shape} and has {own.num_outputs} outputs, "
            f"dataset={dataset['name']} has {other.input_shape} and {other.num_outputs}; name one that fits"
        )
    plain = own.validation.transform
    parts = (replace(part, transform=plain) for part in other.by_name.values())
    return Parts(*parts, own.input_shape, own.num_outputs)


def _score(
    config: dict, prepared: Prepared, parts: Parts, statistics: str, num_batches: int
) -> dict[str, float]:
    device = scoring_device(config["device"]["accelerator"])
    context = evaluation_context(config["device"]["precision"], device)
    task, batch_size = prepared.task.to(device), config["dataset"]["batch_size"]
    if statistics == "recalibrated":
        _recalibrate(config, prepared, device, num_batches)
    parts = parts.to(device)
    metrics = {}
    for name, part in parts.by_name.items():
        blocks = (
            batches_in_random_order(part, batch_size)
            if statistics == "batch"
            else EvaluationBlocks(part)
        )
        with statistics_of_the_batch(task.network, statistics == "batch"):
            metrics |= {
                f"{name}/{key}": value
                for key, value in evaluate(task, blocks, context).items()
            }
    return metrics


def _recalibrate(
    config: dict, prepared: Prepared, device: torch.device, num_batches: int
) -> None:
    """By batches of the run's own training part, which leaves the device afterwards."""
    train = prepared.parts.train.to(device)
    blocks = TrainBlocks(
        train, config["dataset"]["batch_size"], config["seed"], Progress(), max_steps=1
    )
    context = evaluation_context(config["device"]["precision"], device)
    recalibrate(
        prepared.task.network,
        (block for _, block in zip(range(num_batches), blocks, strict=False)),
        context,
    )
