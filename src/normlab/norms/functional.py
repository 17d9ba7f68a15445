r"""The arithmetic of normalization, in functions that keep no state.

A normalization layer decides which values share their statistics, and what it
remembers of them. For values :math:`x_1, \dots, x_n` that share a mean and a variance
it computes

.. math::

    \mu = \frac{1}{n} \sum_i x_i
    \qquad
    \sigma^2 = \frac{1}{n} \sum_i (x_i - \mu)^2
    \qquad
    y_i = \frac{x_i - \mu}{\sqrt{\sigma^2 + \epsilon}} \, \gamma + \beta

with a learned scale :math:`\gamma` (`weight`) and a learned shift :math:`\beta`
(`bias`). Every layer in this folder is a choice of axes for `moments`, followed by
`normalize`, and for some of them by `update_average`.
"""

from typing import overload

import torch
from torch import Tensor

HALF_PRECISION = (torch.float16, torch.bfloat16)


def statistics_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the precision in which statistics of such values are computed.

    It is float32 or better: half precision cannot add up the values of a batch.

    Args:
        dtype: the type of the values.
    """
    if dtype in HALF_PRECISION:
        return torch.float32
    return dtype


def moments(x: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    r"""Compute the mean and the biased variance over some axes.

    .. math::

        \mu = \frac{1}{n} \sum_i x_i
        \qquad
        \sigma^2 = \frac{1}{n} \sum_i (x_i - \mu)^2

    The squares are those of centred values. The shorter formula
    ``mean(x ** 2) - mean(x) ** 2`` is the difference of two large numbers if the mean
    is large, and most of its digits are lost.

    Args:
        x: a tensor of any shape.
        axes: the axes along which the n values lie.

    Returns:
        Mean and variance in float32 or better. Their shape is that of `x` with size 1
        along `axes`, so that they broadcast to `x`. Both are 0 if there are no values.
    """
    x = x.to(statistics_dtype(x.dtype))
    if x.numel() == 0:
        zeros = x.sum(axes, keepdim=True)
        return zeros, zeros
    var, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    return mean, var


def normalize(
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    eps: float,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    r"""Centre, divide by the standard deviation, then scale and shift.

    .. math:: y = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} \, \gamma + \beta

    The computation has the precision of the statistics, and that of float32 if they are
    in half precision, so that the values are rounded once.

    Args:
        x: the values, of any shape.
        mean: :math:`\mu`, broadcasts to `x`.
        var: :math:`\sigma^2`, broadcasts to `x`.
        eps: :math:`\epsilon`, added to the variance; constant input then gives `bias`
            and not a division by zero.
        weight: the scale :math:`\gamma`, broadcasts to `x`; None means 1.
        bias: the shift :math:`\beta`, broadcasts to `x`; None means 0.

    Returns:
        The normalized values, with the shape and type of `x`.
    """
    if var.dtype in HALF_PRECISION:
        var = var.float()
        mean = mean.float()
    scale = torch.rsqrt(var + eps)
    if weight is not None:
        scale = scale * weight.to(scale.dtype)
    centred = x.to(scale.dtype) - mean
    y = centred * scale
    if bias is not None:
        y = y + bias.to(y.dtype)
    return y.to(x.dtype)


@overload
def per_channel(values: Tensor, ndim: int) -> Tensor: ...


@overload
def per_channel(values: None, ndim: int) -> None: ...


def per_channel(values: Tensor | None, ndim: int) -> Tensor | None:
    """Reshape one value per channel to broadcast along axis 1.

    Args:
        values: a tensor ``(C,)``, or None.
        ndim: number of axes of the tensor ``(N, C, ...)`` to broadcast to.

    Returns:
        The values as ``(1, C, 1, ...)`` with `ndim` axes. For two axes they are
        returned as they are, since ``(C,)`` already broadcasts to ``(N, C)``; None
        stays None.
    """
    if values is None or ndim == 2:
        return values
    positions = [1] * (ndim - 2)
    return values.view(1, -1, *positions)


def update_average(
    average: Tensor,
    new: Tensor,
    momentum: float | Tensor,
    factor: float | Tensor = 1.0,
) -> None:
    r"""Move a running average towards a new value, in place.

    .. math:: a \leftarrow (1 - m) \, a + m f \, v

    As everywhere in PyTorch, momentum is the weight of the new value; papers and other
    libraries often give the weight :math:`1 - m` of the old one that name.

    Args:
        average: the running average :math:`a`, of any shape.
        new: the new value :math:`v`, of the same shape; no gradient flows through it.
        momentum: the weight :math:`m` of the new value, between 0 and 1.
        factor: the constant :math:`f` by which the new value is multiplied first, such
            as n / (n - 1), which makes a biased variance of n values unbiased.
    """
    new = new.detach()
    coefficient = momentum * factor
    average.mul_(1 - momentum)  # not `lerp_`, for which torch.vmap has no rule
    if isinstance(coefficient, Tensor):
        new = new.to(average.dtype)
        average.add_(coefficient * new)
    else:
        average.add_(new, alpha=coefficient)
