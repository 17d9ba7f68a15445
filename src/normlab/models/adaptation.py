"""Adapt a network of another library: its weights, first layer, last layer, scales."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from normlab.models.recognize import Weights, is_global_response, looks_like_norm
from normlab.models.weights import (
    check_architecture,
    shared_input,
    weights_from_file,
    with_counters,
)


def load_file(network: nn.Module, path: str, name: str) -> None:
    """Load weights from a file.

    Auxiliary heads, which only training uses, are left out. An output layer of another
    width keeps the weights that it has. A first convolution with another number of
    channels gets the sum of the weights over the inputs, divided among its channels.

    Args:
        network: the network to fill.
        path: of the file.
        name: of the network, for messages.

    Raises:
        ValueError: the file is missing or unreadable, or holds weights of another
            architecture.
    """
    own = network.state_dict()
    stored = {
        key: value
        for key, value in weights_from_file(path).items()
        if not key.lower().startswith("aux")
    }
    weights = with_counters(stored, own)
    _share_input(weights, network)
    _, output = last_weights(network)
    keys = {parameter: key for key, parameter in network.named_parameters()}
    for parameter in output.parameters():
        key = keys[parameter]
        if key in weights and weights[key].shape != parameter.shape:
            weights[key] = own[key]

    check_architecture(weights, own, name, path, exact=True)
    network.load_state_dict(weights)


def adapt_input(network: nn.Module, channels: int, keep_weights: bool) -> None:
    """Give the first 2d convolution `channels` input channels.

    Args:
        network: the network, which is changed in place.
        channels: number of channels of the images.
        keep_weights: whether to sum the weights over the old inputs and divide them
            among the new ones. Otherwise the convolution starts from new weights.
    """
    found = first_convolution(network)
    if found is None:
        return
    name, layer = found
    if layer.in_channels == channels:
        return
    new = copied_with(layer, channels=channels)
    if keep_weights:
        weight = shared_input(layer.weight, channels)
        new.load_state_dict(layer.state_dict() | {"weight": weight})
    network.set_submodule(name, new)


def first_convolution(network: nn.Module) -> tuple[str, nn.Conv2d] | None:
    """Find the first 2d convolution of a network and its name; None if it has none."""
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d):
            return name, layer
    return None


def _share_input(weights: dict[str, Tensor], network: nn.Module) -> None:
    """Adapt the stored weight of the first convolution to the channels it has here."""
    found = first_convolution(network)
    if found is None:
        return
    name, layer = found
    key = f"{name}.weight"
    own_shape = layer.weight.shape
    if key not in weights or weights[key].ndim != len(own_shape):
        return
    outputs, _, *kernel_size = weights[key].shape
    if [outputs, *kernel_size] == [own_shape[0], *own_shape[2:]]:
        weights[key] = shared_input(weights[key], own_shape[1])


def last_weights(network: nn.Module) -> tuple[str, Weights]:
    """Find the output layer: the last linear layer or convolution.

    Returns:
        Its name in the network, and the layer.
    """
    found = [
        (name, layer)
        for name, layer in network.named_modules()
        if isinstance(layer, Weights)
    ]
    return found[-1]


def copied_with(
    layer: Weights, channels: int | None = None, num_outputs: int | None = None
) -> Weights:
    """Build a layer with the settings of another, and new weights.

    Args:
        layer: a linear layer or convolution.
        channels: new number of inputs; None keeps it.
        num_outputs: new number of outputs; None keeps it.
    """
    bias = layer.bias is not None
    if isinstance(layer, nn.Linear):
        return nn.Linear(
            channels or layer.in_features, num_outputs or layer.out_features, bias
        )
    convolution: Callable[..., Weights] = type(layer)
    return convolution(
        channels or layer.in_channels,
        num_outputs or layer.out_channels,
        layer.kernel_size,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        groups=layer.groups,
        bias=bias,
    )


@torch.no_grad()
def start_scales_at_one(network: nn.Module) -> None:
    """Set the scale of norms that start at 0 to 1.

    timm starts the last norm of each residual block at 0, so that the block outputs
    nothing at first. Without a norm that is impossible, so the arms of a comparison
    would start as different functions. A global response norm is the identity at scale
    0, and stays so.
    """
    for layer in network.modules():
        if not looks_like_norm(layer) or is_global_response(layer):
            continue
        scale = getattr(layer, "weight", None)
        if isinstance(scale, nn.Parameter) and not scale.is_meta and not scale.any():
            nn.init.ones_(scale)
