"""Filter response normalization with its thresholded linear unit."""

from math import prod

import torch
from torch import Tensor, nn

from normlab.norms.functional import per_channel, statistics_dtype
from normlab.norms.shapes import check_dim, check_input, position_axes


class FilterResponseNorm(nn.Module):
    r"""Divide every channel of a sample by its root mean square, then cut it off below.

    .. math::

        y_{ncp} = \max\left( \frac{x_{ncp}}{\sqrt{\nu_{nc}^2 + |\epsilon|}}
                  \, \gamma_c + \beta_c, \; \tau_c \right)

    - :math:`x`, ``(N, C, ...)``: the input, with sample n, channel c and position p.
    - :math:`\nu^2`, ``(N, C)``: mean of the squares of a channel over the positions of
      one sample.
    - :math:`\gamma, \beta, \tau`, ``(C,)``: learned scale `weight`, shift `bias` and
      threshold `threshold`.

    It contains its activation, so no other may follow. Training and evaluation are the
    same.

    A vector ``(N, C)`` has no positions and an image of one pixel has one. The mean
    over one value would leave nothing but signs, through which no gradient flows. For
    such input the mean is over the C features, which the paper does not describe.

    Use it in convolutional networks with batches of any size. The paper increases the
    learning rate slowly at the beginning.

    Args:
        num_features: number of channels C.
        dim: 1, 2 or 3, see `BatchNorm`.
        eps: added to the mean square, against division by zero.

    Raises:
        ValueError: from the constructor for an unknown `dim`; from the call for input
            of another rank or number of channels, and for one channel with at most one
            position.

    References:
        Singh and Krishnan, "Filter Response Normalization Layer: Eliminating Batch
        Dependence in the Training of Deep Neural Networks", 2020, arXiv 1911.09737.
    """

    batch_dependent = False
    includes_activation = True

    def __init__(
        self,
        num_features: int,
        dim: int,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.dim = check_dim(dim)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.threshold = nn.Parameter(torch.zeros(num_features))

    def reset_parameters(self) -> None:
        """Set scale to 1, and shift and threshold to 0."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)
        nn.init.zeros_(self.threshold)

    def forward(self, input: Tensor) -> Tensor:
        """Normalize and activate ``(N, C, ...)``; output of the same shape and type."""
        check_input(input, self.num_features, self.dim)
        x = input.to(statistics_dtype(input.dtype))
        axes = self._axes(input)
        mean_square = x.square().mean(axes, keepdim=True)
        weight = per_channel(self.weight, input.ndim)
        bias = per_channel(self.bias, input.ndim)
        threshold = per_channel(self.threshold, input.ndim)
        inverse_rms = torch.rsqrt(mean_square + abs(self.eps))
        y = x * inverse_rms * weight + bias
        return torch.maximum(y, threshold).to(input.dtype)

    def _axes(self, input: Tensor) -> tuple[int, ...]:
        """Return the axes of the mean: positions, or channels if there is only one."""
        if prod(input.shape[2:]) != 1:
            return position_axes(input)
        if self.num_features == 1:
            raise ValueError(
                "expected more than one value to normalize over, got shape "
                f"{tuple(input.shape)}; use another norm"
            )
        return (1,)

    def extra_repr(self) -> str:
        return f"{self.num_features}, dim={self.dim}, eps={self.eps}"
