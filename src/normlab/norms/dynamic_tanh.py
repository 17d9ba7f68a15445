"""Dynamic tanh, a squashing function that takes the place of a norm."""

import torch
from torch import Tensor, nn

from normlab.norms.functional import per_channel
from normlab.norms.shapes import check_dim, check_input


class DynamicTanh(nn.Module):
    r"""Squash every value by a tanh with a learned slope, without any statistics.

    .. math:: y_{ncp} = \tanh(\alpha \, x_{ncp}) \, \gamma_c + \beta_c

    - :math:`x`, ``(N, C, ...)``: the input, with sample n, channel c and position p.
    - :math:`\alpha`, ``(1,)``: the learned slope `alpha`, one per layer.
    - :math:`\gamma, \beta`, ``(C,)``: learned scale `weight` and shift `bias`.

    Training and evaluation are the same.

    Use it in transformers in the place of layer norm. In convolutional networks the
    paper finds it worse than batch norm.

    Args:
        num_features: number of channels C.
        dim: 1, 2 or 3, see `BatchNorm`.
        alpha: initial value of the learned slope.

    Raises:
        ValueError: from the constructor for an unknown `dim`; from the call for input
            of another rank or number of channels.

    References:
        Zhu, Chen, He, LeCun and Liu, "Transformers without Normalization", 2025,
        arXiv 2503.10622.
    """

    batch_dependent = False
    includes_activation = False

    def __init__(
        self,
        num_features: int,
        dim: int,
        alpha: float = 0.5,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.dim = check_dim(dim)
        self.initial_alpha = alpha
        self.alpha = nn.Parameter(torch.full((1,), float(alpha)))
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))

    def reset_parameters(self) -> None:
        """Set the slope to its initial value, scale to 1 and shift to 0."""
        nn.init.constant_(self.alpha, self.initial_alpha)
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Squash ``(N, C, ...)``; the output has the same shape and type."""
        check_input(input, self.num_features, self.dim)
        weight = per_channel(self.weight, input.ndim)
        bias = per_channel(self.bias, input.ndim)
        y = torch.tanh(self.alpha * input)
        y = y * weight + bias
        return y.to(input.dtype)

    def extra_repr(self) -> str:
        return f"{self.num_features}, dim={self.dim}, alpha={self.initial_alpha}"
