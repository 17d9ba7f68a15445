"""Adaptive clipping: gradients that are long beside the weights they belong to."""

import torch
from torch import Tensor, nn

SMALLEST_WEIGHTS = 1e-3  # norms of weights below it count as this, so that zeros move
SMALLEST_GRADIENT = 1e-6  # against division by zero


@torch.no_grad()
def clip_adaptively(network: nn.Module, limit: float) -> None:
    r"""Shorten the gradient of every output whose weights are short beside it.

    .. math:: g_o \leftarrow g_o \, \min\left( 1, \,
              \lambda \, \frac{\max(\lVert w_o \rVert, 10^{-3})}
              {\lVert g_o \rVert} \right)

    - :math:`w_o, g_o`: the weights of output o of a layer, which lie along all axes but
      the first, and their gradient. A tensor with one axis, such as a bias, counts as
      one output.
    - :math:`\lambda`: the limit.

    The last linear layer, which makes the predictions, is left alone.

    Args:
        network: its parameters with gradients are the ones that are clipped.
        limit: largest norm of a gradient, as a share of that of its weights; 0.01 in
            the paper.

    References:
        Brock, De, Smith and Simonyan, "High-Performance Large-Scale Image Recognition
        Without Normalization", 2021, arXiv 2102.06171.
    """
    left_alone = set(output_parameters(network))
    for parameter in network.parameters():
        gradient = parameter.grad
        if gradient is None or parameter in left_alone:
            continue
        largest = limit * norm_of_outputs(parameter).clamp_min(SMALLEST_WEIGHTS)
        length = norm_of_outputs(gradient).clamp_min(SMALLEST_GRADIENT)
        share = (largest / length).clamp_max(1)
        gradient.mul_(share)


def output_parameters(network: nn.Module) -> list[nn.Parameter]:
    """The parameters of the last linear layer."""
    linear = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    if not linear:
        return []
    return list(linear[-1].parameters())


def norm_of_outputs(values: Tensor) -> Tensor:
    """The norm of every output, shaped to broadcast to the values."""
    if values.ndim <= 1:
        return values.norm()
    axes = tuple(range(1, values.ndim))
    return torch.linalg.vector_norm(values, dim=axes, keepdim=True)
