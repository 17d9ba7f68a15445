"""One switch for the biases before norms, which a norm that subtracts the mean makes redundant."""

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn
from torch.func import functional_call

from normlab.models.recognize import looks_like_norm
from normlab.models.swap import WEIGHTS, Swap


def fixed_bias(model: type, bias: bool, only: bool, reason: str) -> None:
    """Refuse `bias` where a model leaves no choice.

    Args:
        model: class of the model, for the message.
        bias: as configured.
        only: what the model can do.
        reason: why.

    Raises:
        ValueError: names model and reason.
    """
    if bias is not only:
        raise ValueError(
            f"model.bias must be {str(only).lower()} for {model.__name__}: {reason}"
        )


def weights_before_norms(
    network: nn.Module, input_shape: Sequence[int], name: str
) -> list[nn.Module]:
    """Linear layers and convolutions whose output a norm gets as it is, or with its axes in another order.

    Found by passing the shapes of one batch through the network, without computing anything.

    Args:
        network: with its own norms.
        input_shape: of one sample.
        name: of the network, for messages.

    Raises:
        ValueError: the network does not run without values.
    """
    made, found = {}, []

    def remember(layer: nn.Module, inputs: tuple, output: Tensor) -> None:
        made[id(output)] = (layer, output)  # keeping the output keeps its id its own

    def look_up(norm: nn.Module, inputs: tuple) -> None:
        x = inputs[0]
        base = x._base if x._base is not None and x._base.numel() == x.numel() else x
        if id(base) in made:
            found.append(made[id(base)][0])

    with ExitStack() as hooks:
        for layer in network.modules():
            if isinstance(layer, WEIGHTS):
                hooks.callback(layer.register_forward_hook(remember).remove)
            elif looks_like_norm(layer):
                hooks.callback(layer.register_forward_pre_hook(look_up).remove)
        _run_without_values(network, input_shape, name)
    return list(dict.fromkeys(found))


def inserted_weights(network: nn.Module, swaps: Sequence[Swap]) -> list[nn.Module]:
    """The layers behind which `insert_norms` put a norm."""
    return [
        network.get_submodule(swap.name)[0] for swap in swaps if swap.kind == "inserted"
    ]


def set_bias(
    layers: Sequence[nn.Module], bias: bool, pretrained: bool, name: str
) -> None:
    """Give every layer a bias of zeros unless it has one, or take it away.

    Args:
        layers: those before norms.
        bias: whether they have one.
        pretrained: their weights were trained, with the biases that they have.
        name: of the network, for messages.

    Raises:
        ValueError: no layers, or biases that were trained would be taken away.
    """
    if not layers:
        raise ValueError(
            f"model.bias must be null for {name}: none of its norms gets the output of weights directly"
        )
    if pretrained and not bias and any(layer.bias is not None for layer in layers):
        raise ValueError(
            f"model.pretrained brings biases to {name}: set model.bias=true or null"
        )
    for layer in layers:
        if not bias:
            layer.bias = None
        elif layer.bias is None:
            layer.bias = nn.Parameter(layer.weight.new_zeros(_outputs(layer)))


def _outputs(layer: nn.Module) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


@torch.no_grad()
def _run_without_values(
    network: nn.Module, input_shape: Sequence[int], name: str
) -> None:
    state = {
        key: value.to("meta")
        for key, value in [*network.named_parameters(), *network.named_buffers()]
    }
    training = network.training
    try:
        functional_call(
            network.eval(), state, (torch.empty(2, *input_shape, device="meta"),)
        )
    except (RuntimeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"model.bias must be null for {name}, whose layers cannot be followed: {reason}"
        ) from error
    finally:
        network.train(training)
