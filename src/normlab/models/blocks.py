"""The parts that models share: weights, norm, activation, in this order."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from normlab.spelling import did_you_mean

ACTIVATIONS = {
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
POOLINGS = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}


def choose(option: str, name: object, known: Sequence[str]) -> str:
    """`name` if it is among `known`.

    Raises:
        ValueError: names the option, the nearest known name and all of them.
    """
    if name in known:
        return name
    hint = did_you_mean(name, known)
    shown = ", ".join(known) if len(known) <= 20 else f"{len(known)} names"
    raise ValueError(f"{option} must be one of {shown}, got {name!r}{hint}")


def activation(name: str) -> nn.Module:
    """An activation by its lower-case name: relu, sigmoid, tanh, gelu, silu, ...

    None of them works in place: what a norm gave out stays as it was for whoever looks at it.

    Raises:
        ValueError: unknown name.
    """
    return ACTIVATIONS[choose("model.activation", name, list(ACTIVATIONS))]()


def includes_activation(norm: nn.Module) -> bool:
    """Whether a norm contains its activation, as FRN and EvoNorm do."""
    return getattr(norm, "includes_activation", False)


def activation_after(norm: nn.Module, name: str) -> nn.Module:
    """The activation that follows a norm: nothing where the norm contains its own."""
    chosen = activation(name)
    return nn.Identity() if includes_activation(norm) else chosen


def refuse_activation(norm: nn.Module, place: str) -> nn.Module:
    """`norm`, unless it contains its activation, for places where an activation would be wrong.

    Raises:
        ValueError: names the norm and the place.
    """
    if includes_activation(norm):
        raise ValueError(
            f"{type(norm).__name__} contains its activation, which does not fit {place}; use another norm"
        )
    return norm


def block(
    weights: nn.Module, norm: nn.Module, activation: str, dropout: float = 0.0
) -> nn.Sequential:
    """Weights, norm, activation and, if above 0, dropout, as a Sequential whose parts have names.

    Args:
        weights: a linear layer or a convolution, child `linear` or `conv`.
        norm: child `norm`.
        activation: name; left out where the norm contains its own.
        dropout: probability of zeroing a feature (linear) or a value (convolution).
    """
    parts = OrderedDict(
        {"linear" if isinstance(weights, nn.Linear) else "conv": weights, "norm": norm}
    )
    parts["activation"] = activation_after(norm, activation)
    if dropout:
        parts["dropout"] = nn.Dropout(dropout)
    return nn.Sequential(parts)


def hidden_layers(
    sizes: Sequence[int],
    norm: Callable[[int, int], nn.Module],
    activation: str,
    dropout: float,
    bias: bool,
) -> nn.Sequential:
    """Linear blocks from each width in `sizes` to the next."""
    return nn.Sequential(
        *(
            block(
                nn.Linear(before, after, bias=bias), norm(after, 1), activation, dropout
            )
            for before, after in pairwise(sizes)
        )
    )


def pooling(name: str, size: int) -> nn.Module:
    """Max or average pooling by windows of `size` that do not overlap.

    Raises:
        ValueError: unknown name.
    """
    return POOLINGS[choose("model.pooling", name, list(POOLINGS))](size)


def widths(option: str, values: Sequence[int], count: int | None = None) -> list[int]:
    """`values` as a list of layer widths.

    Raises:
        ValueError: not whole numbers of at least 1, or not `count` of them.
    """
    sequence = isinstance(values, Sequence) and not isinstance(values, str)
    whole = sequence and all(type(value) is int and value >= 1 for value in values)
    if not whole or (count is not None and len(values) != count):
        how_many = "a list of" if count is None else f"a list of {count}"
        raise ValueError(
            f"{option} must be {how_many} whole numbers of at least 1, got {values!r}"
        )
    return list(values)


def image_shape(model: type, input_shape: Sequence[int]) -> tuple[int, int, int]:
    """`input_shape` as ``(C, H, W)``.

    Raises:
        ValueError: no images, or images smaller than the model's `min_image_size`.
    """
    if len(input_shape) != 3:
        raise ValueError(
            f"{model.__name__} takes images (C, H, W), got inputs of shape {tuple(input_shape)}; "
            "use model=mlp or model=tabular for features without an image"
        )
    channels, height, width = input_shape
    if min(height, width) < model.min_image_size:
        raise ValueError(
            f"{model.__name__} needs images of at least {model.min_image_size} x {model.min_image_size} pixels, "
            f"got {height} x {width}; set dataset.image_size={model.min_image_size} or larger"
        )
    return channels, height, width


class TokenNorm(nn.Module):
    """A norm with channel axis 1 on tensors whose last axis holds the channels: ``(N, C)`` or ``(N, ..., C)``."""

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
    """Weights of convolutions drawn from N(0, 2 / fan_out), biases 0 (He et al., 2015, arXiv 1502.01852)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
