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

from normlab.norms.channel_statistics import channel_axes, channel_moments, channel_sum
from normlab.norms.functional import normalize, per_channel, statistics_dtype

# The value of the operator behind `mse_loss` for no reduction. The operator broadcasts;
# the Python function of that name would first copy both inputs to one shape.
NO_REDUCTION = 0


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


def batch_moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the mean and the biased variance of every channel, without autograd.

    The variance is that of centred values, so that a large mean does not cancel its
    digits. The operator behind `mse_loss` centres and squares in one pass.

    Args:
        x: ``(N, C, ...)`` in float32 or better.

    Returns:
        A workspace of the size of `x`, which was needed on the way and may be
        overwritten; mean ``(C,)``; variance ``(C,)``.
    """
    count = max(1, x.numel() // max(1, x.shape[1]))
    mean = channel_sum(x).div_(count)
    centre = per_channel(mean, x.ndim)
    squares = torch.ops.aten.mse_loss.default(x, centre, NO_REDUCTION)
    var = channel_sum(squares).div_(count)
    return squares, mean, var


def in_dtype(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return `x.to(dtype)`, without the microsecond it takes if nothing changes."""
    if x.dtype == dtype:
        return x
    return x.to(dtype)


def normalize_into(
    workspace: Tensor,
    x: Tensor,
    mean: Tensor,
    inverse_std: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
) -> Tensor:
    """Write ``(x - mean) * inverse_std * weight + bias`` into the workspace.

    Computed as ``x * scale + shift`` with one scale and one shift per channel.

    Args:
        workspace: memory to overwrite, of the size of `x`.
        x: ``(N, C, ...)``.
        mean: ``(C,)``.
        inverse_std: ``1 / sqrt(var + eps)``, ``(C,)``.
        weight: ``(C,)``; None means 1.
        bias: ``(C,)``; None means 0.
    """
    scale = inverse_std if weight is None else inverse_std * weight
    if bias is None:
        shift = (mean * scale).neg_()
    else:
        shift = torch.addcmul(bias, mean, scale, value=-1)
    scale, shift = materialize(x, scale, shift)
    return scale_and_shift(x, scale, shift, workspace)


def scale_and_shift(
    x: Tensor,
    scale: Tensor,
    shift: Tensor,
    out: Tensor,
) -> Tensor:
    """Write ``x * scale + shift`` into `out`, with scale and shift ``(C,)``.

    One operation for vectors. Along positions PyTorch is faster in two.
    """
    if x.ndim == 2:
        return torch.addcmul(shift, x, scale, out=out)
    scale = per_channel(scale, x.ndim)
    shift = per_channel(shift, x.ndim)
    torch.mul(x, scale, out=out)
    return out.add_(shift)


def materialize(x: Tensor, *coefficients: Tensor) -> tuple[Tensor, ...]:
    """Have the compiler store coefficients ``(C,)`` in memory.

    Compiled loops over the rows of a CPU's ``(N, C)`` would otherwise compute the
    coefficients again for every row. In all other cases nothing happens.
    """
    recomputed = torch.compiler.is_compiling() and x.ndim == 2 and x.is_cpu
    if not recomputed:
        return coefficients
    stored = torch.stack(coefficients)
    return tuple(stored)


def gradient_sums(
    dy: Tensor,
    x: Tensor,
    mean: Tensor,
    inverse_std: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute ``sum dy`` and ``sum dy * xhat`` of every channel.

    The gradient of `mse_loss` is ``2 * (x - mean) * dy``. Its operator computes this in
    one pass if memory for the result is given, and in two otherwise.

    Args:
        dy: gradient of the output, ``(N, C, ...)``.
        x: the input, ``(N, C, ...)``.
        mean: ``(C,)``.
        inverse_std: ``1 / sqrt(var + eps)``, ``(C,)``.

    Returns:
        A workspace of the size of `x`, which was needed on the way and may be
        overwritten; ``sum dy``, ``(C,)``; ``sum dy * xhat``, ``(C,)``.
    """
    workspace = torch.empty_like(x)
    centre = per_channel(mean, x.ndim)
    product = torch.ops.aten.mse_loss_backward.grad_input(
        dy,
        x,
        centre,
        NO_REDUCTION,
        grad_input=workspace,
    )
    sum_dy = channel_sum(dy)
    sum_dy_xhat = channel_sum(product).mul_(inverse_std / 2)
    return product, sum_dy, sum_dy_xhat


def input_gradient(
    workspace: Tensor,
    dy: Tensor,
    x: Tensor,
    weight: Tensor | None,
    mean: Tensor,
    inverse_std: Tensor,
    sum_dy: Tensor,
    sum_dy_xhat: Tensor,
    count: int | Tensor,
) -> Tensor:
    """Write dx into the workspace, as ``a * dy + b * x + c``.

    The coefficients a, b and c are ``(C,)``.

    Args:
        workspace: memory to overwrite, of the size of `x`.
        dy: gradient of the output, ``(N, C, ...)``.
        x: the input, ``(N, C, ...)``.
        weight: scale ``(C,)``; None means 1.
        mean: ``(C,)``.
        inverse_std: ``1 / sqrt(var + eps)``, ``(C,)``.
        sum_dy: as `gradient_sums` returns it, ``(C,)``.
        sum_dy_xhat: as `gradient_sums` returns it, ``(C,)``.
        count: number of values per channel.
    """
    a = inverse_std if weight is None else inverse_std * weight
    # Compiled loops over images compute a, b and c for every value, hence no division.
    share = a * (-1 / count)
    b = (share * inverse_std).mul_(sum_dy_xhat)
    c = share.mul_(sum_dy).addcmul_(b, mean, value=-1)
    a, b, c = materialize(x, a, b, c)
    dx = scale_and_shift(x, b, c, workspace)
    return dx.addcmul_(dy, per_channel(a, x.ndim))


def parameter_gradients(
    sum_dy: Tensor,
    sum_dy_xhat: Tensor,
    weight: Tensor | None,
    bias_dtype: torch.dtype | None,
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of scale and shift, each in the precision of its parameter.

    Args:
        sum_dy: the gradient of the shift, ``(C,)``.
        sum_dy_xhat: the gradient of the scale, ``(C,)``.
        weight: the scale; None if there is none.
        bias_dtype: type of the shift, which is all that the forward pass keeps of it;
            None if there is no shift.
    """
    dweight = None if weight is None else in_dtype(sum_dy_xhat, weight.dtype)
    dbias = None if bias_dtype is None else in_dtype(sum_dy, bias_dtype)
    return dweight, dbias
