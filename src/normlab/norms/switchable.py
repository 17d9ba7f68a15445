"""Switchable norm: a learned mixture of instance, layer and batch statistics."""

import torch
from torch import Tensor, nn

from normlab.norms.channel_statistics import values_per_channel
from normlab.norms.functional import (
    moments,
    normalize,
    per_channel,
    statistics_dtype,
    update_average,
)
from normlab.norms.shapes import check_dim, check_input, refuse_one_value

KINDS = 3  # instance, layer and batch


class SwitchableNorm(nn.Module):
    r"""Normalize by means and variances that are learned mixtures of three kinds.

    .. math::

        y_{ncp} = \frac{x_{ncp} - \sum_k w_k \, \mu_k}
                  {\sqrt{\sum_k w'_k \, \sigma_k^2 + \epsilon}}
                  \, \gamma_c + \beta_c
        \qquad
        w_k = \frac{e^{\lambda_k}}{\sum_j e^{\lambda_j}}

    - :math:`x`, ``(N, C, ...)``: the input, with sample n, channel c and position p.
    - :math:`k`: the kinds of statistics, which are those of `InstanceNorm` (one channel
      of one sample), `LayerNorm` (one sample) and `BatchNorm` (one channel of all
      samples), in this order. Variances are biased.
    - :math:`w, w'`, ``(3,)``: weights of means and variances, as the softmax of the
      learned `mean_logits` and `var_logits`, which are 1 at first. All weights are
      therefore equal at first.
    - :math:`\gamma, \beta`, ``(C,)``: learned scale `weight` and shift `bias`.

    Input with no more than one position has no instance statistics; the weights of the
    two others are then the softmax of their two logits. In training every batch moves
    the running averages `running_mean` and `running_var`, ``(C,)``, as in `BatchNorm`.
    In evaluation they take the place of the batch's statistics.

    Use it in convolutional networks to see which statistics each layer prefers.

    Args:
        num_features: number of channels C.
        dim: 1, 2 or 3, see `BatchNorm`.
        eps: added to the variance, against division by zero.
        momentum: weight of the new batch in the running averages.

    Raises:
        ValueError: from the constructor for an unknown `dim`; from the call for input
            of another rank or number of channels, and in training for one value per
            channel.

    References:
        Luo, Ren, Peng, Zhang and Li, "Differentiable Learning-to-Normalize via
        Switchable Normalization", 2018, arXiv 1806.10779.
    """

    batch_dependent = True
    includes_activation = False

    running_mean: Tensor
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
        self.mean_logits = nn.Parameter(torch.ones(KINDS))
        self.var_logits = nn.Parameter(torch.ones(KINDS))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def reset_parameters(self) -> None:
        """Weigh all statistics alike, without scale, shift and memory of batches."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)
        nn.init.ones_(self.mean_logits)
        nn.init.ones_(self.var_logits)
        self.running_mean.zero_()
        self.running_var.fill_(1)

    def forward(self, input: Tensor) -> Tensor:
        """Normalize ``(N, C, ...)``; the output has the same shape and type."""
        check_input(input, self.num_features, self.dim)
        x = input.to(statistics_dtype(input.dtype))
        positions = x[:, :, None].flatten(2)  # (N, C, P)
        instance = moments(positions, (2,))
        layer = pooled_moments(*instance, axis=1)
        batch = self._batch_moments(x, instance)

        kinds = [instance, layer, batch]
        if positions.shape[2] <= 1:
            kinds = [layer, batch]
        means, variances = zip(*kinds, strict=True)
        mean = mixture(means, self.mean_logits)
        var = mixture(variances, self.var_logits)
        weight = per_channel(self.weight, 3)
        bias = per_channel(self.bias, 3)
        y = normalize(positions, mean, var, self.eps, weight, bias)
        return y.view(input.shape).to(input.dtype)

    def _batch_moments(
        self, x: Tensor, instance: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Mean and variance of every channel, ``(1, C, 1)``.

        They are those of the batch in training, and the running averages in evaluation.
        """
        if not self.training:
            mean = self.running_mean.to(x.dtype)
            var = self.running_var.to(x.dtype)
            return per_channel(mean, 3), per_channel(var, 3)
        refuse_one_value(x)
        count = values_per_channel(x)
        mean, var = pooled_moments(*instance, axis=0)
        if count > 0:  # an empty batch has nothing to remember
            unbiased = count / (count - 1)
            update_average(self.running_mean, mean.flatten(), self.momentum)
            update_average(self.running_var, var.flatten(), self.momentum, unbiased)
        return mean, var

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, dim={self.dim}, eps={self.eps}, "
            f"momentum={self.momentum}"
        )


def pooled_moments(mean: Tensor, var: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of equally large parts together.

    The variance is that of the parts' means plus the mean of the parts' variances.

    Args:
        mean: means of the parts.
        var: their biased variances, of the same shape.
        axis: the axis along which the parts lie, which gets size 1.
    """
    pooled_mean, between = moments(mean, (axis,))
    num_parts = max(1, var.shape[axis])  # a batch may be empty
    within = var.sum(axis, keepdim=True) / num_parts
    return pooled_mean, between + within


def mixture(values: tuple[Tensor, ...], logits: Tensor) -> Tensor:
    """The mean of some statistics, weighted by the softmax of the last logits.

    Args:
        values: tensors that broadcast to each other.
        logits: as many numbers as there are values, or more; the first of them are then
            not used.
    """
    used = logits[-len(values) :]
    weights = used.softmax(0)
    total = torch.zeros_like(values[0])
    for weight, value in zip(weights, values, strict=True):
        total = total + weight * value
    return total
