"""Normalization by the statistics of the batch, with its gradient in closed form.

Autograd through `functional.moments` and `functional.normalize` gives the same numbers, but keeps several copies of
the input and walks over them a dozen times. In closed form, with xhat = (x - mean) / sqrt(var + eps), n values a
channel and sums over the channel's values,

    dbias   = sum dy                dweight = sum dy * xhat
    dx      = weight / sqrt(var + eps) * (dy - dbias / n - xhat * dweight / n)

only the input is kept, and dx is one linear expression in dy and x. `torch.compile` fuses both directions;
`torch.export`, `torch.func` and tracing get the readable path.
"""

import torch
from torch import Tensor, distributed

from normlab.norms.functional import (
    column_sums,
    moments,
    normalize,
    per_channel,
    statistics_dtype,
)

NO_REDUCTION = 0  # of the operator behind `mse_loss`, which broadcasts; the Python function would copy shapes first


def normalize_batch(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalize ``(N, C, ...)`` by its own channel statistics.

    Returns:
        The output, and mean and biased variance ``(C,)`` without gradient, in float32 or better.
    """
    taken_apart = (
        torch.compiler.is_exporting()
        or torch.jit.is_tracing()
        or torch._C._are_functorch_transforms_active()
    )
    if taken_apart:
        return normalize_readably(x, weight, bias, eps)
    return _BatchNormalization.apply(x, weight, bias, eps)


def normalize_readably(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """What `normalize_batch` computes, for exporters and transformations to take apart."""
    mean, var = moments(x, channel_axes(x))
    y = normalize(
        x, mean, var, eps, per_channel(weight, x.ndim), per_channel(bias, x.ndim)
    )
    return y, mean.detach().flatten(), var.detach().flatten()


def channel_axes(x: Tensor) -> tuple[int, ...]:
    """All axes of ``(N, C, ...)`` but the channels'."""
    return (0, *range(2, x.ndim))


class _BatchNormalization(torch.autograd.Function):
    """Every large tensor is made once and then changed in place: fresh memory costs more than the arithmetic.

    Small inputs cost what the number of operations costs, hence no operation per channel more than needed. Half
    precision is made float32 once in either direction; the functions below get and give that.
    """

    @staticmethod
    def forward(
        ctx, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        wide = in_dtype(x, statistics_dtype(x.dtype))
        memory, mean, var = batch_moments(wide)
        inverse = (var + eps).rsqrt_()
        ctx.mark_non_differentiable(mean, var)
        ctx.save_for_backward(x, weight, mean, inverse)
        ctx.eps, ctx.bias_dtype = eps, None if bias is None else bias.dtype
        return (
            in_dtype(normalized(memory, wide, mean, inverse, weight, bias), x.dtype),
            mean,
            var,
        )

    @staticmethod
    def backward(ctx, dy: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _differentiable_backward(x, weight, ctx.bias_dtype, ctx.eps, dy)
        wide, dy = in_dtype(x, mean.dtype), in_dtype(dy, mean.dtype)
        dx, dbias, dweight = channel_sums(dy, wide, mean, inverse)
        count = max(1, x.numel() // max(1, x.shape[1]))
        dx = input_gradient(dx, dy, wide, weight, mean, inverse, dbias, dweight, count)
        return (
            in_dtype(dx, x.dtype),
            *_parameter_gradients(dweight, weight, dbias, ctx.bias_dtype),
            None,
        )


def _differentiable_backward(
    x: Tensor,
    weight: Tensor | None,
    bias_dtype: torch.dtype | None,
    eps: float,
    dy: Tensor,
) -> tuple[Tensor | None, ...]:
    """The gradient with a graph of its own, for second derivatives, which also go through the statistics."""
    mean, var = (value.flatten() for value in moments(x, channel_axes(x)))
    inverse, count = torch.rsqrt(var + eps), x.numel() // x.shape[1]
    xhat = (x - per_channel(mean, x.ndim)) * per_channel(inverse, x.ndim)
    dbias, dweight = dy.sum(channel_axes(x)), (dy * xhat).sum(channel_axes(x))
    centre = (
        dy
        - per_channel(dbias / count, x.ndim)
        - xhat * per_channel(dweight / count, x.ndim)
    )
    a = inverse if weight is None else inverse * weight
    return (
        centre * per_channel(a, x.ndim),
        *_parameter_gradients(dweight, weight, dbias, bias_dtype),
        None,
    )


def _parameter_gradients(
    dweight: Tensor,
    weight: Tensor | None,
    dbias: Tensor,
    bias_dtype: torch.dtype | None,
) -> tuple[Tensor | None, Tensor | None]:
    """In the parameters' own precision; of the shift only that is kept from the forward pass."""
    of_weight = None if weight is None else in_dtype(dweight, weight.dtype)
    return of_weight, None if bias_dtype is None else in_dtype(dbias, bias_dtype)


def in_dtype(x: Tensor, dtype: torch.dtype) -> Tensor:
    """`x.to(dtype)`, which takes a microsecond even where there is nothing to do."""
    return x if x.dtype == dtype else x.to(dtype)


def batch_moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance ``(C,)``, behind memory as large as `x` that was needed on the way.

    The variance is that of the centred values: nothing cancels where the mean is large. `mse_loss` centres and squares
    in one pass.
    """
    count = max(1, x.numel() // max(1, x.shape[1]))
    mean = channel_sum(x).div_(count)
    squares = torch.ops.aten.mse_loss.default(
        x, per_channel(mean, x.ndim), NO_REDUCTION
    )
    return squares, mean, channel_sum(squares).div_(count)


def channel_sum(x: Tensor) -> Tensor:
    """Sums of every channel, ``(C,)``."""
    return column_sums(x) if x.ndim == 2 else x.sum(channel_axes(x))


def normalized(
    memory: Tensor,
    x: Tensor,
    mean: Tensor,
    inverse: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
) -> Tensor:
    """``(x - mean) * inverse * weight + bias`` as ``x * scale + shift`` per channel, written into `memory`."""
    scale = inverse if weight is None else inverse * weight
    shift = (
        (mean * scale).neg_()
        if bias is None
        else torch.addcmul(bias, mean, scale, value=-1)
    )
    return linear(x, *in_memory(x, scale, shift), out=memory)


def linear(x: Tensor, scale: Tensor, shift: Tensor, out: Tensor) -> Tensor:
    """``x * scale + shift`` per channel; one pass over vectors, while along positions PyTorch is faster in two."""
    if x.ndim == 2:
        return torch.addcmul(shift, x, scale, out=out)
    return torch.mul(x, per_channel(scale, x.ndim), out=out).add_(
        per_channel(shift, x.ndim)
    )


def in_memory(x: Tensor, *coefficients: Tensor) -> tuple[Tensor, ...]:
    """The same vectors, which compiled loops over the rows of a CPU's ``(N, C)`` would else make anew for every row."""
    made_anew = torch.compiler.is_compiling() and x.ndim == 2 and x.is_cpu
    return tuple(torch.stack(coefficients)) if made_anew else coefficients


def channel_sums(
    dy: Tensor, x: Tensor, mean: Tensor, inverse: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """``sum dy`` and ``sum dy * xhat`` of every channel, behind memory as large as `x` that was needed on the way.

    The gradient of `mse_loss` is ``2 * (x - mean) * dy``, in one pass, or two where its memory is not given.
    """
    memory, centre = torch.empty_like(x), per_channel(mean, x.ndim)
    product = torch.ops.aten.mse_loss_backward.grad_input(
        dy, x, centre, NO_REDUCTION, grad_input=memory
    )
    return product, channel_sum(dy), channel_sum(product).mul_(inverse / 2)


def input_gradient(
    memory: Tensor,
    dy: Tensor,
    x: Tensor,
    weight: Tensor | None,
    mean: Tensor,
    inverse: Tensor,
    sum_dy: Tensor,
    sum_dy_xhat: Tensor,
    count: int | Tensor,
) -> Tensor:
    """dx as ``a * dy + b * x + c`` with a, b and c per channel, written into `memory`.

    Compiled loops over images make a, b and c anew for every value, hence no division.
    """
    a = inverse if weight is None else inverse * weight
    share = a * (-1 / count)
    b = (share * inverse).mul_(sum_dy_xhat)
    c = share.mul_(sum_dy).addcmul_(b, mean, value=-1)
    a, b, c = in_memory(x, a, b, c)
    return linear(x, b, c, out=memory).addcmul_(dy, per_channel(a, x.ndim))


def synchronized_moments(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As `normalize_batch`, by the statistics of all processes' batches together; also their number of values.

    One collective forward (count, mean and variance of every process) and one backward (the two sums).

    Raises:
        ValueError: one value per channel over all processes.
    """
    return _SynchronizedBatchNormalization.apply(x, weight, bias, eps)


class _SynchronizedBatchNormalization(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, ...]:
        wide = in_dtype(x, statistics_dtype(x.dtype))
        memory, mean, var, count = _global_moments(wide)
        inverse = torch.rsqrt(var + eps)
        ctx.save_for_backward(x, weight, mean, inverse, count)
        ctx.bias_dtype = None if bias is None else bias.dtype
        ctx.mark_non_differentiable(mean, var, count)
        return (
            in_dtype(normalized(memory, wide, mean, inverse, weight, bias), x.dtype),
            mean,
            var,
            count,
        )

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dy: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse, count = ctx.saved_tensors
        wide, dy = in_dtype(x, mean.dtype), in_dtype(dy, mean.dtype)
        dx, dbias, dweight = channel_sums(dy, wide, mean, inverse)
        totals = torch.stack([dbias, dweight])
        distributed.all_reduce(totals)
        dx = in_dtype(
            input_gradient(dx, dy, wide, weight, mean, inverse, *totals, count), x.dtype
        )
        # Scale and shift get this process' share: the distributed reducer adds the shares up, as for every weight.
        return dx, *_parameter_gradients(dweight, weight, dbias, ctx.bias_dtype), None


def _global_moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean, biased variance ``(C,)`` and number of values per channel over all processes, in one gather.

    In front comes memory as large as `x` that was needed on the way.
    """
    count = x.numel() // x.shape[1]
    memory, mean, var = batch_moments(x)
    own = torch.cat([mean.new_full((1,), count), mean, var])
    gathered = own.new_empty(distributed.get_world_size() * len(own))
    distributed.all_gather_into_tensor(gathered, own)
    gathered = gathered.view(-1, len(own))
    counts, means, vars = gathered[:, :1], *gathered[:, 1:].chunk(2, 1)
    total = counts.sum()
    # To look at the total is to wait for the device: done only where a process has one value or none itself, which is
    # so in all of them if they have one together.
    if count <= 1 and total <= 1:
        raise ValueError(
            "expected more than one value per channel over all processes when training, got one"
        )
    mean = (counts * means).sum(0) / total
    var = (counts * (vars + (means - mean).square())).sum(0) / total
    return memory, mean, var, total
