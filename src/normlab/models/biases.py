"""One switch for the biases before norms.

A norm that subtracts the mean makes them redundant.
"""

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn
from torch.func import functional_call

from normlab.messages import first_line
from normlab.models.recognize import Weights, looks_like_norm
from normlab.models.swap import Swap


def require_bias(model: type, bias: bool, required: bool, reason: str) -> None:
    """Refuse `bias` in a model that leaves no choice.

    Args:
        model: class of the model, for the message.
        bias: the value that was configured.
        required: the only value that the model supports.
        reason: why the model supports no other value.

    Raises:
        ValueError: `bias` has the other value.
    """
    if bias is not required:
        raise ValueError(
            f"model.bias must be {str(required).lower()} for {model.__name__}: {reason}"
        )


def weights_before_norms(
    network: nn.Module, input_shape: Sequence[int], name: str
) -> list[Weights]:
    """Find the linear layers and convolutions whose output a norm gets directly.

    The output may reach the norm with its axes in another order. The layers are found
    by passing the shapes of one batch through the network, without computing values.

    Args:
        network: a network with its own norms.
        input_shape: shape of one sample.
        name: of the network, for messages.

    Raises:
        ValueError: the network does not run without values.
    """
    # From the id of an output to its layer. Keeping the output itself as well prevents
    # Python from giving its id to a later tensor.
    origins: dict[int, tuple[Weights, Tensor]] = {}
    found: list[Weights] = []

    def remember_output(layer: Weights, inputs: tuple, output: Tensor) -> None:
        origins[id(output)] = (layer, output)

    def look_up_input(norm: nn.Module, inputs: tuple) -> None:
        x = inputs[0]
        if x._base is not None and x._base.numel() == x.numel():
            x = x._base  # x is a view of all of it, such as a permutation
        if id(x) in origins:
            found.append(origins[id(x)][0])

    with ExitStack() as hooks:
        for layer in network.modules():
            if isinstance(layer, Weights):
                handle = layer.register_forward_hook(remember_output)
                hooks.callback(handle.remove)
            elif looks_like_norm(layer):
                handle = layer.register_forward_pre_hook(look_up_input)
                hooks.callback(handle.remove)
        _run_without_values(network, input_shape, name)
    return list(dict.fromkeys(found))


def inserted_weights(network: nn.Module, swaps: Sequence[Swap]) -> list[Weights]:
    """Return the layers after which `insert_norms` put a norm."""
    layers = []
    for swap in swaps:
        if swap.kind != "inserted":
            continue
        chain = network.get_submodule(swap.name)  # Sequential of weights and norm
        layers += [layer for layer in chain.children() if isinstance(layer, Weights)]
    return layers


def set_bias(
    layers: Sequence[Weights], bias: bool, pretrained: bool, name: str
) -> None:
    """Give every layer a bias, or take it away.

    Args:
        layers: the layers before norms.
        bias: whether the layers shall have biases. New ones start at zero; those that
            exist keep their values.
        pretrained: whether the layers were trained, with the biases that they have.
        name: of the network, for messages.

    Raises:
        ValueError: there are no layers, or trained biases would be taken away.
    """
    if not layers:
        raise ValueError(
            f"model.bias must be null for {name}: "
            "none of its norms gets the output of weights directly"
        )
    if pretrained and not bias and any(layer.bias is not None for layer in layers):
        raise ValueError(
            f"model.pretrained brings biases to {name}: set model.bias=true or null"
        )
    for layer in layers:
        if not bias:
            layer.register_parameter("bias", None)
        elif layer.bias is None:
            zeros = layer.weight.new_zeros(_num_outputs(layer))
            layer.register_parameter("bias", nn.Parameter(zeros))


def _num_outputs(layer: Weights) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


@torch.no_grad()
def _run_without_values(
    network: nn.Module, input_shape: Sequence[int], name: str
) -> None:
    """Run the network once in evaluation mode, on tensors that have a shape only."""
    tensors = [*network.named_parameters(), *network.named_buffers()]
    state = {key: value.to("meta") for key, value in tensors}
    batch = torch.empty(2, *input_shape, device="meta")
    training = network.training
    try:
        functional_call(network.eval(), state, (batch,))
    except (RuntimeError, NotImplementedError) as error:
        raise ValueError(
            f"model.bias must be null for {name}, "
            f"whose layers cannot be followed: {first_line(error)}"
        ) from error
    finally:
        network.train(training)
