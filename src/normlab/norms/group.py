"""Group normalization, and layer normalization as its special case with one group."""

import torch
from torch import Tensor, nn

from normlab.norms.functional import moments, normalize
from normlab.norms.shapes import (
    check_dim,
    check_input,
    realized_groups,
    refuse_one_value_per_group,
)


class GroupNorm(nn.Module):
    r"""Normalize groups of channels of every sample by their own mean and variance.

    .. math::

        y_{ncp} = \frac{x_{ncp} - \mu_{ng}}{\sqrt{\sigma_{ng}^2 + \epsilon}}
                  \, \gamma_c + \beta_c

    - :math:`x`, ``(N, C, ...)``: the input, with sample n, channel c and position p.
    - :math:`\mu, \sigma^2`, ``(N, G)``: mean and biased variance of a sample over the
      C / G channels and all positions of group g, the one that contains channel c.
    - :math:`\gamma, \beta`, ``(C,)``: learned scale `weight` and shift `bias`.

    Training and evaluation are the same, and the output of one sample does not depend
    on the others.

    Use it for images if batches are too small for batch norm.

    Args:
        num_features: number of channels C.
        dim: 1, 2 or 3, see `BatchNorm`.
        num_groups: number of groups G of neighbouring channels.
        eps: added to the variance, against division by zero.
        affine: learn `weight` and `bias`.
        largest_divisor: if `num_groups` does not divide C, use the largest common
            divisor of both; otherwise refuse it.

    Raises:
        ValueError: from the constructor for an unknown `dim` or for groups that do not
            divide the channels; from the call for input of another rank or number of
            channels, and for one value per group, since the output would be `bias`.

    References:
        Wu and He, "Group Normalization", 2018, arXiv 1803.08494.
    """

    batch_dependent = False
    includes_activation = False

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
        self.num_features = num_features
        self.dim = check_dim(dim)
        self.eps = eps
        self.affine = affine
        self.num_groups = realized_groups(num_features, num_groups, largest_divisor)
        self.wanted_groups = num_groups
        self.largest_divisor = largest_divisor
        self.weight = None
        self.bias = None
        if affine:
            self.weight = nn.Parameter(torch.ones(num_features))
            self.bias = nn.Parameter(torch.zeros(num_features))

    def reset_parameters(self) -> None:
        """Set scale to 1 and shift to 0."""
        if self.weight is not None:
            nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Normalize ``(N, C, ...)``; the output has the same shape and type."""
        check_input(input, self.num_features, self.dim)
        groups = input.unflatten(1, (self.num_groups, -1))  # (N, G, C / G, ...)
        refuse_one_value_per_group(groups, input)
        axes = tuple(range(2, groups.ndim))
        mean, var = moments(groups, axes)
        weight: Tensor | None = self.weight
        bias: Tensor | None = self.bias
        if weight is not None and bias is not None:
            positions = [1] * (input.ndim - 2)
            shape = (self.num_groups, -1, *positions)
            weight = weight.view(shape)
            bias = bias.view(shape)
        output = normalize(groups, mean, var, self.eps, weight, bias)
        return output.flatten(1, 2)  # (N, C, ...)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, dim={self.dim}, num_groups={self.num_groups}, "
            f"eps={self.eps}, affine={self.affine}, "
            f"largest_divisor={self.largest_divisor}"
        )


class LayerNorm(GroupNorm):
    r"""Normalize every sample by its own mean and variance: group norm with one group.

    .. math::

        y_{ncp} = \frac{x_{ncp} - \mu_n}{\sqrt{\sigma_n^2 + \epsilon}}
                  \, \gamma_c + \beta_c

    - :math:`x`, ``(N, C, ...)``: the input, with sample n, channel c and position p.
    - :math:`\mu, \sigma^2`, ``(N,)``: mean and biased variance of a sample over all its
      channels and positions.
    - :math:`\gamma, \beta`, ``(C,)``: learned scale `weight` and shift `bias`.

    Training and evaluation are the same, and the output of one sample does not depend
    on the others. For images the name is also used for statistics over the channels of
    one position; that is `LayerNormPerPixel`.

    Use it for vectors and sequences.

    Args:
        num_features: number of channels C.
        dim: 1, 2 or 3, see `BatchNorm`.
        eps: added to the variance, against division by zero.
        affine: learn `weight` and `bias`.

    Raises:
        ValueError: from the constructor for an unknown `dim`; from the call for input
            of another rank or number of channels, and for one value per sample.

    References:
        Ba, Kiros and Hinton, "Layer Normalization", 2016, arXiv 1607.06450.
    """

    def __init__(
        self,
        num_features: int,
        dim: int,
        eps: float = 1e-5,
        affine: bool = True,
    ) -> None:
        super().__init__(num_features, dim, 1, eps, affine)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, dim={self.dim}, eps={self.eps}, affine={self.affine}"
        )
