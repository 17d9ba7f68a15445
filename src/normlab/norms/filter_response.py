"""Filter response normalization with its thresholded linear unit (Singh and Krishnan, 2020, arXiv 1911.09737)."""

from math import prod

import torch
from torch import Tensor, nn

from normlab.norms.functional import per_channel, statistics_dtype
from normlab.norms.shapes import check_dim, check_input, positions


class FilterResponseNorm(nn.Module):
    """Filter response norm and its thresholded linear unit (Singh and Krishnan, 2020, arXiv 1911.09737).

    It divides every channel of a sample by its root mean square over the positions, then cuts it off from below.

        y = max(x / sqrt(mean_HW x^2 + |eps|) * weight_c + bias_c, threshold_c)

    It contains its activation: none may follow. Independent of the batch, the same in training and evaluation.

    A vector ``(N, C)`` has no positions and an image of one pixel has one, and a mean over one value would leave
    nothing but signs, through which no gradient passes. Their mean is over the C features instead; the paper has no
    such layer.

    Args:
        num_features: C.
        dim: 1, 2 or 3.
        eps: added to the mean square.

    Raises:
        ValueError: one channel with at most one position.
    """

    batch_dependent, includes_activation = False, True

    def __init__(self, num_features: int, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.num_features, self.dim, self.eps = num_features, check_dim(dim), eps
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.threshold = nn.Parameter(torch.zeros(num_features))

    def forward(self, input: Tensor) -> Tensor:
        """Normalize and activate ``(N, C, ...)``; the same shape comes back."""
        check_input(input, self.num_features, self.dim)
        x = input.to(statistics_dtype(input.dtype))
        square = x.square().mean(self._axes(input), keepdim=True)
        weight, bias, threshold = (
            per_channel(value, input.ndim)
            for value in (self.weight, self.bias, self.threshold)
        )
        y = x * torch.rsqrt(square + abs(self.eps)) * weight + bias
        return torch.maximum(y, threshold).to(input.dtype)

    def _axes(self, input: Tensor) -> tuple[int, ...]:
        if prod(input.shape[2:]) != 1:
            return positions(input)
        if self.num_features == 1:
            raise ValueError(
                f"expected more than one value to normalize over, got shape {tuple(input.shape)}; use another norm"
            )
        return (1,)

    def extra_repr(self) -> str:
        return f"{self.num_features}, dim={self.dim}, eps={self.eps}"
