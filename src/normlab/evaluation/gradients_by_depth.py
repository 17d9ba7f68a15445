"""The size of gradients by depth, before training.

Yang, Pennington, Rao, Sohl-Dickstein and Schoenholz, "A mean field theory of batch
normalization", 2019, arXiv 1902.08129, theorem 8.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
from torch import Tensor, nn

from normlab.data.blocks import Block
from normlab.evaluation.batch_loss import BatchLoss, buffers_of, trained_parameters
from normlab.evaluation.weight_layers import WeightLayer

# By which factor the squared gradient grows per layer, towards the inputs, in a wide
# network of linear layers, batch norm and ReLU, in the limit of large batches.
RELU_GROWTH = math.pi / (math.pi - 1)  # 1.467


def linear_growth(batch_size: int) -> float:
    """The same factor for a network without activations: (B - 2) / (B - 3)."""
    return (batch_size - 2) / (batch_size - 3)


def squared_gradients_by_depth(
    network: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    batches: Iterable[Block],
    layers: Sequence[WeightLayer],
    context: Callable[[], AbstractContextManager] = nullcontext,
) -> np.ndarray:
    """Squared norms of the gradients of the outputs of layers, before their norms.

    Args:
        network: the network, in training mode; it is left as it was.
        loss: from predictions and targets to a mean over the batch.
        batches: blocks of one batch each.
        layers: layers of the network.
        context: a maker of contexts around forward passes.

    Returns:
        ``(len(layers),)``: the mean over batches of the sum over all samples, features
        and calls of the layer.
    """
    squares: dict[str, float] = {layer.name: 0.0 for layer in layers}
    handles = []
    for layer in layers:
        module = network.get_submodule(layer.name)
        handles.append(module.register_forward_hook(_recorder(squares, layer.name)))
    num_batches = 0
    try:
        for batch in batches:
            batch_loss = BatchLoss(
                network, loss, *batch[:2], buffers_of(network), context
            )
            batch_loss.gradient(trained_parameters(network))
            num_batches += 1
    finally:
        for handle in handles:
            handle.remove()
    return np.array(list(squares.values())) / num_batches


def _recorder(squares: dict[str, float], name: str) -> Callable:
    """A hook that adds the squared gradient of a layer's output to a sum."""

    def add(gradient: Tensor) -> None:
        squares[name] += float(gradient.double().square().sum())

    def record(module: nn.Module, arguments: tuple, output: Tensor | tuple) -> None:
        tensor = output[0] if isinstance(output, tuple) else output
        if tensor.requires_grad:
            tensor.register_hook(add)

    return record


def growth_per_layer(squares: np.ndarray) -> float:
    """By which factor squared gradients grow from one layer to the one before it.

    It is the least squares fit of a constant factor.

    Args:
        squares: by depth, from the first layer to the last.

    Returns:
        The factor; NaN for fewer than two layers, and if a gradient vanishes.
    """
    if len(squares) < 2 or not (squares > 0).all() or not np.isfinite(squares).all():
        return float("nan")
    depths = np.arange(len(squares))
    slope = np.polyfit(depths, np.log(squares), 1)[0]
    return float(np.exp(-slope))
