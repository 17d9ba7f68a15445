"""Check and build everything that a run needs, before anything is written."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from normlab.config.targets import check_homes
from normlab.data.blocks import (
    num_batches,
)
from normlab.data.features import can_be_computed_once, with_features
from normlab.data.parts import Parts, load_parts, one_class_cautions
from normlab.device.devices import (
    check_device,
    check_synchronization,
    evaluation_context,
    scoring_device,
    set_threads,
)
from normlab.loggers import check_loggers
from normlab.models.weights import untrained_cautions
from normlab.norms.on_weights import is_length
from normlab.training.build import build_network, build_task
from normlab.training.cautions import (
    cautions,
    is_synchronized,
    looks_at_the_batch,
    refuse_hidden_norms,
)
from normlab.training.fit_check import (
    check_fit,
    check_shares,
    declared_input,
    resolve_image_size,
)
from normlab.training.tasks import Task


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
        flops = check_fit(
            config, parts.input_shape, parts.num_outputs, parts.train.inputs.shape[2:]
        ).flops
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
    told += one_class_cautions(parts, config["dataset"]["task"]) + untrained_cautions(
        config["model"]
    )
    return Prepared(
        parts,
        task,
        norm_layers,
        tried.flops,
        weights_digest(network, norm_layers),
        told,
    )


def _features_in_place_of_images(
    config: dict, parts: Parts, network: nn.Module, flops: float
) -> Parts:
    device = scoring_device(config["device"]["accelerator"])
    context = evaluation_context(config["device"]["precision"], device)
    set_threads(config["device"]["threads"], flops)
    parts = with_features(
        parts,
        network.to(device),
        Path(config["paths"]["outputs"]) / ".cache",
        device,
        context,
    )
    network.cpu()
    return parts


def check_monitor(monitor: str | None, task: Task) -> None:
    """Refuse a metric that no epoch will have."""
    known = [f"val/{name}" for name in task.metric_names]
    if monitor is not None and monitor not in known:
        raise ValueError(
            f"trainer.monitor must be null or one of {', '.join(known)}, got {monitor!r}"
        )


def describe_network(prepared: Prepared) -> dict:
    """What two arms of a comparison should share, or be known to differ in."""
    network, layers = prepared.task.network, prepared.norm_layers
    own = [value for layer in layers.values() for value in layer.parameters()]
    own += [value for name, value in network.named_parameters() if is_length(name)]
    by_batch = [layer for layer in layers.values() if looks_at_the_batch(layer)]
    return {
        "num_parameters": sum(parameter.numel() for parameter in network.parameters()),
        "num_norm_parameters": sum(value.numel() for value in own),
        "num_norm_layers": sum(
            not isinstance(layer, nn.Identity) for layer in layers.values()
        ),
        "initial_weights": prepared.initial_weights,
        "synchronized": all(map(is_synchronized, by_batch))
        if by_batch
        else None,  # None: nothing to synchronize
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
