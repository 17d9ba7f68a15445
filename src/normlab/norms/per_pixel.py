"""Norms over the channels of one position: layer norm as in ConvNeXt, and root mean square norm."""

import torch
from torch import Tensor, nn

from normlab.norms.functional import moments, normalize, per_channel, statistics_dtype
from normlab.norms.shapes import check_dim, check_input


class LayerNormPerPixel(nn.Module):
    """Layer normalization over the C channels of every position by itself (Liu et al., 2022, arXiv 2201.03545).

        y = (x - mean_C) / sqrt(var_C + eps) * weight_c + bias_c

    For ``(N, C)`` the same as `LayerNorm`; for images the other reading of the name. No batch, no running statistics.

    Args:
        num_features: C, at least 2: one channel would always give `bias`.
        dim: 1, 2 or 3.
        eps: added to the variance.
        affine: learn `weight` and `bias`, ``(C,)`` each.
    """

    batch_dependent, includes_activation = False, False

    def __init__(
        self, num_features: int, dim: int, eps: float = 1e-6, affine: bool = True
    ) -> None:
        super().__init__()
        if num_features < 2:
            raise ValueError(
                f"layer norm per pixel needs at least 2 channels, got {num_features}; use another norm"
            )
        self.num_features, self.dim, self.eps, self.affine = (
            num_features,
            check_dim(dim),
            eps,
            affine,
        )
        self.weight = nn.Parameter(torch.ones(num_features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_features)) if affine else None

    def forward(self, input: Tensor) -> Tensor:
        """Normalize ``(N, C, ...)``; the same shape comes back."""
        check_input(input, self.num_features, self.dim)
        affine = (
            per_channel(self.weight, input.ndim),
            per_channel(self.bias, input.ndim),
        )
        return normalize(input, *moments(input, (1,)), self.eps, *affine)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, dim={self.dim}, eps={self.eps}, affine={self.affine}"
        )


class RMSNorm(nn.Module):
    """Root mean square normalization (Zhang and Sennrich, 2019, arXiv 1910.07467), over the channels of a position.

        y = x / sqrt(mean_C x^2 + eps) * weight_c

    It does not centre, so a bias before it is not redundant. The same in training and evaluation.

    Args:
        num_features: C, at least 2: one channel would always give its sign.
        dim: 1, 2 or 3.
        eps: added to the mean square.
        affine: learn `weight` ``(C,)``.
    """

    batch_dependent, includes_activation = False, False

    def __init__(
        self, num_features: int, dim: int, eps: float = 1e-6, affine: bool = True
    ) -> None:
        super().__init__()
        if num_features < 2:
            raise ValueError(
                f"root mean square norm needs at least 2 channels, got {num_features}; use another norm"
            )
        self.num_features, self.dim, self.eps, self.affine = (
            num_features,
            check_dim(dim),
            eps,
            affine,
        )
        self.weight = nn.Parameter(torch.ones(num_features)) if affine else None

    def forward(self, input: Tensor) -> Tensor:
        """Normalize ``(N, C, ...)``; the same shape comes back."""
        check_input(input, self.num_features, self.dim)
        square = input.to(statistics_dtype(input.dtype)).square().mean(1, keepdim=True)
        return normalize(
            input,
            torch.zeros_like(square),
            square,
            self.eps,
            per_channel(self.weight, input.ndim),
        )

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, dim={self.dim}, eps={self.eps}, affine={self.affine}"
        )
