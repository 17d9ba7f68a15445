r"""Normalize a batch by its own statistics, with the gradient in closed form.

Autograd through `functional.moments` and `functional.normalize` gives the same numbers,
but keeps several copies of the input and walks over them a dozen times. In closed form,
with n values per channel, sums over the values of a channel, and

.. math:: \hat{x} = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}}

the gradients of shift, scale and input are

.. math::

    d\beta = \sum dy
    \qquad
    d\gamma = \sum dy \, \hat{x}
    \qquad
    dx = \frac{\gamma}{\sqrt{\sigma^2 + \epsilon}}
         \left( dy - \frac{d\beta}{n} - \hat{x} \, \frac{d\gamma}{n} \right)

Only the input is kept for them, and dx is linear in dy and x. `torch.compile` fuses the
operations of each direction. `torch.export`, `torch.func` and tracing get
`normalize_by_autograd`; `torch.vmap` gets `normlab.norms.batch_stacked`.
"""

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.function import FunctionCtx

from normlab.norms.batch_arithmetic import (
    batch_moments,
    gradient_sums,
    in_dtype,
    input_gradient,
    normalize_into,
    parameter_gradients,
)
from normlab.norms.channel_statistics import channel_axes, channel_moments
from normlab.norms.functional import normalize, per_channel, statistics_dtype


def normalize_batch(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalize every channel by the mean and variance of its values in the batch.

    Args:
        x: the batch, ``(N, C, ...)``.
        weight: scale ``(C,)``; None means 1.
        bias: shift ``(C,)``; None means 0.
        eps: added to the variance.

    Returns:
        The output with shape and type of `x`, and the mean and biased variance ``(C,)``
        of the batch, in float32 or better and without gradient.
    """
    if needs_plain_forward():
        return normalize_by_autograd(x, weight, bias, eps)
    return _BatchNormalization.apply(x, weight, bias, eps)


def needs_plain_forward() -> bool:
    """Whether something is active that cannot look into an autograd function.

    The last one is forward-mode differentiation. The last two are private in PyTorch,
    checked with 2.15.
    """
    return (
        torch.compiler.is_exporting()
        or torch.jit.is_tracing()
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
    )


def normalize_by_autograd(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute what `normalize_batch` does, and leave the gradient to autograd."""
    mean, var = channel_moments(x)
    scale = per_channel(weight, x.ndim)
    shift = per_channel(bias, x.ndim)
    y = normalize(x, mean, var, eps, scale, shift)
    mean = mean.detach().flatten()
    var = var.detach().flatten()
    return y, mean, var


class BatchNormalizationContext(FunctionCtx):
    """What the forward pass keeps: input, scale, mean and inverse deviation."""

    saved_tensors: tuple[Tensor, Tensor | None, Tensor, Tensor]
    eps: float
    bias_dtype: torch.dtype | None


class _BatchNormalization(torch.autograd.Function):
    """Batch normalization of one process.

    Fresh memory costs more than the arithmetic, so every large tensor is made once and
    then changed in place. For small inputs the number of operations is what costs, so
    none is spent on the channels that is not needed. Half precision is converted to
    float32 once in either direction; the functions that are called here get float32.
    """

    @staticmethod
    def forward(
        ctx: BatchNormalizationContext,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        wide = in_dtype(x, statistics_dtype(x.dtype))
        workspace, mean, var = batch_moments(wide)
        inverse_std = (var + eps).rsqrt_()
        y = normalize_into(workspace, wide, mean, inverse_std, weight, bias)

        ctx.mark_non_differentiable(mean, var)
        # PyTorch's annotation leaves out None, which is allowed.
        ctx.save_for_backward(x, weight, mean, inverse_std)  # type: ignore[arg-type]
        ctx.eps = eps
        ctx.bias_dtype = None if bias is None else bias.dtype
        y = in_dtype(y, x.dtype)
        return y, mean, var

    @staticmethod
    def backward(
        ctx: BatchNormalizationContext,
        dy: Tensor,
        *unused: Tensor,
    ) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse_std = ctx.saved_tensors
        if needs_plain_backward(dy):
            return differentiable_backward(x, weight, ctx.bias_dtype, ctx.eps, dy)

        wide = in_dtype(x, mean.dtype)
        dy = in_dtype(dy, mean.dtype)
        workspace, sum_dy, sum_dy_xhat = gradient_sums(dy, wide, mean, inverse_std)
        count = max(1, x.numel() // max(1, x.shape[1]))
        dx = input_gradient(
            workspace,
            dy,
            wide,
            weight,
            mean,
            inverse_std,
            sum_dy,
            sum_dy_xhat,
            count,
        )
        dx = in_dtype(dx, x.dtype)
        dweight, dbias = parameter_gradients(
            sum_dy,
            sum_dy_xhat,
            weight,
            ctx.bias_dtype,
        )
        return dx, dweight, dbias, None


def needs_plain_backward(dy: Tensor) -> bool:
    """Whether a gradient must be computed in operations that overwrite no memory.

    Args:
        dy: the gradient of the output.
    """
    return (
        torch.is_grad_enabled()  # for second derivatives
        or torch._C._are_functorch_transforms_active()
        or _is_batch_of_gradients(dy)
    )


def _is_batch_of_gradients(dy: Tensor) -> bool:
    """Whether autograd got several output gradients at once, by `is_grads_batched`.

    The function of PyTorch is private, checked with 2.15.
    """
    if torch.compiler.is_compiling():
        return False
    return torch._C._functorch.is_legacy_batchedtensor(dy)


def differentiable_backward(
    x: Tensor,
    weight: Tensor | None,
    bias_dtype: torch.dtype | None,
    eps: float,
    dy: Tensor,
) -> tuple[Tensor | None, ...]:
    """Compute the gradients in operations that can be differentiated again.

    For second derivatives, which also go through the statistics, and for batches of
    output gradients, which have no rule for memory that is overwritten.
    """
    mean, var = channel_moments(x)
    inverse_std = torch.rsqrt(var.flatten() + eps)
    count = x.numel() // x.shape[1]
    axes = channel_axes(x)
    xhat = (x - mean) * per_channel(inverse_std, x.ndim)
    sum_dy = dy.sum(axes)
    sum_dy_xhat = (dy * xhat).sum(axes)

    mean_dy = per_channel(sum_dy / count, x.ndim)
    mean_dy_xhat = per_channel(sum_dy_xhat / count, x.ndim)
    scale = inverse_std if weight is None else inverse_std * weight
    scale = per_channel(scale, x.ndim)
    dx = (dy - mean_dy - xhat * mean_dy_xhat) * scale
    dweight, dbias = parameter_gradients(sum_dy, sum_dy_xhat, weight, bias_dtype)
    return dx, dweight, dbias, None
