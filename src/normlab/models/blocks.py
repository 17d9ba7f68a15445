"""Weights, norm, activation: the block that every architecture is made of."""

from collections.abc import Callable
from difflib import get_close_matches

from torch import nn

Norm = Callable[[int, int], nn.Module]

ACTIVATIONS = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "leaky_relu": nn.LeakyReLU,
    "identity": nn.Identity,
}
POOLINGS = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}


def make_activation(name: str) -> nn.Module:
    """A new activation layer by its name.

    Raises:
        ValueError: an unknown name, with the nearest known one.
    """
    return _pick(ACTIVATIONS, name, "activation")()


def make_pooling(name: str, size: int) -> nn.Module:
    """Max or average pooling over windows of `size` x `size`.

    Raises:
        ValueError: an unknown name.
    """
    return _pick(POOLINGS, name, "pooling")(size)


def norm_and_activation(norm: Norm, num_features: int, dim: int, activation: str) -> list[nn.Module]:
    """The norm and the activation behind it; norms that contain their activation stand alone.

    Args:
        norm: called as ``norm(num_features, dim)``.
        num_features: channels of the input.
        dim: 1, 2 or 3, see `normlab.norms`.
        activation: a name of `ACTIVATIONS`.
    """
    layer = norm(num_features, dim)
    return [layer] if getattr(layer, "includes_activation", False) else [layer, make_activation(activation)]


def require_images(model: str, input_shape: tuple[int, ...], minimum: int) -> tuple[int, int, int]:
    """``(C, H, W)`` of an input that must be images of at least `minimum` pixels a side.

    Raises:
        ValueError: tables, or images that are too small.
    """
    if len(input_shape) != 3:
        raise ValueError(f"{model} takes images (C, H, W), got inputs of shape {tuple(input_shape)}; use an mlp")
    channels, height, width = input_shape
    if min(height, width) < minimum:
        raise ValueError(f"{model} needs images of at least {minimum} x {minimum} pixels, got {height} x {width}")
    return channels, height, width


def _pick(table: dict[str, type], name: str, kind: str) -> type:
    if name not in table:
        near = get_close_matches(str(name), table, n=1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{kind} must be one of {', '.join(table)}, got {name!r}{hint}")
    return table[name]
