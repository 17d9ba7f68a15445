"""Self-rescaled dynamic normalization: root mean square norm with a moving scale."""

import torch
from torch import Tensor, nn

from normlab.norms.functional import per_channel, statistics_dtype
from normlab.norms.shapes import check_channels, check_dim, check_input


class SeeDNorm(nn.Module):
    r"""Root mean square norm whose scale depends on the input.

    .. math::

        y_{ncp} = \bigl(\tanh(s_{np}) \, \alpha_c + \gamma_c\bigr)
                  \frac{x_{ncp}}{\sqrt{\nu_{np}^2 + \epsilon}}
        \qquad
        s_{np} = \sum_c \beta_c \, x_{ncp}
        \qquad
        \nu_{np}^2 = \frac{1}{C} \sum_c x_{ncp}^2

    - :math:`x`, ``(N, C, ...)``: the input, with sample n, channel c and position p.
    - :math:`s`, ``(N, ...)``: what the layer reads off the channels of one position. It
      is not normalized, so that the length of the input is not lost.
    - :math:`\nu^2`, ``(N, ...)``: mean of the squares over the C channels of one
      position of one sample.
    - :math:`\beta`, ``(C,)``: the learned direction `direction`, at first 0. The layer
      therefore begins as root mean square norm.
    - :math:`\alpha`, ``(C,)``: the learned strength `alpha`, at first 1.
    - :math:`\gamma`, ``(C,)``: learned scale `weight`, at first 1.

    Training and evaluation are the same. This is the form with one head.

    Use it in transformers in the place of root mean square norm.

    Args:
        num_features: number of channels C, at least 2.
        dim: 1, 2 or 3, see `BatchNorm`.
        eps: added to the mean square, against division by zero.

    Raises:
        ValueError: from the constructor for an unknown `dim` or for one channel; from
            the call for input of another rank or number of channels.

    References:
        Cai, Zhu, Liu and Min, "SeeDNorm: Self-Rescaled Dynamic Normalization", 2025,
        arXiv 2510.22777.
    """

    batch_dependent = False
    includes_activation = False

    def __init__(self, num_features: int, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.num_features = check_channels(num_features, "self-rescaled norm")
        self.dim = check_dim(dim)
        self.eps = eps
        self.direction = nn.Parameter(torch.zeros(num_features))
        self.alpha = nn.Parameter(torch.ones(num_features))
        self.weight = nn.Parameter(torch.ones(num_features))

    def reset_parameters(self) -> None:
        """Set the direction to 0, strength and scale to 1."""
        nn.init.zeros_(self.direction)
        nn.init.ones_(self.alpha)
        nn.init.ones_(self.weight)

    def forward(self, input: Tensor) -> Tensor:
        """Normalize ``(N, C, ...)``; the output has the same shape and type."""
        check_input(input, self.num_features, self.dim)
        x = input.to(statistics_dtype(input.dtype))
        direction = per_channel(self.direction, input.ndim)
        alpha = per_channel(self.alpha, input.ndim)
        weight = per_channel(self.weight, input.ndim)
        reading = (x * direction).sum(1, keepdim=True)  # (N, 1, ...)
        mean_square = x.square().mean(1, keepdim=True)
        scale = torch.tanh(reading) * alpha + weight
        y = x * torch.rsqrt(mean_square + self.eps) * scale
        return y.to(input.dtype)

    def extra_repr(self) -> str:
        return f"{self.num_features}, dim={self.dim}, eps={self.eps}"
