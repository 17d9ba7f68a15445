"""Fold batch norms into the layers before them.

In evaluation a batch norm multiplies each channel by a number and adds another,

    y = a x + b,  a = weight / sqrt(running_var + eps),  b = bias - a running_mean,

and a linear layer or convolution can do that itself: its weights are multiplied by
``a``, and its bias becomes ``a bias + b``. A norm that does not centre has a
`running_mean_square` instead, and no mean. What a norm is, is measured and not judged
by its class: any layer that computes this is folded.
"""

from collections import Counter
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from normlab.models.recognize import looks_like_norm

TOLERANCE = 1e-9  # relative, of outputs in float64
Affine = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d


@dataclass(frozen=True)
class Fold:
    """What happened to one norm.

    Attributes:
        name: of the norm in the network.
        into: name of the layer that took it over; None if it stays.
        why: why it stays.
    """

    name: str
    into: str | None = None
    why: str = ""


@dataclass
class _Call:
    """The inputs and outputs of a norm in one pass through the network.

    Attributes:
        source: name of the layer whose output it got; None for another input.
        inputs: what it got.
        outputs: what it returned.
        count: how often it was called.
    """

    source: str | None
    inputs: Tensor
    outputs: Tensor
    count: int = 1


@torch.no_grad()
def fold_norms(network: nn.Module, inputs: Tensor) -> tuple[nn.Module, list[Fold]]:
    """Return a copy of a network without the norms that the layers before can do.

    Args:
        network: in evaluation mode; it is not changed.
        inputs: some inputs ``(N, ...)``, by which the norms are followed and the result
            is checked.

    Returns:
        The copy, and one row per norm.
    """
    network = network.eval()
    exact = _with_plain_weights(deepcopy(network).double())
    inputs = inputs.double()
    expected = exact(inputs)
    folds = []
    names = [name for name, layer in exact.named_modules() if looks_like_norm(layer)]
    for name in _innermost(names):
        folded, fold = _folded(exact, name, inputs)
        if fold.into is not None and not _agree(expected, folded(inputs)):
            fold = Fold(name, None, f"other layers read the output of {fold.into} too")
        if fold.into is not None:
            exact = folded
        folds.append(fold)
    return _as_before(exact, network), folds


def _with_plain_weights(network: nn.Module) -> nn.Module:
    """Store the weights that norms on weights compute, in place of those norms.

    `remove_parametrizations` of PyTorch is no way to do so: it changes the class of the
    layer, which a copy shares with its original.
    """
    layers: list[Any] = list(network.modules())
    for layer in layers:
        if not parametrize.is_parametrized(layer):
            continue
        weights = {name: getattr(layer, name) for name in layer.parametrizations}
        layer.__class__ = parametrize.type_before_parametrizations(layer)
        del layer.parametrizations
        for name, weight in weights.items():
            layer.register_parameter(name, nn.Parameter(weight))
    return network


def _innermost(names: list[str]) -> list[str]:
    """Names of norms without those of wrappers around them."""
    return [
        name
        for name in names
        if not any(other.startswith(f"{name}.") for other in names)
    ]


def _agree(expected: Tensor, found: Tensor) -> bool:
    largest = expected.abs().max().clamp_min(1e-30)
    return bool((expected - found).abs().max() <= TOLERANCE * largest)


def _as_before(exact: nn.Module, network: nn.Module) -> nn.Module:
    """The network in the types that its parameters and buffers had."""
    types = {name: value.dtype for name, value in network.state_dict().items()}
    default = next((t for t in types.values() if t.is_floating_point), torch.float32)
    return exact.to(default)


def _folded(network: nn.Module, name: str, inputs: Tensor) -> tuple[nn.Module, Fold]:
    """A copy of a network with one norm folded, if that is possible."""
    norm = network.get_submodule(name)
    factors = _factors(norm)
    if factors is None:
        return network, Fold(name, None, "it keeps no running statistics")
    call = _follow(network, name, inputs)
    if call is None or call.count > 1:
        return network, Fold(name, None, "it is not called once")
    if call.source is None:
        return network, Fold(name, None, "no linear layer or convolution is before it")
    scale, shift = factors
    source: Any = network.get_submodule(call.source)
    if len(scale) != len(source.weight):
        why = f"it does not normalize the channels of {call.source}"
        return network, Fold(name, None, why)
    shape = [1, -1, *[1] * (call.inputs.ndim - 2)]
    computed = call.inputs * scale.view(shape) + shift.view(shape)
    if not _agree(call.outputs, computed):
        return network, Fold(name, None, "it does more than scale and shift channels")

    copy = deepcopy(network)
    _absorb(copy.get_submodule(call.source), scale, shift)
    copy.set_submodule(name, nn.Identity())
    return copy, Fold(name, call.source)


def _factors(norm: Any) -> tuple[Tensor, Tensor] | None:
    """By what a batch norm multiplies each channel, and what it adds."""
    mean: Any = getattr(norm, "running_mean", None)
    variance: Any = getattr(norm, "running_var", None)
    mean_square: Any = getattr(norm, "running_mean_square", None)
    if isinstance(mean_square, Tensor):
        variance = mean_square
        mean = torch.zeros_like(variance)
    eps: Any = getattr(norm, "eps", None)
    is_known = isinstance(mean, Tensor) and isinstance(variance, Tensor)
    if not is_known or not isinstance(eps, float) or mean.ndim != 1:
        return None
    scale = (variance + eps).rsqrt()
    if isinstance(getattr(norm, "weight", None), Tensor):
        scale = scale * norm.weight
    shift = -mean * scale
    if isinstance(getattr(norm, "bias", None), Tensor):
        shift = shift + norm.bias
    return scale, shift


def _follow(network: nn.Module, name: str, inputs: Tensor) -> _Call | None:
    """Record what a norm gets and returns; None if it is not called."""
    # The outputs are kept, so that Python does not give their ids to later tensors.
    sources: dict[int, tuple[str, Tensor]] = {}
    uses: Counter[str] = Counter()
    call: _Call | None = None

    def remember(layer_name: str, layer: nn.Module, output: Tensor) -> None:
        uses[layer_name] += 1
        sources[id(output)] = (layer_name, output)

    def record(layer: nn.Module, given: tuple, output: Tensor) -> None:
        nonlocal call
        if call is not None:
            call.count += 1
            return
        x = given[0]
        if x._base is not None and x._base.numel() == x.numel():
            x = x._base  # x is a view of all of it, such as a permutation
        source, _ = sources.get(id(x), (None, x))
        call = _Call(source, given[0].clone(), output.clone())

    with ExitStack() as hooks:
        for layer_name, layer in network.named_modules():
            if isinstance(layer, Affine) and "weight" in layer._parameters:
                handle = layer.register_forward_hook(
                    lambda layer, _, output, layer_name=layer_name: remember(
                        layer_name, layer, output
                    )
                )
                hooks.callback(handle.remove)
        handle = network.get_submodule(name).register_forward_hook(record)
        hooks.callback(handle.remove)
        network(inputs)
    if call is not None and call.source is not None and uses[call.source] > 1:
        call.source = None
    return call


def _absorb(layer: Any, scale: Tensor, shift: Tensor) -> None:
    """Let a linear layer or convolution scale and shift its output channels."""
    shape = [-1, *[1] * (layer.weight.ndim - 1)]
    layer.weight.copy_(layer.weight * scale.view(shape))
    if layer.bias is None:
        layer.bias = nn.Parameter(torch.zeros_like(shift))
    layer.bias.copy_(layer.bias * scale + shift)
