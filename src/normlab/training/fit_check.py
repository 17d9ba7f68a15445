"""Does this model, with this norm, take these inputs? Asked on the meta device, before any data are read."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import torch
from hydra.utils import get_object
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from normlab.data.parts import Parts
from normlab.norms.instance import does_nothing_to
from normlab.training.build import build_network

TRAINING_FLOPS_PER_FORWARD = 3  # the backward pass costs about two forward passes


class Fit(NamedTuple):
    """What one training batch tells without data.

    Attributes:
        flops: floating point operations of one training step.
        idle: names of the norm layers that pass on what they get as it came.
    """

    flops: float
    idle: list[str]


def resolve_image_size(config: dict) -> int | None:
    """Pixels a side that the network gets: `dataset.image_size`, else the native size or what the model needs.

    Raises:
        ValueError: `dataset.image_size` is below the model's minimum.
    """
    shape, wanted = config["dataset"]["shape"], config["dataset"]["image_size"]
    if shape is None or len(shape) != 3:
        return None
    needed = (
        getattr(get_object(config["model"]["_target_"]), "min_image_size", None) or 1
    )
    if wanted is None:
        return max(shape[-1] or 1, needed)
    if wanted < needed:
        name = config["choices"]["model"]
        raise ValueError(
            f"model={name} needs images of at least {needed} pixels a side, got dataset.image_size={wanted}; "
            f"leave dataset.image_size out or raise it"
        )
    return wanted


def check_fit(
    config: dict,
    input_shape: tuple[int, ...],
    num_outputs: int,
    given_shape: tuple[int, ...] | None = None,
) -> Fit:
    """Run one training batch of the right shape without data or memory.

    Args:
        config: a resolved configuration.
        input_shape: of one sample.
        num_outputs: of the network.
        given_shape: of one sample as training hands it over, where that is features in place of images.

    Raises:
        ValueError: model, norm and batch do not fit together, with the reason that the layer gave.
    """
    batch_size = config["dataset"]["batch_size"] // config["device"]["devices"]
    if batch_size < 1:
        raise ValueError(
            f"dataset.batch_size must be at least device.devices, one sample each: "
            f"got {config['dataset']['batch_size']} for {config['device']['devices']}"
        )
    if config["norm"].get("sync"):  # statistics are those of all processes' samples
        batch_size = max(batch_size, min(2, config["dataset"]["batch_size"]))
    model = config["model"] | (
        {"pretrained": False} if "pretrained" in config["model"] else {}
    )
    names = f"model={config['choices']['model']} norm={config['choices']['norm']}"
    try:
        with (
            torch.device("meta"),
            warnings.catch_warnings(),
            FlopCounterMode(display=False) as counter,
        ):
            warnings.simplefilter("ignore")
            network, layers = build_network(
                config | {"model": model}, input_shape, num_outputs
            )
            with idle_layers(layers) as idle:
                network.train()(torch.empty(batch_size, *(given_shape or input_shape)))
    except NotImplementedError:
        return Fit(
            float("inf"), []
        )  # an operator without a meta kernel: nothing can be said before the first batch
    except (ValueError, TypeError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        shape = " x ".join(map(str, (batch_size, *input_shape)))
        raise ValueError(f"{names} cannot take batches of {shape}: {reason}") from error
    return Fit(float(TRAINING_FLOPS_PER_FORWARD * counter.get_total_flops()), idle)


@contextmanager
def idle_layers(layers: Mapping[str, nn.Module]) -> Iterator[list[str]]:
    """Names of the layers that do nothing to any input that they get while this is open; complete when it closes."""
    idle, busy = [], set()

    with ExitStack() as hooks:
        for name, layer in layers.items():

            def watch(layer: nn.Module, inputs: tuple, name: str = name) -> None:
                (idle.append if does_nothing_to(layer, inputs[0]) else busy.add)(name)

            hooks.callback(layer.register_forward_pre_hook(watch).remove)
        yield idle
    idle[:] = [name for name in dict.fromkeys(idle) if name not in busy]


def declared_input(
    config: dict, image_size: int | None
) -> tuple[tuple[int, ...], int] | None:
    """Shape of a sample and number of outputs as the configuration declares them; None where the data must tell."""
    shape, classes = config["dataset"]["shape"], config["dataset"]["num_classes"]
    if image_size is not None:
        return (
            shape[0],
            image_size,
            image_size,
        ), classes or 2  # how many does not decide whether it fits
    return None if shape is None else (tuple(shape), 1)


def check_shares(config: dict, parts: Parts) -> None:
    """Refuse batches that leave a process without samples, or with too few for the norm.

    Raises:
        ValueError: says which part and what to change.
    """
    devices, batch_size = config["device"]["devices"], config["dataset"]["batch_size"]
    if len(parts.validation) < devices:
        raise ValueError(
            f"the validation part must hold a sample for each of {devices} processes, it has {len(parts.validation)}; "
            f"raise dataset.validation or lower device.devices"
        )
    rest = len(parts.train) % batch_size
    if devices > 1 and devices <= rest < 2 * devices and not config["norm"].get("sync"):
        try:
            smallest = config | {"dataset": config["dataset"] | {"batch_size": devices}}
            check_fit(smallest, parts.input_shape, parts.num_outputs)
        except ValueError as error:
            raise ValueError(
                f"the last batch of an epoch has {rest} samples for {devices} processes, so that one gets one: "
                f"{error}; set norm.sync=true or another dataset.batch_size"
            ) from error
