"""Norms that act on weights instead of activations: the whole network is changed once, after it is built."""

import re

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

WEIGHTS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def weight_layers(network: nn.Module, skip_output: bool) -> list[nn.Module]:
    """Linear layers and convolutions in the order of the network.

    Args:
        network: any module.
        skip_output: without the last linear layer, which makes the predictions.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, WEIGHTS)]
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    return [layer for layer in layers if not (skip_output and linear and layer is linear[-1])]


def normalize_weights(network: nn.Module, skip_output: bool = False) -> nn.Module:
    """Weight normalization (Salimans and Kingma, 2016, arXiv 1602.07868): ``w = g * v / |v|``, a g for every output.

    PyTorch's parametrization; the network computes what it did before.

    Args:
        network: changed in place and returned.
        skip_output: leave the last linear layer as it is.
    """
    for layer in weight_layers(network, skip_output):
        parametrizations.weight_norm(layer, dim=0)
    return network


def is_length(name: str) -> bool:
    """Whether a parameter of this name is the g of `normalize_weights`, a scale for every output."""
    return re.search(r"(^|\.)parametrizations\.\w+\.original0$", name) is not None


class StandardizedWeight(nn.Module):
    """``w = gain * (v - mean v) / sqrt(var v + eps)``, over all inputs of an output, with ``gain`` a constant."""

    def __init__(self, eps: float, gain: float) -> None:
        super().__init__()
        self.eps, self.gain = eps, gain

    def extra_repr(self) -> str:
        return f"eps={self.eps}, gain={self.gain:.6g}"

    def forward(self, weight: Tensor) -> Tensor:
        axes = tuple(range(1, weight.ndim))
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
        ValueError: a layer whose outputs have one input each, which could only become 0.
    """
    for layer in weight_layers(network, skip_output):
        fan_in = layer.weight[0].numel()
        if fan_in < 2:
            raise ValueError(f"weights can be standardized over at least 2 inputs, {layer} has {fan_in} an output")
        gain = activation_gain / fan_in**0.5 if scaled else 1.0
        parametrize.register_parametrization(layer, "weight", StandardizedWeight(eps, gain))
    return network
