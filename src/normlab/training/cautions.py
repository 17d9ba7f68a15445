"""Warnings, before a run trains, of what would make it an unfair arm of a comparison.

This looks at one run. `normlab.compare.fairness` looks at the stored runs of a
comparison and at how they differ.
"""

from collections.abc import Iterator, Mapping, Sequence

from torch import nn

from normlab.data.batches import num_batches, smallest_batch, steps_per_epoch
from normlab.device.devices import Device
from normlab.models.recognize import looks_like_norm
from normlab.norms import FrozenBatchNorm, GhostBatchNorm
from normlab.norms.on_weights import weights_without_norm
from normlab.terminal import shorten
from normlab.training.recalibration import BATCH_NORMS

SHOWN = 4  # names in one sentence


def refuse_hidden_norms(norm: str, network: nn.Module) -> None:
    """Refuse an arm that is called `none` and whose model brings norms of its own.

    Args:
        norm: name of the arm.
        network: the network, as it will train. The part that `kept_norms` names has
            norms that do not depend on the arm.

    Raises:
        ValueError: names the first norm in the network and how many more there are.
    """
    if norm != "none":
        return
    found = []
    kept = getattr(network, "kept_norms", None)
    for name, layer in network.named_modules():
        if kept is not None and name.startswith(f"{kept}."):
            continue
        if looks_like_norm(layer) and not _only_holds_norms(layer):
            found.append(f"{type(layer).__name__} at {name}")
    if found:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        raise ValueError(
            f"norm=none must leave no norm in the network, it has {found[0]}{more}; "
            f"take another model or norm"
        )


def _only_holds_norms(layer: nn.Module) -> bool:
    """Whether a layer named like a norm is a container, with no tensors of its own."""
    if type(layer).__module__.startswith("normlab.models."):
        return True
    tensors = [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
    return any(layer.children()) and not tensors


def cautions(
    config: dict,
    device: Device,
    network: nn.Module,
    norm_layers: Mapping[str, nn.Module],
    num_samples: int,
    idle: Sequence[str] = (),
) -> list[str]:
    """One sentence for everything that sets a run apart from others beyond its norm.

    This includes norms that are not what their name promises.

    Args:
        config: a resolved configuration; `dataset.batch_size`, `optimizer`,
            `trainer`, `reparametrize` and the name of the norm are read.
        device: the device of the run.
        network: the network, as it will train.
        norm_layers: the norm layers of the network, by name.
        num_samples: number of samples in the training part.
        idle: names of the norm layers that do nothing, see
            `normlab.training.fit_check.MetaStep`.
    """
    layers = [
        layer for layer in norm_layers.values() if not isinstance(layer, nn.Identity)
    ]
    batch_size = config["dataset"]["batch_size"]
    return [
        *_idle(idle, len(layers)),
        *_frozen(layers),
        *_groups(layers),
        *_unchanged_weights(config, network),
        *_last_batch(num_samples, batch_size, device.devices),
        *_unreached_steps(config["trainer"], num_samples, batch_size, device.devices),
        *_decay(config["optimizer"], layers),
        *_synchronization(device.devices, layers),
        *_precision(device.precision, layers),
    ]


def _idle(idle: Sequence[str], num_layers: int) -> Iterator[str]:
    if idle and len(idle) == num_layers:
        yield (
            "every norm layer gets vectors and returns them unchanged: this run trains "
            "like one without norm; norm.vectors=error refuses it"
        )
    elif idle:
        yield (
            f"{len(idle)} of {num_layers} norm layers get vectors and return them "
            f"unchanged: {shorten(idle, SHOWN)}; norm.vectors=error refuses it"
        )


def _frozen(layers: list[nn.Module]) -> Iterator[str]:
    frozen = [layer for layer in layers if isinstance(layer, FrozenBatchNorm)]
    if frozen and all(layer.is_fresh() for layer in frozen):
        yield (
            "frozen batch norm got no pretrained scale, shift or statistics: this run "
            "trains like one without norm; model.pretrained brings them"
        )


def _groups(layers: list[nn.Module]) -> Iterator[str]:
    grouped = [layer for layer in layers if hasattr(layer, "wanted_groups")]
    other_groups = {}
    for layer in grouped:
        if layer.num_groups != layer.wanted_groups:
            other_groups[layer.num_features] = layer.num_groups
    if not other_groups:
        return
    sizes = [
        f"{num_groups} groups for {num_features} channels"
        for num_features, num_groups in sorted(other_groups.items())
    ]
    yield (
        f"norm.num_groups={grouped[0].wanted_groups} does not divide the channels of "
        f"every layer: there are {shorten(sizes, SHOWN)}; "
        f"norm.largest_divisor=false refuses it"
    )


def _unchanged_weights(config: dict, network: nn.Module) -> Iterator[str]:
    if config["reparametrize"] is None:  # the norm acts on activations
        return
    names = weights_without_norm(network)
    if names:
        yield (
            f"norm={config['choices']['norm']} cannot act on some weights and leaves "
            f"them as they are: {shorten(names, SHOWN)}"
        )


def _last_batch(num_samples: int, batch_size: int, processes: int) -> Iterator[str]:
    full_batches, rest = divmod(num_samples, batch_size)
    used = num_batches(num_samples, batch_size, smallest_batch(processes))
    if rest == 0 or used > full_batches:
        return
    samples = "1 sample" if rest == 1 else f"{rest} samples"
    them = "it" if rest == 1 else "them"
    yield (
        f"{num_samples} training samples in batches of {batch_size} leave {samples} "
        f"over, too few to normalize: every epoch leaves {them} out, whatever the norm"
    )


def _unreached_steps(
    options: dict, num_samples: int, batch_size: int, processes: int
) -> Iterator[str]:
    max_steps = options.get("max_steps")
    if max_steps is None:
        return
    accumulate = options.get("accumulate", 1)
    per_epoch = steps_per_epoch(num_samples, batch_size, accumulate, processes)
    steps = options["max_epochs"] * per_epoch
    if steps < max_steps:
        yield (
            f"trainer.max_epochs={options['max_epochs']} ends this run after {steps} "
            f"steps, before trainer.max_steps={max_steps}"
        )


def _decay(optimizer: dict, layers: list[nn.Module]) -> Iterator[str]:
    if not (optimizer.get("decay_rank_one") and optimizer.get("weight_decay")):
        return
    parameters = [value for layer in layers for value in layer.parameters()]
    if parameters:
        yield (
            "optimizer.decay_rank_one=true lets weight decay shrink the scale and "
            "shift of this norm, which norm=none does not have"
        )


def _synchronization(processes: int, layers: list[nn.Module]) -> Iterator[str]:
    dependent = filter(looks_at_the_batch, layers)
    if processes > 1 and not all(map(is_synchronized, dependent)):
        yield (
            f"each of {processes} processes normalizes its own share of a batch, an "
            f"arm with one process all of it; norm.sync=true normalizes the whole "
            f"batch, if the norm has it"
        )


def _precision(precision: str, layers: list[nn.Module]) -> Iterator[str]:
    has_16_bits = precision in ("bf16-true", "16-true")
    if has_16_bits and any(map(_has_running_statistics, layers)):
        yield (
            f"device.precision={precision} keeps running statistics in 16 bits, where "
            f"small updates are lost; bf16-mixed keeps them in 32"
        )


def looks_at_the_batch(layer: nn.Module) -> bool:
    """Whether the output for a sample, in training, depends on the size of the batch.

    Ghost batch norm divides a batch into parts of one size, so that it does not.
    """
    if isinstance(layer, GhostBatchNorm):
        return False
    return getattr(layer, "batch_dependent", isinstance(layer, BATCH_NORMS))


def is_synchronized(layer: nn.Module) -> bool:
    """Whether a norm takes its statistics over the batches of all processes."""
    return getattr(layer, "sync", isinstance(layer, nn.SyncBatchNorm))


def _has_running_statistics(layer: nn.Module) -> bool:
    return any("running_" in name for name, _ in layer.named_buffers())
