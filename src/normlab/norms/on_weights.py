"""Norms that act on weights instead of activations: the whole network is changed once, after it is built."""

import re
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

WEIGHTS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
OF_ATTENTION = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")


class Weight(NamedTuple):
    """A tensor of weights: `layer` has it under `name`, and its outputs are along `axis`."""

    layer: nn.Module
    name: str
    axis: int = 0

    @property
    def tensor(self) -> Tensor:
        """The weights themselves."""
        return getattr(self.layer, self.name)

    @property
    def fan_in(self) -> int:
        """Inputs of an output."""
        return self.tensor.select(self.axis, 0).numel()

    def called(self, network: nn.Module) -> str:
        """Its name in a network, for messages."""
        return next(
            f"{name}.{self.name}".lstrip(".")
            for name, layer in network.named_modules()
            if layer is self.layer
        )


def weights_of(layer: nn.Module) -> list[Weight]:
    """The weights of one layer that a norm can act on.

    Those of linear layers, convolutions and attention, and what a layer of one's own lists as `weight_matrices`, names
    of tensors ``(out, in)``. Not those of transposed convolutions in groups, whose outputs are along two axes, and of
    PyTorch's recurrent layers, which hold on to the tensors that they started with.
    """
    if isinstance(layer, WEIGHTS):
        return [Weight(layer, "weight")]
    if isinstance(layer, TRANSPOSED):
        return [Weight(layer, "weight", axis=1)] if layer.groups == 1 else []
    names = (
        OF_ATTENTION
        if isinstance(layer, nn.MultiheadAttention)
        else getattr(layer, "weight_matrices", ())
    )
    return [Weight(layer, name) for name in names if getattr(layer, name) is not None]


def weights_to_change(network: nn.Module, skip_output: bool) -> list[Weight]:
    """`weights_of` all layers in the order of the network, but for frozen ones, which stay as they are.

    Args:
        network: any module.
        skip_output: without the last linear layer, which makes the predictions.

    Raises:
        ValueError: there are none, so that the norm would be none.
    """
    linear = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    skipped = linear[-1] if linear and skip_output else None
    found = [
        weight
        for layer in network.modules()
        if layer is not skipped
        for weight in weights_of(layer)
    ]
    if found := [weight for weight in found if weight.tensor.requires_grad]:
        return found
    advice = (
        "set reparametrize.skip_output=false"
        if skipped is not None
        else "use another norm"
    )
    raise ValueError(
        f"a norm on weights needs weights in front of the output layer, the network has none; {advice}"
    )


def weights_left_alone(network: nn.Module) -> list[str]:
    """Names of the trained weights in front of the output layer, of rank 2 or more, that no norm acts on."""
    output = [
        name for name, layer in network.named_modules() if isinstance(layer, nn.Linear)
    ][-1:]
    trained = [
        (name, value)
        for name, value in network.named_parameters()
        if value.requires_grad
    ]
    parameters = [(*name.rpartition("."), value) for name, value in trained]
    return [
        f"{owner}{dot}{name}"
        for owner, dot, name, value in parameters
        if value.ndim > 1
        and "weight" in name
        and ".parametrizations." not in f".{owner}."
        and owner not in output
    ]


def normalize_weights(network: nn.Module, skip_output: bool = False) -> nn.Module:
    """Weight normalization (Salimans and Kingma, 2016, arXiv 1602.07868): ``w = g * v / |v|``, a g for every output.

    PyTorch's parametrization; the network computes what it did before.

    Args:
        network: changed in place and returned.
        skip_output: leave the last linear layer as it is.

    Raises:
        ValueError: a network without weights that it could act on, or weights of zeros, which have no direction.
    """
    weights = weights_to_change(network, skip_output)
    for weight in weights:
        if (
            not weight.tensor.is_meta
            and not weight.tensor.transpose(0, weight.axis).flatten(1).any(1).all()
        ):
            raise ValueError(
                f"weight norm needs weights that are not 0, {weight.called(network)} starts with an output of zeros; "
                f"set reparametrize.skip_output=true if it makes the predictions, or use another norm"
            )
    for layer, name, axis in weights:
        parametrizations.weight_norm(layer, name, dim=axis)
    return network


def is_length(name: str) -> bool:
    """Whether a parameter of this name is the g of `normalize_weights`, a scale for every output."""
    return re.search(r"(^|\.)parametrizations\.\w+\.original0$", name) is not None


class StandardizedWeight(nn.Module):
    """``w = gain * (v - mean v) / sqrt(var v + eps)``, over all inputs of an output, with ``gain`` a constant."""

    def __init__(self, eps: float, gain: float, axis: int = 0) -> None:
        super().__init__()
        self.eps, self.gain, self.axis = eps, gain, axis

    def extra_repr(self) -> str:
        return f"eps={self.eps}, gain={self.gain:.6g}"

    def forward(self, weight: Tensor) -> Tensor:
        axes = tuple(axis for axis in range(weight.ndim) if axis != self.axis)
        var, mean = torch.var_mean(weight, axes, correction=0, keepdim=True)
        return self.gain * (weight - mean) * torch.rsqrt(var + self.eps)


def standardize_weights(
    network: nn.Module,
    eps: float = 1e-5,
    scaled: bool = False,
    activation_gain: float = 1.7139,
    skip_output: bool = True,
) -> nn.Module:
    """Weight standardization (Qiao et al., 2019, arXiv 1903.10520), to be combined with group norm.

        w = gain * (v - mean v) / sqrt(var v + eps)         over all inputs of an output, gain 1 unless `scaled`

    Args:
        network: changed in place and returned.
        eps: added to the variance of the weights.
        scaled: also divide by the root of the number of inputs and multiply by `activation_gain`, which keeps the
            variance of activations without any norm (Brock, De and Smith, 2021, arXiv 2101.08692).
        activation_gain: sqrt(2 / (1 - 1 / pi)) for ReLU.
        skip_output: leave the last linear layer as it is.

    Raises:
        ValueError: weights whose outputs have one input each, which could only become 0, or a network without weights
            that it could act on.
    """
    for weight in weights_to_change(network, skip_output):
        if weight.fan_in < 2:
            raise ValueError(
                f"weights can be standardized over at least 2 inputs, {weight.called(network)} has {weight.fan_in} an "
                f"output; use another norm"
            )
        gain = activation_gain / weight.fan_in**0.5 if scaled else 1.0
        parametrize.register_parametrization(
            weight.layer, weight.name, StandardizedWeight(eps, gain, weight.axis)
        )
    return network
