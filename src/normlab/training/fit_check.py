"""Check that model, norm and inputs fit together, before any data are read.

One training batch is run on PyTorch's meta device, which computes shapes and no values.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from hydra.utils import get_object
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from normlab.data.parts import Parts, stored_shape
from normlab.device.devices import Device
from normlab.messages import first_line
from normlab.norms.instance import passes_vectors_through
from normlab.sharing import shared
from normlab.training.build import build_network, without_pretrained
from normlab.training.own_norm_checks import is_own_norm, place_of_failure

# The groups of a configuration that make a network; the seed changes no shape.
OF_NETWORK = ("model", "norm", "reparametrize")
# What layers raise for inputs that they cannot take.
MISFITS = (ValueError, TypeError, RuntimeError, IndexError)
TRAINING_FLOPS_PER_FORWARD = 3  # the backward pass costs about two forward passes


class MetaStep(NamedTuple):
    """What one training batch on the meta device shows.

    Attributes:
        flops: floating point operations of one training step.
        idle: names of the norm layers that return their inputs unchanged.
    """

    flops: float
    idle: list[str]


def resolve_image_size(config: dict) -> int | None:
    """Height and width in pixels of the images that the network gets.

    `dataset.image_size` if it is set, else the size of the stored images, enlarged to
    what the model needs; None if the data are no images.

    Args:
        config: a resolved configuration; `dataset` and `model` are read.

    Raises:
        ValueError: `dataset.image_size` is below the model's minimum.
    """
    shape = stored_shape(config["dataset"])
    wanted = config["dataset"]["image_size"]
    if shape is None or len(shape) != 3:
        return None
    model = get_object(config["model"]["_target_"])
    needed = getattr(model, "min_image_size", None) or 1
    if wanted is None:
        return max(shape[-1] or 1, needed)
    if wanted < needed:
        raise ValueError(
            f"model={config['choices']['model']} needs images of at least {needed} "
            f"pixels a side, got dataset.image_size={wanted}; leave dataset.image_size "
            f"out or raise it"
        )
    return wanted


def declared_input(
    options: dict[str, Any], image_size: int | None
) -> tuple[tuple[int, ...], int] | None:
    """Shape of a sample and number of outputs, as far as the configuration tells.

    Args:
        options: the `dataset` group of a resolved configuration.
        image_size: from `resolve_image_size`.

    Returns:
        None if both are known only after the data are read.
    """
    shape = stored_shape(options)
    if image_size is not None:
        # How many classes there are does not decide whether a batch fits.
        num_classes = options["num_classes"] or 2
        assert shape is not None  # otherwise there are no images
        return (shape[0], image_size, image_size), num_classes
    if shape is None:
        return None
    return tuple(shape), 1


def check_fit(
    config: dict,
    device: Device,
    input_shape: tuple[int, ...],
    num_outputs: int,
    feature_shape: tuple[int, ...] | None = None,
) -> MetaStep:
    """Run one training batch of the right shape, without data and without memory.

    Runs of one network that share their work run it once.

    Args:
        config: a resolved configuration.
        device: the device of the run; its number of processes divides the batch.
        input_shape: shape of one sample, for which the network is built.
        num_outputs: number of outputs of the network.
        feature_shape: shape of one sample in training, if cached features take the
            place of images.

    Raises:
        ValueError: model, norm and batch do not fit together; the message has the
            reason that the layer gave.
    """
    batch_size = _samples_per_process(config, device.devices)
    sample_shape = feature_shape or input_shape
    settings: dict[str, Any] = {key: config[key] for key in OF_NETWORK}
    settings["shapes"] = (input_shape, num_outputs, batch_size, sample_shape)
    settings["channels_last"] = device.channels_last
    step = partial(
        _meta_step,
        config,
        device,
        input_shape,
        num_outputs,
        (batch_size, *sample_shape),
    )
    return shared("step", settings, step)


def _meta_step(
    config: dict,
    device: Device,
    input_shape: tuple[int, ...],
    num_outputs: int,
    batch_shape: tuple[int, ...],
) -> MetaStep:
    norm_layers: dict[str, nn.Module] = {}
    try:
        with (
            torch.device("meta"),
            warnings.catch_warnings(),
            FlopCounterMode(display=False) as counter,
        ):
            warnings.simplefilter("ignore")
            network, norm_layers = build_network(
                without_pretrained(config),
                input_shape,
                num_outputs,
                device.channels_last,
            )
            with idle_layers(norm_layers) as idle:
                network.train()(torch.empty(batch_shape))
    except NotImplementedError:
        # An operator that the meta device does not have: only a real batch can tell.
        return MetaStep(float("inf"), [])
    except Exception as error:
        if is_own_norm(config) and place_of_failure(error, norm_layers):
            # A real batch can tell more: this one has no values to look at.
            return MetaStep(float("inf"), [])
        if not isinstance(error, MISFITS):
            raise
        message = _misfit(config["choices"], (batch_shape[0], *input_shape), error)
        raise ValueError(message) from error
    flops = TRAINING_FLOPS_PER_FORWARD * counter.get_total_flops()
    return MetaStep(float(flops), idle)


def _misfit(choices: dict, shape: tuple[int, ...], error: Exception) -> str:
    """What does not fit together, with the reason that the layer gave."""
    sizes = " x ".join(map(str, shape))
    return (
        f"model={choices['model']} norm={choices['norm']} cannot take batches of "
        f"{sizes}: {first_line(error)}"
    )


def _samples_per_process(config: dict, processes: int) -> int:
    """Samples of a batch that a norm sees in each process."""
    batch_size = config["dataset"]["batch_size"]
    share = batch_size // processes
    if share < 1:
        raise ValueError(
            f"dataset.batch_size must be at least device.devices, one sample each: "
            f"got {batch_size} for {processes}"
        )
    if config["norm"].get("sync"):  # statistics of all processes' samples
        return max(share, min(2, batch_size))
    return share


@contextmanager
def idle_layers(layers: Mapping[str, nn.Module]) -> Iterator[list[str]]:
    """Find the layers that return every input unchanged while this context is open.

    Yields:
        a list that is complete when the context closes: the names of these layers, in
        the order of their first calls.
    """
    idle: list[str] = []
    busy: set[str] = set()

    def watch(name: str, layer: nn.Module, inputs: tuple) -> None:
        if passes_vectors_through(layer, inputs[0]):
            idle.append(name)
        else:
            busy.add(name)

    with ExitStack() as hooks:
        for name, layer in layers.items():
            handle = layer.register_forward_pre_hook(partial(watch, name))
            hooks.callback(handle.remove)
        yield idle
    idle[:] = [name for name in dict.fromkeys(idle) if name not in busy]


def check_shares(device: Device, parts: Parts) -> None:
    """Refuse a validation part that leaves a process without samples.

    Args:
        device: the device of the run.
        parts: the data of the run.

    Raises:
        ValueError: says what to change.
    """
    processes = device.devices
    if len(parts.validation) < processes:
        raise ValueError(
            f"the validation part must hold a sample for each of {processes} processes,"
            f" it has {len(parts.validation)}; raise dataset.validation or lower "
            f"device.devices"
        )
