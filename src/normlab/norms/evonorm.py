"""EvoNorm: norm and activation in one layer, found together by a search."""

import torch
from torch import Tensor, nn

from normlab.norms.channel_statistics import channel_moments, values_per_channel
from normlab.norms.functional import (
    moments,
    per_channel,
    statistics_dtype,
    update_average,
)
from normlab.norms.shapes import (
    check_dim,
    check_input,
    position_axes,
    realized_groups,
    refuse_one_value,
    refuse_one_value_per_group,
)


class EvoNormB0(nn.Module):
    r"""EvoNorm-B0, which uses the statistics of the batch and of each sample.

    .. math::

        y_{ncp} = \frac{x_{ncp}}
                  {\max\left( \sqrt{\sigma_c^2 + \epsilon}, \;
                   v_c \, x_{ncp} + \sqrt{\tau_{nc}^2 + \epsilon} \right)}
                  \, \gamma_c + \beta_c

    - :math:`x`, ``(N, C, ...)``: the input, with sample n, channel c and position p.
    - :math:`\sigma^2`, ``(C,)``: biased variance of a channel over all samples and
      positions of the batch.
    - :math:`\tau^2`, ``(N, C)``: biased variance of a channel over the positions of one
      sample; 0 for input ``(N, C)``.
    - :math:`v, \gamma, \beta`, ``(C,)``: learned `v`, scale `weight` and shift `bias`.

    It contains its activation, so no other may follow. In training every batch moves
    `running_var`, ``(C,)``, towards its unbiased variance. In evaluation the running
    average takes the place of :math:`\sigma^2`.

    Use it in convolutional networks in the place of batch norm and ReLU, with batches
    as large as batch norm needs.

    Args:
        num_features: number of channels C.
        dim: 1, 2 or 3, see `BatchNorm`.
        eps: added to the variances, against division by zero.
        momentum: weight of the new batch in `running_var`.

    Raises:
        ValueError: from the constructor for an unknown `dim`; from the call for input
            of another rank or number of channels, and in training for one value per
            channel.

    References:
        Liu, Brock, Simonyan and Le, "Evolving Normalization-Activation Layers", 2020,
        arXiv 2004.02967.
    """

    batch_dependent = True
    includes_activation = True

    running_var: Tensor

    def __init__(
        self,
        num_features: int,
        dim: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.dim = check_dim(dim)
        self.eps = eps
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.v = nn.Parameter(torch.ones(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def reset_parameters(self) -> None:
        """Set v and scale to 1 and shift to 0, and forget every batch seen so far."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)
        nn.init.ones_(self.v)
        self.running_var.fill_(1)

    def forward(self, input: Tensor) -> Tensor:
        """Normalize and activate ``(N, C, ...)``; output of the same shape and type."""
        check_input(input, self.num_features, self.dim)
        x = input.to(statistics_dtype(input.dtype))
        ndim = x.ndim
        batch_var = self._batch_variance(x)
        batch_std = torch.sqrt(batch_var + self.eps)
        if ndim > 2:
            _, instance_var = moments(x, position_axes(x))
        else:
            instance_var = torch.zeros_like(x)

        v = per_channel(self.v, ndim)
        instance_std = torch.sqrt(instance_var + self.eps)
        instance_term = v * x + instance_std
        y = x / torch.maximum(batch_std, instance_term)
        weight = per_channel(self.weight, ndim)
        bias = per_channel(self.bias, ndim)
        y = y * weight + bias
        return y.to(input.dtype)

    def _batch_variance(self, x: Tensor) -> Tensor:
        """Return the variance of every channel, shaped to broadcast to `x`.

        It is that of the batch in training, and the running average in evaluation.
        """
        if not self.training:
            return per_channel(self.running_var.to(x.dtype), x.ndim)
        refuse_one_value(x)
        count = values_per_channel(x)
        _, var = channel_moments(x)
        if count > 0:  # an empty batch has no variance to remember
            unbiased = count / (count - 1)
            batch_var = var.detach().flatten()
            update_average(self.running_var, batch_var, self.momentum, unbiased)
        return var

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, dim={self.dim}, eps={self.eps}, "
            f"momentum={self.momentum}"
        )


class EvoNormS0(nn.Module):
    r"""EvoNorm-S0, which uses the statistics of groups of channels of one sample.

    .. math::

        y_{ncp} = \frac{x_{ncp} \, \mathrm{sigmoid}(v_c \, x_{ncp})}
                  {\sqrt{\sigma_{ng}^2 + \epsilon}} \, \gamma_c + \beta_c

    - :math:`x`, ``(N, C, ...)``: the input, with sample n, channel c and position p.
    - :math:`\sigma^2`, ``(N, G)``: biased variance of a sample over the channels and
      positions of group g, the one that contains channel c.
    - :math:`v, \gamma, \beta`, ``(C,)``: learned `v`, scale `weight` and shift `bias`.

    It contains its activation, so no other may follow. Training and evaluation are the
    same.

    Use it in convolutional networks in the place of group norm and ReLU, with batches
    of any size.

    Args:
        num_features: number of channels C.
        dim: 1, 2 or 3, see `BatchNorm`.
        num_groups: number of groups G of neighbouring channels.
        eps: added to the variance, against division by zero.
        largest_divisor: if `num_groups` does not divide C, use the largest common
            divisor of both; otherwise refuse it.

    Raises:
        ValueError: from the constructor for an unknown `dim` or for groups that do not
            divide the channels; from the call for input of another rank or number of
            channels, and for one value per group.

    References:
        Liu, Brock, Simonyan and Le, "Evolving Normalization-Activation Layers", 2020,
        arXiv 2004.02967.
    """

    batch_dependent = False
    includes_activation = True

    def __init__(
        self,
        num_features: int,
        dim: int,
        num_groups: int = 8,
        eps: float = 1e-5,
        largest_divisor: bool = True,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.dim = check_dim(dim)
        self.eps = eps
        self.num_groups = realized_groups(num_features, num_groups, largest_divisor)
        self.wanted_groups = num_groups
        self.largest_divisor = largest_divisor
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.v = nn.Parameter(torch.ones(num_features))

    def reset_parameters(self) -> None:
        """Set v and scale to 1 and shift to 0."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)
        nn.init.ones_(self.v)

    def forward(self, input: Tensor) -> Tensor:
        """Normalize and activate ``(N, C, ...)``; output of the same shape and type."""
        check_input(input, self.num_features, self.dim)
        x = input.to(statistics_dtype(input.dtype))
        groups = x.unflatten(1, (self.num_groups, -1))  # (N, G, C / G, ...)
        refuse_one_value_per_group(groups, input)
        axes = tuple(range(2, groups.ndim))
        _, var = moments(groups, axes)
        std = torch.sqrt(var + self.eps)

        v = per_channel(self.v, x.ndim)
        gated = x * torch.sigmoid(v * x)
        gated = gated.unflatten(1, (self.num_groups, -1))
        y = (gated / std).flatten(1, 2)  # (N, C, ...)
        weight = per_channel(self.weight, x.ndim)
        bias = per_channel(self.bias, x.ndim)
        y = y * weight + bias
        return y.to(input.dtype)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, dim={self.dim}, num_groups={self.num_groups}, "
            f"eps={self.eps}, largest_divisor={self.largest_divisor}"
        )
