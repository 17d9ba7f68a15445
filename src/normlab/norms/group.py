"""Group normalization (Wu and He, 2018, arXiv 1803.08494) and layer normalization as its special case."""

from math import prod

import torch
from torch import Tensor, nn

from normlab.norms.functional import moments, normalize
from normlab.norms.shapes import check_dim, check_input, realized_groups


class GroupNorm(nn.Module):
    """Normalizes groups of channels of every sample by their own statistics (Wu and He, 2018, arXiv 1803.08494).

    The C channels are cut into G groups of neighbours; for each sample and group, over its C/G channels and all
    positions,

        y = (x - mean) / sqrt(var + eps) * weight_c + bias_c

    The same in training and evaluation.

    Args:
        num_features: C.
        dim: 1, 2 or 3, see `normlab.norms.shapes.check_input`.
        num_groups: G.
        eps: added to the variance.
        affine: learn `weight` and `bias`, ``(C,)`` each.
        largest_divisor: where `num_groups` does not divide C, take the largest common divisor of both.

    Raises:
        ValueError: groups that do not divide the channels, or one value per group, which would always give `bias`.
    """

    batch_dependent, includes_activation = False, False

    def __init__(
        self,
        num_features: int,
        dim: int,
        num_groups: int = 8,
        eps: float = 1e-5,
        affine: bool = True,
        largest_divisor: bool = True,
    ) -> None:
        super().__init__()
        self.num_features, self.dim, self.eps, self.affine = (
            num_features,
            check_dim(dim),
            eps,
            affine,
        )
        self.num_groups = realized_groups(num_features, num_groups, largest_divisor)
        self.wanted_groups = num_groups
        self.largest_divisor = largest_divisor
        self.weight = nn.Parameter(torch.ones(num_features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_features)) if affine else None

    def forward(self, input: Tensor) -> Tensor:
        """Normalize ``(N, C, ...)``; the same shape comes back."""
        check_input(input, self.num_features, self.dim)
        groups = input.unflatten(1, (self.num_groups, -1))
        if prod(groups.shape[2:]) == 1:
            advice = (
                "use fewer groups"
                if self.num_groups > 1
                else "use norm=none or more features"
            )
            raise ValueError(
                f"expected more than one value per group, got {self.num_groups} groups for shape {tuple(input.shape)}; "
                f"{advice}"
            )
        mean, var = moments(groups, tuple(range(2, groups.ndim)))
        return normalize(
            groups, mean, var, self.eps, *self._affine(input.ndim)
        ).flatten(1, 2)

    def _affine(self, ndim: int) -> tuple[Tensor | None, Tensor | None]:
        """Scale and shift, shaped to act on ``(N, G, C/G, ...)``."""
        if not self.affine:
            return None, None
        shape = (self.num_groups, -1, *[1] * (ndim - 2))
        return self.weight.view(shape), self.bias.view(shape)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, dim={self.dim}, num_groups={self.num_groups}, eps={self.eps}, "
            f"affine={self.affine}, largest_divisor={self.largest_divisor}"
        )


class LayerNorm(GroupNorm):
    """Layer normalization (Ba, Kiros and Hinton, 2016, arXiv 1607.06450): one group, all of a sample.

        y = (x - mean) / sqrt(var + eps) * weight_c + bias_c

    For ``(N, C)`` the statistics are over the C features; for images over C, H and W, with scale and shift per channel
    (`LayerNormPerPixel` is the other reading).

    Args:
        num_features: C.
        dim: 1, 2 or 3.
        eps: added to the variance.
        affine: learn `weight` and `bias`, ``(C,)`` each.
    """

    def __init__(
        self, num_features: int, dim: int, eps: float = 1e-5, affine: bool = True
    ) -> None:
        super().__init__(num_features, dim, 1, eps, affine)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, dim={self.dim}, eps={self.eps}, affine={self.affine}"
        )
