"""Iterative whitening: channels of a batch without correlations between them."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from normlab.norms.channel_statistics import values_per_channel
from normlab.norms.functional import per_channel, statistics_dtype, update_average
from normlab.norms.shapes import check_dim, check_input, refuse_one_value


class IterativeWhitening(nn.Module):
    r"""Centre the channels of a batch and take away the correlations between them.

    .. math::

        y_{np} = \gamma \odot W (x_{np} - \mu) + \beta
        \qquad
        W \approx \Sigma^{-1/2}
        \qquad
        \Sigma = \epsilon I + \frac{1}{m} \sum_{n,p} (x_{np} - \mu)(x_{np} - \mu)^\top

    with T steps of Newton's method,

    .. math::

        P_0 = I
        \qquad
        P_k = \frac{1}{2} \left( 3 P_{k-1} - P_{k-1}^3 \,
              \frac{\Sigma}{\operatorname{tr} \Sigma} \right)
        \qquad
        W = \frac{P_T}{\sqrt{\operatorname{tr} \Sigma}}

    - :math:`x_{np}`, ``(D,)``: the channels of one group at position p of sample n.
      Groups of D neighbouring channels are whitened separately.
    - :math:`\mu, \Sigma`: mean and covariance of a group over all m positions of all
      samples of the batch.
    - :math:`\gamma, \beta`, ``(C,)``: learned scale `weight` and shift `bias`.

    Few steps leave directions of little variance as small as they are, which keeps the
    noise of a small batch from being blown up. Many steps are no better: each of them
    also enlarges the rounding errors of those before. In training every batch moves the
    averages `running_mean`, ``(C,)``, and `running_whitening`, ``(C / D, D, D)``. In
    evaluation they take the place of :math:`\mu` and W.

    Use it in convolutional networks in the place of batch norm.

    Args:
        num_features: number of channels C.
        dim: 1, 2 or 3, see `BatchNorm`.
        group_size: largest number of channels that are whitened together. D is the
            largest divisor of C that is not larger.
        steps: number T of steps of Newton's method.
        eps: added to the variances, against division by zero.
        momentum: weight of the new batch in the running averages.
        affine: learn `weight` and `bias`.

    Raises:
        ValueError: from the constructor for an unknown `dim`, or for `group_size` or
            `steps` below 1; from the call for input of another rank or number of
            channels, and in training for one value per channel.

    References:
        Huang, Zhou, Zhu, Liu and Shao, "Iterative Normalization: Beyond Standardization
        towards Efficient Whitening", 2019, arXiv 1904.03441.
    """

    batch_dependent = True
    includes_activation = False

    running_mean: Tensor
    running_whitening: Tensor

    def __init__(
        self,
        num_features: int,
        dim: int,
        group_size: int = 64,
        steps: int = 5,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
    ) -> None:
        super().__init__()
        if group_size < 1 or steps < 1:
            raise ValueError(
                f"group_size and steps must be at least 1, got {group_size} and {steps}"
            )
        self.num_features = num_features
        self.dim = check_dim(dim)
        self.group_size = group_size
        self.channels_per_group = largest_divisor(num_features, group_size)
        self.steps = steps
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.weight = None
        self.bias = None
        if affine:
            self.weight = nn.Parameter(torch.ones(num_features))
            self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_whitening", self._identities())

    def _identities(self) -> Tensor:
        """One identity matrix per group."""
        size = self.channels_per_group
        num_groups = self.num_features // size
        return torch.eye(size).repeat(num_groups, 1, 1)

    def reset_parameters(self) -> None:
        """Set scale to 1 and shift to 0, and forget every batch seen so far."""
        if self.weight is not None and self.bias is not None:
            nn.init.ones_(self.weight)
            nn.init.zeros_(self.bias)
        self.running_mean.zero_()
        self.running_whitening.copy_(self._identities())

    def forward(self, input: Tensor) -> Tensor:
        """Normalize ``(N, C, ...)``; the output has the same shape and type."""
        check_input(input, self.num_features, self.dim)
        x = input.to(statistics_dtype(input.dtype))
        channels = x.transpose(0, 1)
        # (C / D, D, values per channel)
        groups = channels.flatten(1).unflatten(0, (-1, self.channels_per_group))
        with full_precision(x):
            if self.training:
                refuse_one_value(x)
                white = self._whiten_batch(groups, values_per_channel(x))
            else:
                white = self._whiten_by_averages(groups)

        y = white.reshape(channels.shape).transpose(0, 1)
        weight = per_channel(self.weight, x.ndim)
        bias = per_channel(self.bias, x.ndim)
        if weight is not None and bias is not None:
            y = y * weight + bias
        return y.to(input.dtype)

    def _whiten_by_averages(self, groups: Tensor) -> Tensor:
        mean = self.running_mean.to(groups.dtype)
        whitening = self.running_whitening.to(groups.dtype)
        centred = groups - mean.view(*groups.shape[:2], 1)
        return whitening @ centred

    def _whiten_batch(self, groups: Tensor, count: int) -> Tensor:
        """Whiten by the statistics of the batch, and remember them."""
        divisor = max(1, count)  # a batch may be empty
        mean = groups.sum(2, keepdim=True) / divisor
        centred = groups - mean
        covariance = centred @ centred.transpose(1, 2) / divisor
        whitening = inverse_root(covariance, self.eps, self.steps)
        if count > 0:
            update_average(self.running_mean, mean.flatten(), self.momentum)
            update_average(self.running_whitening, whitening, self.momentum)
        return whitening @ centred

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, dim={self.dim}, group_size={self.group_size}, "
            f"steps={self.steps}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}"
        )


def inverse_root(covariance: Tensor, eps: float, steps: int) -> Tensor:
    """Approximate the inverse square roots of some matrices by Newton's method.

    Args:
        covariance: symmetric matrices ``(G, D, D)`` without negative eigenvalues.
        eps: added to the diagonals.
        steps: number of steps.
    """
    size = covariance.shape[-1]
    identity = torch.eye(size, dtype=covariance.dtype, device=covariance.device)
    covariance = covariance + eps * identity
    diagonal = covariance.diagonal(dim1=1, dim2=2)
    trace = diagonal.sum(1).view(-1, 1, 1)
    scaled = covariance / trace
    root = identity.expand_as(scaled)
    for _ in range(steps):
        cube = root @ root @ root
        root = 1.5 * root - 0.5 * cube @ scaled
    return root * trace.rsqrt()


def full_precision(x: Tensor) -> AbstractContextManager:
    """Turn autocast off, which would multiply matrices in half precision."""
    if x.is_meta:
        return nullcontext()
    return torch.autocast(x.device.type, enabled=False)


def largest_divisor(number: int, limit: int) -> int:
    """The largest divisor of a number that is not larger than a limit."""
    divisor = min(number, limit)
    while number % divisor:
        divisor -= 1
    return divisor
