"""What would make a run an unfair arm of a comparison, said before it trains.

Asked of one run; `normlab.compare.fairness` asks the stored runs of a comparison how they differ.
"""

from collections.abc import Iterator, Mapping, Sequence

from torch import nn

from normlab.data.blocks import num_batches, smallest_batch
from normlab.models.recognize import looks_like_norm
from normlab.norms import FrozenBatchNorm, GhostBatchNorm
from normlab.norms.on_weights import weights_left_alone
from normlab.terminal import some

BATCH_NORMS = nn.modules.batchnorm._BatchNorm
SHOWN = 4  # names in a sentence


def refuse_hidden_norms(norm: str, network: nn.Module) -> None:
    """An arm called none must contain no norm, whatever the model brings along.

    Args:
        norm: name of the arm.
        network: as it will train.

    Raises:
        ValueError: names the first norm that is left and how many there are.
    """
    if norm != "none":
        return
    left = [
        (name, type(layer).__name__)
        for name, layer in network.named_modules()
        if looks_like_norm(layer) and not _only_holds_norms(layer)
    ]
    if left:
        name, kind = left[0]
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        raise ValueError(
            f"norm=none must leave no norm in the network, it has {kind} at {name}{more}; take another model or norm"
        )


def _only_holds_norms(layer: nn.Module) -> bool:
    """Whether a layer that is called a norm is one around others, which are looked at by themselves."""
    has_state = (
        next(layer.parameters(recurse=False), next(layer.buffers(recurse=False), None))
        is not None
    )
    return type(layer).__module__.startswith("normlab.models.") or (
        any(layer.children()) and not has_state
    )


def cautions(
    config: dict,
    network: nn.Module,
    norm_layers: Mapping[str, nn.Module],
    num_samples: int,
    idle: Sequence[str] = (),
) -> list[str]:
    """One sentence for everything that would set this run apart from others beyond its norm, or make its norm another.

    Args:
        config: a resolved configuration.
        network: as it will train.
        norm_layers: of the network, by name.
        num_samples: of the training part.
        idle: names of the norm layers that do nothing, see `normlab.fit_check.Fit`.
    """
    layers = [
        layer for layer in norm_layers.values() if not isinstance(layer, nn.Identity)
    ]
    return [
        *_idle(idle, len(layers)),
        *_frozen(layers),
        *_groups(layers),
        *_weights_left_alone(config, network),
        *_last_batch(
            num_samples, config["dataset"]["batch_size"], config["device"]["devices"]
        ),
        *_decay(config["optimizer"], layers),
        *_synchronization(config["device"]["devices"], layers),
        *_precision(config["device"]["precision"], layers),
    ]


def _idle(idle: Sequence[str], num_layers: int) -> Iterator[str]:
    if idle and len(idle) == num_layers:
        yield (
            "every norm layer gets vectors and passes them on as they came: this run trains as one without norm; "
            "norm.vectors=error refuses it"
        )
    elif idle:
        yield (
            f"{len(idle)} of {num_layers} norm layers get vectors and pass them on as they came: {some(idle, SHOWN)}; "
            f"norm.vectors=error refuses it"
        )


def _frozen(layers: list[nn.Module]) -> Iterator[str]:
    frozen = [layer for layer in layers if isinstance(layer, FrozenBatchNorm)]
    if frozen and all(layer.is_fresh() for layer in frozen):
        yield (
            "frozen batch norm got no scale, shift or statistics from elsewhere: this run trains as one without norm; "
            "model.pretrained brings them"
        )


def _groups(layers: list[nn.Module]) -> Iterator[str]:
    grouped = [layer for layer in layers if hasattr(layer, "wanted_groups")]
    others = {
        layer.num_features: layer.num_groups
        for layer in grouped
        if layer.num_groups != layer.wanted_groups
    }
    if others:
        told = [
            f"{groups} groups for {channels} channels"
            for channels, groups in sorted(others.items())
        ]
        yield (
            f"norm.num_groups={grouped[0].wanted_groups} does not divide the channels of every layer: there are "
            f"{some(told, SHOWN)}; norm.largest_divisor=false refuses it"
        )


def _weights_left_alone(config: dict, network: nn.Module) -> Iterator[str]:
    if config["reparametrize"] is not None and (names := weights_left_alone(network)):
        named = some(names, SHOWN)
        yield f"norm={config['choices']['norm']} cannot act on some weights and leaves them as they are: {named}"


def _last_batch(num_samples: int, batch_size: int, devices: int) -> Iterator[str]:
    rest = num_samples % batch_size
    if (
        rest
        and num_batches(num_samples, batch_size, smallest_batch(devices))
        == num_samples // batch_size
    ):
        samples = "1 sample" if rest == 1 else f"{rest} samples"
        yield (
            f"{num_samples} training samples in batches of {batch_size} leave {samples} over, too few to normalize: "
            f"every epoch leaves {'it' if rest == 1 else 'them'} out, whatever the norm"
        )


def _decay(optimizer: dict, layers: list[nn.Module]) -> Iterator[str]:
    learned = any(
        parameter.ndim < 2 for layer in layers for parameter in layer.parameters()
    )
    if optimizer.get("decay_rank_one") and optimizer.get("weight_decay") and learned:
        yield (
            "optimizer.decay_rank_one=true lets weight decay shrink the scale and shift of this norm, which norm=none "
            "does not have"
        )


def _synchronization(devices: int, layers: list[nn.Module]) -> Iterator[str]:
    if devices > 1 and any(
        looks_at_the_batch(layer) and not is_synchronized(layer) for layer in layers
    ):
        yield (
            f"each of {devices} processes normalizes its own share of a batch, an arm with one process all of it; "
            f"norm.sync=true normalizes the whole batch, where the norm has it"
        )


def _precision(precision: str, layers: list[nn.Module]) -> Iterator[str]:
    if (
        precision.endswith("-true")
        and precision.startswith(("bf16", "16"))
        and any(_remembers(n) for n in layers)
    ):
        yield (
            f"device.precision={precision} keeps running statistics in 16 bits, where small updates are lost; "
            f"bf16-mixed keeps them in 32"
        )


def looks_at_the_batch(layer: nn.Module) -> bool:
    """Whether what a norm gives for a sample in training depends on how many others there are."""
    in_parts = isinstance(layer, GhostBatchNorm)  # of the same size, whatever the batch
    return (
        getattr(layer, "batch_dependent", isinstance(layer, BATCH_NORMS))
        and not in_parts
    )


def is_synchronized(layer: nn.Module) -> bool:
    """Whether a norm's batch is that of all processes."""
    return getattr(layer, "sync", isinstance(layer, nn.SyncBatchNorm))


def _remembers(layer: nn.Module) -> bool:
    return getattr(layer, "running_var", None) is not None
