"""Dynamic erf, a squashing function that takes the place of a norm."""

import torch
from torch import Tensor, nn

from normlab.norms.functional import per_channel, statistics_dtype
from normlab.norms.shapes import check_dim, check_input


class DynamicErf(nn.Module):
    r"""Squash every value by an error function with a learned slope and shift.

    .. math::

        y_{ncp} = \operatorname{erf}(\alpha \, x_{ncp} + s) \, \gamma_c + \beta_c
        \qquad
        \operatorname{erf}(z) = \frac{2}{\sqrt{\pi}} \int_0^z e^{-t^2} \, dt

    - :math:`x`, ``(N, C, ...)``: the input, with sample n, channel c and position p.
    - :math:`\alpha, s`, ``(1,)``: the learned slope `alpha` and the learned shift
      `shift` of the argument, one of each per layer.
    - :math:`\gamma, \beta`, ``(C,)``: learned scale `weight` and shift `bias`.

    There are no statistics. Training and evaluation are the same.

    Use it in transformers in the place of layer norm, as dynamic tanh.

    Args:
        num_features: number of channels C.
        dim: 1, 2 or 3, see `BatchNorm`.
        alpha: initial value of the learned slope.
        shift: initial value of the learned shift of the argument.

    Raises:
        ValueError: from the constructor for an unknown `dim`; from the call for input
            of another rank or number of channels.

    References:
        Chen, Lu, Zhu, Sun and Liu, "Stronger Normalization-Free Transformers", 2025,
        arXiv 2512.10938.
    """

    batch_dependent = False
    includes_activation = False

    def __init__(
        self,
        num_features: int,
        dim: int,
        alpha: float = 0.5,
        shift: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.dim = check_dim(dim)
        self.initial_alpha = alpha
        self.initial_shift = shift
        self.alpha = nn.Parameter(torch.full((1,), float(alpha)))
        self.shift = nn.Parameter(torch.full((1,), float(shift)))
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))

    def reset_parameters(self) -> None:
        """Set slope and shift of the argument to their options, and scale to 1."""
        nn.init.constant_(self.alpha, self.initial_alpha)
        nn.init.constant_(self.shift, self.initial_shift)
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Squash ``(N, C, ...)``; the output has the same shape and type."""
        check_input(input, self.num_features, self.dim)
        x = input.to(statistics_dtype(input.dtype))
        weight = per_channel(self.weight, input.ndim)
        bias = per_channel(self.bias, input.ndim)
        y = torch.erf(self.alpha * x + self.shift)
        y = y * weight + bias
        return y.to(input.dtype)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, dim={self.dim}, alpha={self.initial_alpha}, "
            f"shift={self.initial_shift}"
        )
