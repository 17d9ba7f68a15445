"""Bounded hyperbolic tangent: a squashed root mean square norm."""

import torch
from torch import Tensor, nn

from normlab.norms.functional import per_channel, statistics_dtype
from normlab.norms.shapes import check_channels, check_dim, check_input


class BoundedTanh(nn.Module):
    r"""Divide by the root mean square of the channels, and squash what results.

    .. math::

        y_{ncp} = \tanh\left(\lambda \,
                  \frac{x_{ncp}}{\sqrt{\nu_{np}^2 + \epsilon}}\right) \gamma_c
        \qquad
        \nu_{np}^2 = \frac{1}{C} \sum_c x_{ncp}^2

    - :math:`x`, ``(N, C, ...)``: the input, with sample n, channel c and position p.
    - :math:`\nu^2`, ``(N, ...)``: mean of the squares over the C channels of one
      position of one sample.
    - :math:`\lambda`: the fixed slope `slope`.
    - :math:`\gamma`, ``(C,)``: learned scale `weight`.

    No value gets larger than the scale of its channel, however large the input is. The
    root mean square of what enters the tanh is always the slope, so that most values
    stay where the tanh is steep. Training and evaluation are the same. To save time,
    the paper estimates the variance in the second norm of a block; this layer computes
    it.

    Use it in transformers in the place of root mean square norm.

    Args:
        num_features: number of channels C, at least 2.
        dim: 1, 2 or 3, see `BatchNorm`.
        slope: the factor in front of the normalized values.
        eps: added to the mean square, against division by zero.

    Raises:
        ValueError: from the constructor for an unknown `dim` or for one channel; from
            the call for input of another rank or number of channels.

    References:
        Byun, Choi, Kim, Park and Song, "Bounded Hyperbolic Tangent: A Stable and
        Efficient Alternative to Pre-Layer Normalization in Large Language Models",
        2025, arXiv 2601.09719.
    """

    batch_dependent = False
    includes_activation = False

    def __init__(
        self,
        num_features: int,
        dim: int,
        slope: float = 2.0,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.num_features = check_channels(num_features, "bounded tanh")
        self.dim = check_dim(dim)
        self.slope = slope
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(num_features))

    def reset_parameters(self) -> None:
        """Set the scale to 1."""
        nn.init.ones_(self.weight)

    def forward(self, input: Tensor) -> Tensor:
        """Normalize and squash ``(N, C, ...)``; output of the same shape and type."""
        check_input(input, self.num_features, self.dim)
        x = input.to(statistics_dtype(input.dtype))
        mean_square = x.square().mean(1, keepdim=True)
        weight = per_channel(self.weight, input.ndim)
        normalized = x * torch.rsqrt(mean_square + self.eps)
        y = torch.tanh(self.slope * normalized) * weight
        return y.to(input.dtype)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, dim={self.dim}, slope={self.slope}, eps={self.eps}"
        )
