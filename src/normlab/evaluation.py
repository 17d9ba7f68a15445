"""Scores a stored run again: on its own data or other data, with the statistics of one's choice."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from itertools import count
from pathlib import Path

import torch
import yaml
from torch import nn

from normlab.allocator import freed_memory_kept
from normlab.checkpoints import BEST, load
from normlab.data.blocks import Block, EvaluationBlocks, Part, Progress, TrainBlocks
from normlab.data.parts import Parts, load_parts
from normlab.devices import evaluation_context, scoring_device, set_threads
from normlab.norms import BatchNorm
from normlab.tasks import evaluate
from normlab.training import Prepared, prepare

STATISTICS = ("running", "batch", "recalibrated", "frozen")


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
    parts = prepared.parts if dataset is None else _other_parts(config, dataset, prepared)
    return _score(config, prepared, parts, statistics, num_batches)


def check_statistics(statistics: str, num_batches: int) -> None:
    """Refuse statistics that do not exist, and recalibration on nothing.

    Raises:
        ValueError: names what there is.
    """
    if statistics not in STATISTICS:
        raise ValueError(f"statistics must be one of {', '.join(STATISTICS)}, got {statistics!r}")
    if num_batches < 1:
        raise ValueError(f"recalibrated statistics need at least one batch, got {num_batches}")


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


@freed_memory_kept()
def _score(config: dict, prepared: Prepared, parts: Parts, statistics: str, num_batches: int) -> dict[str, float]:
    device = scoring_device(config["device"]["accelerator"])
    context = evaluation_context(config["device"]["precision"], device)
    task, batch_size = prepared.task.to(device), config["dataset"]["batch_size"]
    if statistics == "recalibrated":
        _recalibrate(config, prepared, device, num_batches)
    parts = parts.to(device)
    metrics = {}
    for name, part in parts.by_name.items():
        blocks = batches_in_random_order(part, batch_size) if statistics == "batch" else EvaluationBlocks(part)
        with statistics_of_the_batch(task.network, statistics == "batch"):
            metrics |= {f"{name}/{key}": value for key, value in evaluate(task, blocks, context).items()}
    return metrics


def _recalibrate(config: dict, prepared: Prepared, device: torch.device, num_batches: int) -> None:
    """By batches of the run's own training part, which leaves the device afterwards."""
    train = prepared.parts.train.to(device)
    blocks = TrainBlocks(train, config["dataset"]["batch_size"], config["seed"], Progress(), max_steps=1)
    context = evaluation_context(config["device"]["precision"], device)
    recalibrate(prepared.task.network, (block for _, block in zip(range(num_batches), blocks, strict=False)), context)


def running_layers(network: nn.Module) -> list[nn.Module]:
    """Layers that average statistics over the batches of training."""
    return [
        layer
        for layer in network.modules()
        if isinstance(getattr(layer, "running_var", None), torch.Tensor) and hasattr(layer, "momentum")
    ]


def averaging_layers(network: nn.Module) -> list[nn.Module]:
    """`running_layers`, of which there must be some.

    Raises:
        ValueError: there is none.
    """
    if layers := running_layers(network):
        return layers
    raise ValueError("the norm of this run keeps no statistics of batches; use --statistics running")


@torch.no_grad()
def recalibrate(network: nn.Module, blocks: Iterator[Block], context: Callable = nullcontext) -> None:
    """Recompute running statistics with the weights as they are: the plain mean over the batches' statistics.

    A layer that the network calls several times for a batch counts every call, for the time step that it belongs to
    where every step has statistics of its own. Everything but the norm layers is in evaluation mode.

    Args:
        network: changed in place, then in evaluation mode.
        blocks: a batch each.
        context: of the forward pass, see `normlab.devices.evaluation_context`.

    Raises:
        ValueError: the network has no running statistics.
    """
    network.eval()
    with ExitStack() as stack:
        for layer in averaging_layers(network):
            stack.enter_context(averaging_anew(layer))
        for block in blocks:
            with context():
                network(block.inputs)


@contextmanager
def averaging_anew(layer: nn.Module) -> Iterator[None]:
    """While open, the layer normalizes by the batch alone and its statistics are the plain mean over the calls."""
    momentum, calls = layer.momentum, count(1)

    def weigh(layer: nn.Module, inputs: tuple) -> None:
        layer.momentum = 1 / next(calls)

    # Batch norms count where they average: one that an LSTM calls at every step has statistics and a counter for each.
    counts = isinstance(layer, BatchNorm | nn.modules.batchnorm._BatchNorm)
    hook = None if counts else layer.register_forward_pre_hook(weigh)
    if counts:
        layer.momentum = None
    if hasattr(layer, "reset_running_stats"):
        layer.reset_running_stats()
    if isinstance(layer, BatchNorm):
        layer.plain = True
    layer.train()
    try:
        yield
    finally:
        if hook is not None:
            hook.remove()
        layer.momentum = momentum
        if isinstance(layer, BatchNorm):
            layer.plain = False
        layer.eval()


@contextmanager
def statistics_of_the_batch(network: nn.Module, active: bool) -> Iterator[None]:
    """While open, norms with running statistics use those of the batch, even in evaluation, and remember nothing.

    Raises:
        ValueError: the network has no running statistics.
    """
    layers = averaging_layers(network) if active else []
    with ExitStack() as stack:
        for layer in layers:
            without = without_running_statistics if hasattr(layer, "running_mean") else without_memory
            stack.enter_context(without(layer))
        yield


@contextmanager
def without_running_statistics(layer: nn.Module) -> Iterator[None]:
    """Batch norms fall back to the batch where there is nothing else."""
    kept = layer.running_mean, layer.running_var
    layer.running_mean = layer.running_var = None
    try:
        yield
    finally:
        layer.running_mean, layer.running_var = kept


@contextmanager
def without_memory(layer: nn.Module) -> Iterator[None]:
    """For EvoNorm-B0, which looks at the batch in training only: it trains, and the batch has no weight."""
    momentum, training = layer.momentum, layer.training
    layer.momentum = 0.0
    hook = layer.register_forward_pre_hook(lambda layer, inputs: layer.train() and None)
    try:
        yield
    finally:
        hook.remove()
        layer.momentum = momentum
        layer.train(training)


def batches_in_random_order(part: Part, batch_size: int) -> list[Block]:
    """Batches as training would see them, every sample once; a last batch of one joins the batch before it."""
    order = torch.randperm(len(part), generator=torch.Generator().manual_seed(0)).to(part.rows.device)
    groups = list(part.rows[order].split(batch_size))
    if len(groups) > 1 and len(groups[-1]) == 1:
        groups[-2:] = [torch.cat(groups[-2:])]
    return [Block(part.evaluation_inputs(rows), part.targets[rows], len(rows)) for rows in groups]
