"""EvoNorm: norm and activation found together by search (Liu et al., 2020, arXiv 2004.02967)."""

from math import prod

import torch
from torch import Tensor, nn

from normlab.norms.functional import (
    moments,
    per_channel,
    statistics_dtype,
    update_average,
)
from normlab.norms.shapes import check_dim, check_input, positions, realized_groups


class EvoNormB0(nn.Module):
    """EvoNorm-B0, which looks at the batch (Liu et al., 2020, arXiv 2004.02967).

        y = x / max(sqrt(var_batch + eps), v_c * x + sqrt(var_instance + eps)) * weight_c + bias_c

    var_batch is over samples and positions, in evaluation the running average of the unbiased one; var_instance over
    the positions of one sample, 0 for ``(N, C)``. It contains its activation: none may follow.

    Args:
        num_features: C.
        dim: 1, 2 or 3.
        eps: added to the variances.
        momentum: weight of the new batch in `running_var`.

    Raises:
        ValueError: one value per channel in training.
    """

    batch_dependent, includes_activation = True, True

    def __init__(
        self, num_features: int, dim: int, eps: float = 1e-5, momentum: float = 0.1
    ) -> None:
        super().__init__()
        self.num_features, self.dim, self.eps, self.momentum = (
            num_features,
            check_dim(dim),
            eps,
            momentum,
        )
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.v = nn.Parameter(torch.ones(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, input: Tensor) -> Tensor:
        """Normalize and activate ``(N, C, ...)``; the same shape comes back."""
        check_input(input, self.num_features, self.dim)
        x = input.to(statistics_dtype(input.dtype))
        batch_std = torch.sqrt(self._batch_variance(x) + self.eps)
        instance_var = (
            moments(x, positions(x))[1] if x.ndim > 2 else torch.zeros_like(x)
        )
        weight, bias, v = (
            per_channel(value, x.ndim) for value in (self.weight, self.bias, self.v)
        )
        denominator = torch.maximum(
            batch_std, v * x + torch.sqrt(instance_var + self.eps)
        )
        return (x / denominator * weight + bias).to(input.dtype)

    def _batch_variance(self, x: Tensor) -> Tensor:
        if not self.training:
            return per_channel(self.running_var, x.ndim)
        count = x.numel() // max(1, x.shape[1])
        if count == 1:
            raise ValueError(
                f"expected more than one value per channel when training, got input of shape {tuple(x.shape)}"
            )
        var = moments(x, (0, *positions(x)))[1]
        if count:  # a batch of nothing has no variance to remember
            update_average(
                self.running_var,
                var.detach().flatten(),
                self.momentum,
                count / (count - 1),
            )
        return var

    def extra_repr(self) -> str:
        return f"{self.num_features}, dim={self.dim}, eps={self.eps}, momentum={self.momentum}"


class EvoNormS0(nn.Module):
    """EvoNorm-S0, which looks at one sample (Liu et al., 2020, arXiv 2004.02967).

        y = x * sigmoid(v_c * x) / sqrt(var_group + eps) * weight_c + bias_c

    var_group is over the positions and the channels of a group. It contains its activation: none may follow. The same
    in training and evaluation.

    Args:
        num_features: C.
        dim: 1, 2 or 3.
        num_groups: G.
        eps: added to the variance.
        largest_divisor: where `num_groups` does not divide C, take the largest common divisor of both.

    Raises:
        ValueError: groups that do not divide the channels, or one value per group.
    """

    batch_dependent, includes_activation = False, True

    def __init__(
        self,
        num_features: int,
        dim: int,
        num_groups: int = 8,
        eps: float = 1e-5,
        largest_divisor: bool = True,
    ) -> None:
        super().__init__()
        self.num_features, self.dim, self.eps = num_features, check_dim(dim), eps
        self.num_groups = realized_groups(num_features, num_groups, largest_divisor)
        self.wanted_groups = num_groups
        self.largest_divisor = largest_divisor
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.v = nn.Parameter(torch.ones(num_features))

    def forward(self, input: Tensor) -> Tensor:
        """Normalize and activate ``(N, C, ...)``; the same shape comes back."""
        check_input(input, self.num_features, self.dim)
        x = input.to(statistics_dtype(input.dtype))
        groups = x.unflatten(1, (self.num_groups, -1))
        if prod(groups.shape[2:]) == 1:
            raise ValueError(
                f"expected more than one value per group, got {self.num_groups} groups for shape {tuple(input.shape)}; "
                f"use fewer groups"
            )
        std = torch.sqrt(moments(groups, tuple(range(2, groups.ndim)))[1] + self.eps)
        weight, bias, v = (
            per_channel(value, x.ndim) for value in (self.weight, self.bias, self.v)
        )
        gated = (x * torch.sigmoid(v * x)).unflatten(1, (self.num_groups, -1))
        return ((gated / std).flatten(1, 2) * weight + bias).to(input.dtype)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, dim={self.dim}, num_groups={self.num_groups}, eps={self.eps}, "
            f"largest_divisor={self.largest_divisor}"
        )
