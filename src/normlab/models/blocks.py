"""The parts that models share: weights, norm and activation, in this order."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor, nn

from normlab.spelling import did_you_mean

Norm = Callable[[int, int], nn.Module]  # called as norm(num_features, dim)

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "none": nn.Identity,
}
POOLINGS: dict[str, Callable[[int], nn.Module]] = {
    "max": nn.MaxPool2d,
    "avg": nn.AvgPool2d,
}
MOST_NAMES_SHOWN = 20  # in an error message


class ImageModel(Protocol):
    """A network for images, which says how small they may be.

    Attributes:
        min_image_size: smallest height and width in pixels.
    """

    min_image_size: int


def choose(option: str, name: object, known: Sequence[str]) -> str:
    """Return `name` if it is one of the known names.

    Args:
        option: key of the configuration, for the message.
        name: the value that was configured.
        known: the names that the option accepts.

    Raises:
        ValueError: the name is unknown. The message suggests the nearest one.
    """
    if isinstance(name, str) and name in known:
        return name
    shown = ", ".join(known)
    if len(known) > MOST_NAMES_SHOWN:
        shown = f"{len(known)} names"
    hint = did_you_mean(name, known)
    raise ValueError(f"{option} must be one of {shown}, got {name!r}{hint}")


def activation(name: str) -> nn.Module:
    """Return an activation by its lower-case name: relu, sigmoid, tanh, gelu, ...

    No activation works in place, so that hooks can still read the output of a norm
    after the activation has run.

    Raises:
        ValueError: unknown name.
    """
    return ACTIVATIONS[choose("model.activation", name, list(ACTIVATIONS))]()


def includes_activation(norm: nn.Module) -> bool:
    """Whether a norm contains its activation, as FRN and EvoNorm do."""
    return getattr(norm, "includes_activation", False)


def activation_after(norm: nn.Module, name: str) -> nn.Module:
    """Return the activation to put after a norm: none if the norm contains its own.

    Raises:
        ValueError: unknown name, for every norm.
    """
    chosen = activation(name)
    return nn.Identity() if includes_activation(norm) else chosen


def refuse_activation(norm: nn.Module, place: str) -> nn.Module:
    """Return `norm`, for a place in which an activation would be wrong.

    Args:
        norm: the norm to check.
        place: description of the place, for the message.

    Raises:
        ValueError: the norm contains its activation.
    """
    if includes_activation(norm):
        raise ValueError(
            f"{type(norm).__name__} contains its activation, "
            f"which does not fit {place}; use another norm"
        )
    return norm


def block(
    weights: nn.Module, norm: nn.Module, activation: str, dropout: float = 0.0
) -> nn.Sequential:
    """Build a Sequential of weights, norm, activation and optional dropout.

    Args:
        weights: a linear layer or a convolution; the child `linear` or `conv`.
        norm: the child `norm`.
        activation: name of the activation, which is left out if the norm contains
            its own; the child `activation`.
        dropout: probability of zeroing an element. The child `dropout` exists only
            if this is above 0.
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    parts["linear" if isinstance(weights, nn.Linear) else "conv"] = weights
    parts["norm"] = norm
    parts["activation"] = activation_after(norm, activation)
    if dropout:
        parts["dropout"] = nn.Dropout(dropout)
    return nn.Sequential(parts)


def hidden_layers(
    sizes: Sequence[int], norm: Norm, activation: str, dropout: float, bias: bool
) -> nn.Sequential:
    """Build one linear block from each width in `sizes` to the next.

    Args:
        sizes: number of inputs, then the width of each hidden layer.
        norm: called as ``norm(width, 1)`` after each linear layer.
        activation: name of the activation.
        dropout: probability of zeroing a feature after each activation.
        bias: whether the linear layers have biases.
    """
    blocks = []
    for num_inputs, width in pairwise(sizes):
        linear = nn.Linear(num_inputs, width, bias=bias)
        blocks.append(block(linear, norm(width, 1), activation, dropout))
    return nn.Sequential(*blocks)


def pooling(name: str, size: int) -> nn.Module:
    """Return max or average pooling over ``size x size`` windows without overlap.

    Raises:
        ValueError: unknown name.
    """
    return POOLINGS[choose("model.pooling", name, list(POOLINGS))](size)


def positive_integer(option: str, value: object) -> int:
    """Return `value` if it is a whole number of at least 1.

    Raises:
        ValueError: anything else. The message names `option`.
    """
    if type(value) is not int or value < 1:
        raise ValueError(
            f"{option} must be a whole number of at least 1, got {value!r}"
        )
    return value


def widths(option: str, values: Sequence[int], count: int | None = None) -> list[int]:
    """Return `values` as a list of layer widths.

    Args:
        option: key of the configuration, for the message.
        values: the widths.
        count: how many there must be; None for any number.

    Raises:
        ValueError: the values are not whole numbers of at least 1, or not `count`.
    """
    is_sequence = isinstance(values, Sequence) and not isinstance(values, str)
    valid = is_sequence and all(type(value) is int and value >= 1 for value in values)
    if not valid or (count is not None and len(values) != count):
        how_many = "a list of" if count is None else f"a list of {count}"
        raise ValueError(
            f"{option} must be {how_many} whole numbers of at least 1, got {values!r}"
        )
    return list(values)


def image_shape(
    model: type[ImageModel], input_shape: Sequence[int]
) -> tuple[int, int, int]:
    """Return `input_shape` as ``(C, H, W)``.

    Args:
        model: class of the network that will read the images.
        input_shape: shape of one sample.

    Raises:
        ValueError: the samples are no images, or smaller than `model.min_image_size`.
    """
    name = model.__name__
    if len(input_shape) != 3:
        raise ValueError(
            f"{name} takes images (C, H, W), got inputs of shape {tuple(input_shape)}; "
            "use model=mlp or model=tabular for features without an image"
        )

    channels, height, width = input_shape
    smallest = model.min_image_size
    if min(height, width) < smallest:
        raise ValueError(
            f"{name} needs images of at least {smallest} x {smallest} pixels, "
            f"got {height} x {width}; set dataset.image_size={smallest} or larger"
        )
    return channels, height, width


class TokenNorm(nn.Module):
    """Apply a norm with channel axis 1 to tensors with the channels on the last axis.

    Input and output ``(N, C)`` or ``(N, ..., C)``.

    Args:
        norm: reads tensors ``(N, C)`` and ``(N, C, L)``.
    """

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 2:
            return self.norm(x)
        channels_first = x.flatten(1, -2).transpose(1, 2)  # (N, C, L)
        return self.norm(channels_first).transpose(1, 2).unflatten(1, x.shape[1:-1])


@torch.no_grad()
def he_initialization(network: nn.Module) -> None:
    """Draw the weights of 2d convolutions from N(0, 2 / fan_out) and zero the biases.

    He, Zhang, Ren and Sun (2015), arXiv 1502.01852.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
