"""The layers of a network that have weights, in the order of the forward pass."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from normlab.evaluation.batch_loss import buffers_of
from normlab.models.recognize import looks_like_norm
from normlab.norms.parameters import norm_parameters


@dataclass(frozen=True)
class WeightLayer:
    """A layer with weights, such as a convolution.

    Attributes:
        name: its name in the network; empty for the network itself.
        parameters: names of its own trained parameters: weights and bias.
        weights: names of those among them that are weights.
        preceding: names of the trained parameters of everything before it, norms
            included.
    """

    name: str
    parameters: tuple[str, ...]
    weights: tuple[str, ...]
    preceding: tuple[str, ...]


def weight_layers(network: nn.Module, inputs: Tensor) -> list[WeightLayer]:
    """List the layers with trained weights in the order in which they are called.

    A weight is a parameter of rank 2 or more that no norm owns, see `norm_parameters`.
    Layers that are not called for the inputs are left out.

    Args:
        network: it is called once and left as it was.
        inputs: a batch ``(N, ...)``.
    """
    layers = []
    before: list[str] = []
    of_norms = norm_parameters(network)
    for name, module in called_modules(network, inputs):
        own = _own_parameters(name, module)
        weights = []
        for key in own:
            value = network.get_parameter(key)
            if value.ndim >= 2 and value not in of_norms:
                weights.append(key)
        if weights and not _is_norm(module):
            layer = WeightLayer(name, tuple(own), tuple(weights), tuple(before))
            layers.append(layer)
        before += own
    return layers


def _is_norm(module: nn.Module) -> bool:
    """Whether a module is a norm; what names weight matrices is none."""
    return looks_like_norm(module) and not hasattr(module, "weight_matrices")


def called_modules(network: nn.Module, inputs: Tensor) -> list[tuple[str, nn.Module]]:
    """Modules by name in the order of their first calls.

    The parametrizations of weights are no modules of their own.

    Args:
        network: it is called once and left as it was.
        inputs: a batch ``(N, ...)``.
    """
    names = {id(module): name for name, module in network.named_modules()}
    called: dict[int, nn.Module] = {}

    def note(module: nn.Module, arguments: tuple) -> None:
        called.setdefault(id(module), module)

    handles = []
    for module in network.modules():
        handles.append(module.register_forward_pre_hook(note))
    try:
        with torch.no_grad(), torch.random.fork_rng():
            functional_call(network, buffers_of(network), (inputs,))
    finally:
        for handle in handles:
            handle.remove()
    found = []
    for key, module in called.items():
        name = names[key]
        if ".parametrizations." not in f".{name}":
            found.append((name, module))
    return found


def _own_parameters(name: str, module: nn.Module) -> list[str]:
    """Names of a module's own trained parameters; a reparametrized weight is one."""
    own = dict(module.named_parameters(name, recurse=False))
    parametrizations = getattr(module, "parametrizations", None)
    if isinstance(parametrizations, nn.ModuleDict):
        prefix = f"{name}.parametrizations".lstrip(".")
        own |= dict(parametrizations.named_parameters(prefix))
    return [key for key, value in own.items() if value.requires_grad]
