"""Check a configuration and build what its run needs, before anything is written."""

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pytorch_lightning.callbacks import Callback
from torch import nn

from normlab.config.targets import check_homes
from normlab.data.batches import smallest_batch, steps_per_epoch
from normlab.data.classes import class_cautions
from normlab.data.features import can_be_computed_once, with_features
from normlab.data.mixing import check_mixing, is_mixed
from normlab.data.parts import Parts, load_parts
from normlab.data.stored_inputs import describe_inputs
from normlab.device.devices import (
    Device,
    check_device,
    check_synchronization,
    evaluation_context,
    scoring_device,
    set_threads,
)
from normlab.loggers import check_loggers
from normlab.metrics import (
    direction_is_known,
    refuse_unknown_monitor,
    refuse_unknown_stop,
)
from normlab.models.weights import untrained_cautions
from normlab.norms.on_weights import is_weight_length, plain_name
from normlab.sharing import shared
from normlab.training.averaging import check_averaging
from normlab.training.build import build_network, build_optimizer, build_task
from normlab.training.cautions import (
    cautions,
    is_synchronized,
    looks_at_the_batch,
    refuse_hidden_norms,
)
from normlab.training.fit_check import (
    OF_NETWORK,
    MetaStep,
    check_fit,
    check_shares,
    declared_input,
    resolve_image_size,
)
from normlab.training.optimizer_check import check_optimizer, check_scheduler
from normlab.training.own_norm_checks import check_own_norm, is_own_norm
from normlab.training.recalibrated_scores import check_recalibration
from normlab.training.recalibration import recalibrate, training_batches
from normlab.training.regression import Regression
from normlab.training.tasks import Task
from normlab.training.user_callbacks import build_callbacks


@dataclass(frozen=True)
class Prepared:
    """Everything that a run needs, on the CPU.

    Attributes:
        device: the device settings of the run.
        parts: the train, validation and test parts of its data.
        task: its LightningModule.
        norm_layers: the norm layers of its network, by name.
        flops: floating point operations of one training step.
        initial_weights: digest of the weights outside of the norm layers.
        cautions: what sets the run apart beyond its norm, one sentence each.
        callbacks: those that the configuration names, by name.
        stored: its data as they are stored, where features have not replaced images.
        inputs: how samples become inputs of the network, as `inputs.json` holds it.
    """

    device: Device
    parts: Parts
    task: Task
    norm_layers: dict[str, nn.Module]
    flops: float
    initial_weights: str
    cautions: list[str]
    callbacks: dict[str, Callback]
    inputs: dict[str, Any]
    stored: Parts


def prepare(config: dict) -> Prepared:
    """Check a configuration and build its run.

    Args:
        config: a resolved configuration.

    Raises:
        ValueError: says what the user must change.
    """
    device = check_environment(config)
    parts, step = load_fitting_parts(config, device)
    network, norm_layers = build_network(
        config, parts.input_shape, parts.num_outputs, device.channels_last
    )
    refuse_hidden_norms(config["choices"]["norm"], network)
    _check_optimizer(config, network, device)
    optimizer = build_optimizer(config["optimizer"], network)
    averages = check_averaging(config["trainer"], optimizer, device.strategy)
    check_recalibration(config, network, parts.train, averages)
    num_samples = len(parts.train)
    sentences = [
        *cautions(config, device, network, norm_layers, num_samples, step.idle),
        *class_cautions(parts, config["dataset"]["task"]),
        *untrained_cautions(config["model"]),
    ]
    if is_own_norm(config):
        sentences += check_own_norm(config, parts)

    recalibrate_part(network, parts, config, device)
    inputs = describe_inputs(parts)
    stored = parts
    flops = step.flops
    stay_equal = not is_mixed(config["task"]) and can_be_computed_once(network, parts)
    if config["cache_features"] and stay_equal:
        set_threads(device.threads, flops)
        parts, flops = _with_cached_features(config, device, network, parts)

    num_steps = count_steps(config, num_samples)
    targets = parts.train.targets[parts.train.rows]
    task = build_task(config, network, num_steps, targets, parts.num_outputs)
    check_scheduler(task, config["scheduler"])
    task.scores_outputs = check_monitor(config["trainer"], task, parts.num_outputs)
    refuse_unknown_stop(config["trainer"], task.metric_names)
    return Prepared(
        device=device,
        parts=parts,
        task=task,
        norm_layers=norm_layers,
        flops=flops,
        initial_weights=weights_digest(network, norm_layers),
        cautions=sentences,
        callbacks=build_callbacks(config, device.accelerator),
        stored=stored,
        inputs=inputs | {"target": target_of(task, parts)},
    )


def _with_cached_features(
    config: dict, device: Device, network: nn.Module, parts: Parts
) -> tuple[Parts, float]:
    """The data with the outputs of frozen layers in place of images.

    Returns:
        the data, and the operations of a training step on them.
    """
    cache = Path(config["paths"]["outputs"]) / ".cache"
    features = compute_features(parts, network, device, cache)
    step = check_fit(
        config,
        device,
        features.input_shape,
        features.num_outputs,
        feature_shape=features.train.inputs.shape[2:],
    )
    return features, step.flops


def _check_optimizer(config: dict, network: nn.Module, device: Device) -> None:
    """`check_optimizer`, once for all runs that share their work."""
    device_type = scoring_device(device.accelerator).type
    settings = {key: config[key] for key in ("optimizer", *OF_NETWORK)}
    settings["device"] = (device_type, device.strategy)
    check = partial(
        check_optimizer, config["optimizer"], network, device_type, device.strategy
    )
    shared("optimizer", settings, check)


def recalibrate_part(
    network: nn.Module, parts: Parts, config: dict, device: Device
) -> None:
    """Compute the statistics of a pretrained part again, if the model asks for it.

    Args:
        network: its attribute `recalibrated` names the part; on the CPU before and
            after, and in the mode that it had.
        parts: the data of the run; one epoch of training batches is used.
        config: a resolved configuration.
        device: the device of the run.
    """
    name = getattr(network, "recalibrated", None)
    if name is None:
        return
    torch_device = scoring_device(device.accelerator)
    set_threads(device.threads, float("inf"))
    blocks = training_batches(config, parts.train.to(torch_device), None)
    training = network.training
    part = network.to(torch_device).get_submodule(name)
    context = evaluation_context(device.precision, torch_device)
    recalibrate(network, blocks, context, part.modules())
    network.cpu().train(training)


def target_of(task: Task, parts: Parts) -> dict[str, float] | None:
    """What turns outputs of a regression into values; None for classes."""
    if not isinstance(task, Regression):
        return None
    return {
        "mean": task.target_mean,
        "std": task.target_std,
        "offset": parts.target_offset,
    }


def check_environment(config: dict) -> Device:
    """Check that this machine has the device and the packages that a run asks for.

    Args:
        config: a resolved configuration.

    Raises:
        ValueError: names what is missing or not trusted.
    """
    check_homes(config)
    device = Device.from_config(config["device"])
    check_device(device)
    check_synchronization(config["norm"], device.accelerator)
    check_loggers(config)
    return device


def load_fitting_parts(config: dict, device: Device) -> tuple[Parts, MetaStep]:
    """Load the data, and check that model, norm and batches fit them.

    If the configuration declares the shape of the data, what does not fit is refused
    before they are read.

    Args:
        config: a resolved configuration.
        device: the device of the run.

    Raises:
        ValueError: they do not fit, or the data are not as they should be.
    """
    image_size = resolve_image_size(config)
    declared = declared_input(config["dataset"], image_size)
    if declared is not None:
        step = check_fit(config, device, *declared)
        parts = load_parts(config, image_size)
    else:
        parts = load_parts(config, image_size)
        step = check_fit(config, device, parts.input_shape, parts.num_outputs)
    check_shares(device, parts)
    check_mixing(config["task"], parts.input_shape)
    return parts, step


def compute_features(
    parts: Parts, network: nn.Module, device: Device, cache: Path
) -> Parts:
    """Replace images by the outputs of the frozen layers, computed once and cached.

    Args:
        parts: the data of a run.
        network: a network with frozen layers; on the CPU before and after.
        device: the device of the run, on which the features are computed.
        cache: folder for features.
    """
    torch_device = scoring_device(device.accelerator)
    context = evaluation_context(device.precision, torch_device)
    network.to(torch_device)
    parts = with_features(parts, network, cache, torch_device, context)
    network.cpu()
    return parts


def count_steps(config: dict, num_samples: int) -> int:
    """Number of optimizer steps in an epoch of a run.

    Args:
        config: a resolved configuration; `dataset.batch_size`, `trainer.accumulate`
            and `device.devices` are read.
        num_samples: samples of the training part.

    Raises:
        ValueError: there are none.
    """
    batch_size = config["dataset"]["batch_size"]
    accumulate = config["trainer"].get("accumulate", 1)
    processes = config["device"]["devices"]
    steps = steps_per_epoch(num_samples, batch_size, accumulate, processes)
    if steps == 0:
        least = "two samples"
        if processes > 1:
            least = f"{smallest_batch(processes)} samples, two per process"
        raise ValueError(
            f"the training part must hold a batch of at least {least}, it has "
            f"{num_samples}; lower dataset.batch_size or dataset.validation"
        )
    return steps


def check_monitor(options: dict, task: Task, num_outputs: int) -> bool:
    """Refuse to monitor a metric that no epoch will have.

    Args:
        options: `trainer` of the configuration.
        task: the task of the run.
        num_outputs: number of classes, or 1 for a number to predict.

    Returns:
        Whether the metric needs the outputs of all validation samples at once, see
        `Task.final_scores`.

    Raises:
        ValueError: lists the metrics that there are, or asks for the direction.
    """
    monitor = options["monitor"]
    scores = task.final_score_names(num_outputs)
    refuse_unknown_monitor(monitor, task.metric_names, scores)
    name = monitor or f"val/{task.metric_names[0]}"
    if options.get("monitor_mode") is None and not direction_is_known(name):
        raise ValueError(
            f"trainer.monitor_mode must be min or max, since the name of {name} does "
            f"not tell which direction is better"
        )
    return monitor in [f"val/{name}" for name in scores]


def describe_network(prepared: Prepared) -> dict[str, Any]:
    """What two arms of a comparison should share, or be known to differ in.

    `synchronized` tells whether norms take the statistics of all processes' samples;
    it is None if no norm depends on the batch.
    """
    network = prepared.task.network
    layers = prepared.norm_layers.values()
    norm_parameters = [value for layer in layers for value in layer.parameters()]
    norm_parameters += [
        value for name, value in network.named_parameters() if is_weight_length(name)
    ]
    batch_dependent = [layer for layer in layers if looks_at_the_batch(layer)]
    synchronized = None
    if batch_dependent:
        synchronized = all(is_synchronized(layer) for layer in batch_dependent)
    num_layers = sum(not isinstance(layer, nn.Identity) for layer in layers)
    return {
        "num_parameters": sum(value.numel() for value in network.parameters()),
        "num_norm_parameters": sum(value.numel() for value in norm_parameters),
        "num_norm_layers": num_layers,
        "initial_weights": prepared.initial_weights,
        "synchronized": synchronized,
        "step_flops": prepared.flops,
    }


def weights_digest(network: nn.Module, norm_layers: dict[str, nn.Module]) -> str:
    """Digest of all weights outside of the norm layers.

    It is equal for arms that start from the same weights. A weight that a norm
    reparametrizes counts as the weight that it was, and its length does not count.

    Returns:
        16 hexadecimal digits.
    """
    layers = norm_layers.values()
    norm_ids = {id(value) for layer in layers for value in layer.parameters()}
    weights = {}
    for name, value in network.named_parameters():
        if id(value) not in norm_ids and not is_weight_length(name):
            weights[plain_name(name)] = value

    state = hashlib.sha256()
    for name, value in sorted(weights.items()):
        state.update(f"{name} {tuple(value.shape)}".encode())
        state.update(value.detach().cpu().contiguous().numpy().tobytes())
    return state.hexdigest()[:16]
