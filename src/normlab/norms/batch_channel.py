"""Batch-channel norm: batch norm by running averages, then group norm."""

import torch
from torch import Tensor, nn

from normlab.norms.channel_statistics import channel_moments, values_per_channel
from normlab.norms.functional import (
    moments,
    normalize,
    per_channel,
    statistics_dtype,
    update_average,
)
from normlab.norms.shapes import (
    check_dim,
    check_input,
    realized_groups,
    refuse_one_value,
    refuse_one_value_per_group,
)


class BatchChannelNorm(nn.Module):
    r"""Batch norm by estimates of the statistics, followed by a norm of channel groups.

    .. math::

        z_{ncp} = \frac{x_{ncp} - m_c}{\sqrt{s_c^2 + \epsilon}} \, \gamma_c + \beta_c
        \qquad
        y_{ncp} = \frac{z_{ncp} - \mu_{ng}}{\sqrt{\sigma_{ng}^2 + \epsilon}}
                  \, \gamma'_g + \beta'_g

    - :math:`x`, ``(N, C, ...)``: the input, with sample n, channel c and position p.
    - :math:`m, s^2`, ``(C,)``: `running_mean` and `running_var`. In training they first
      move by mean and biased variance of the batch, and are constants for the gradient.
    - :math:`\mu, \sigma^2`, ``(N, G)``: mean and biased variance of a sample over the
      C / G channels and all positions of group g, the one that contains channel c.
    - :math:`\gamma, \beta`, ``(C,)``: learned `weight` and `bias`.
    - :math:`\gamma', \beta'`, ``(G,)``: learned `group_weight` and `group_bias`.

    With ``estimated=False`` training uses mean and variance of the batch itself for
    :math:`m, s^2`, and their gradient, as batch norm does. In evaluation nothing moves.

    Use it with `standardize_weights` for batches of a few images.

    Args:
        num_features: number of channels C.
        dim: 1, 2 or 3, see `BatchNorm`.
        num_groups: number of groups G of neighbouring channels.
        estimated: normalize by the running averages in training too.
        eps: added to the variances, against division by zero.
        momentum: weight of the new batch in the running averages.
        largest_divisor: if `num_groups` does not divide C, use the largest common
            divisor of both; otherwise refuse it.

    Raises:
        ValueError: from the constructor for an unknown `dim` or for groups that do not
            divide the channels; from the call for input of another rank or number of
            channels, for one value per group, and in training for one value per
            channel unless `estimated`.

    References:
        Qiao, Wang, Liu, Shen and Yuille, "Micro-Batch Training with Batch-Channel
        Normalization and Weight Standardization", 2019, arXiv 1903.10520.
    """

    batch_dependent = True
    includes_activation = False

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self,
        num_features: int,
        dim: int,
        num_groups: int = 8,
        estimated: bool = True,
        eps: float = 1e-5,
        momentum: float = 0.1,
        largest_divisor: bool = True,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.dim = check_dim(dim)
        self.num_groups = realized_groups(num_features, num_groups, largest_divisor)
        self.wanted_groups = num_groups
        self.estimated = estimated
        self.eps = eps
        self.momentum = momentum
        self.largest_divisor = largest_divisor
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.group_weight = nn.Parameter(torch.ones(self.num_groups))
        self.group_bias = nn.Parameter(torch.zeros(self.num_groups))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def reset_parameters(self) -> None:
        """Set scales to 1 and shifts to 0, and forget every batch seen so far."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)
        nn.init.ones_(self.group_weight)
        nn.init.zeros_(self.group_bias)
        self.running_mean.zero_()
        self.running_var.fill_(1)

    def forward(self, input: Tensor) -> Tensor:
        """Normalize ``(N, C, ...)``; the output has the same shape and type."""
        check_input(input, self.num_features, self.dim)
        x = input.to(statistics_dtype(input.dtype))
        mean, var = self._moments(x)
        weight = per_channel(self.weight, x.ndim)
        bias = per_channel(self.bias, x.ndim)
        z = normalize(x, mean, var, self.eps, weight, bias)

        groups = z.unflatten(1, (self.num_groups, -1))  # (N, G, C / G, ...)
        refuse_one_value_per_group(groups, input)
        axes = tuple(range(2, groups.ndim))
        mean, var = moments(groups, axes)
        weight = per_channel(self.group_weight, groups.ndim)
        bias = per_channel(self.group_bias, groups.ndim)
        y = normalize(groups, mean, var, self.eps, weight, bias)
        return y.flatten(1, 2).to(input.dtype)

    def _moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and variance of every channel by which `x` is normalized."""
        if self.training:
            if not self.estimated:
                refuse_one_value(x)
            mean, var = channel_moments(x)
            if values_per_channel(x) > 0:  # an empty batch has nothing to remember
                update_average(self.running_mean, mean.flatten(), self.momentum)
                update_average(self.running_var, var.flatten(), self.momentum)
            if not self.estimated:
                return mean, var
        # Copies, since the averages may move again before the backward pass.
        running_mean = self.running_mean.to(x.dtype, copy=True)
        running_var = self.running_var.to(x.dtype, copy=True)
        return per_channel(running_mean, x.ndim), per_channel(running_var, x.ndim)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, dim={self.dim}, num_groups={self.num_groups}, "
            f"estimated={self.estimated}, eps={self.eps}, momentum={self.momentum}, "
            f"largest_divisor={self.largest_divisor}"
        )
