"""Normalization by the statistics of the batch, with its gradient in closed form.

Autograd through `functional.moments` and `functional.normalize` gives the same numbers, but keeps several copies of
the input and walks over them a dozen times. In closed form, with xhat = (x - mean) / sqrt(var + eps), n values a
channel and sums over the channel's values,

    dbias   = sum dy                dweight = sum dy * xhat
    dx      = weight / sqrt(var + eps) * (dy - dbias / n - xhat * dweight / n)

only the input is kept, and dx is one linear expression in dy and x. `torch.compile` and `torch.export` get the
readable path and fuse it themselves.
"""

import torch
from torch import Tensor, distributed

from normlab.norms.functional import moments, normalize, per_channel, statistics_dtype


def normalize_batch(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Normalize ``(N, C, ...)`` by its own channel statistics.

    Returns:
        The output, and mean and biased variance ``(C,)`` without gradient, in float32 or better.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        axes = (0, *range(2, x.ndim))
        mean, var = moments(x, axes)
        y = normalize(x, mean, var, eps, per_channel(weight, x.ndim), per_channel(bias, x.ndim))
        return y, mean.detach().flatten(), var.detach().flatten()
    return _BatchNormalization.apply(x, weight, bias, eps)


class _BatchNormalization(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        mean, var = channel_moments(x)
        scale = torch.rsqrt(var + eps)
        if weight is not None:
            scale = scale * weight
        shift = -mean * scale if bias is None else bias - mean * scale
        return affine(x, scale, shift), mean, var

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: tuple) -> None:
        x, weight, bias, ctx.eps = inputs
        _, mean, var = output
        ctx.mark_non_differentiable(mean, var)
        ctx.save_for_backward(x, weight, mean, var)
        ctx.has_bias = bias is not None

    @staticmethod
    def backward(ctx, dy: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, var = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative also goes through the statistics
            mean, var = channel_moments(x)
        inverse = torch.rsqrt(var + ctx.eps)
        dbias, dweight = channel_sums(dy, x, mean, inverse)
        count = x.numel() // x.shape[1]
        dx = input_gradient(dy, x, weight, mean, inverse, dbias / count, dweight / count)
        dweight = None if weight is None else dweight.to(weight.dtype)
        return dx, dweight, dbias if ctx.has_bias else None, None


def channel_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance ``(C,)`` of ``(N, C, ...)``, in float32 or better.

    The contiguous positions of every sample and channel are reduced first; samples are then combined by
    var = mean of variances + variance of means (Chan, Golub and LeVeque, 1979), exact for groups of equal size.
    """
    x = x.to(statistics_dtype(x.dtype))
    if x.ndim == 2:
        var, mean = torch.var_mean(x, 0, correction=0)
        return mean, var
    if not x.is_contiguous():
        var, mean = torch.var_mean(x, (0, *range(2, x.ndim)), correction=0)
        return mean, var
    vars, means = torch.var_mean(x.flatten(2), 2, correction=0)
    between, mean = torch.var_mean(means, 0, correction=0)
    return mean, vars.mean(0) + between


def affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """``x * scale + shift`` per channel in one pass, returned in the precision of `x`."""
    scale, shift = per_channel(scale, x.ndim), per_channel(shift, x.ndim)
    return torch.addcmul(shift, x.to(scale.dtype), scale).to(x.dtype)


def channel_sums(dy: Tensor, x: Tensor, mean: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
    """``sum dy`` and ``sum dy * xhat`` of every channel, ``(C,)``."""
    dy, x = dy.to(mean.dtype), x.to(mean.dtype)
    axes = (0, *range(2, x.ndim))
    dbias = dy.sum(axes)
    if x.ndim > 2 and x.is_contiguous() and dy.is_contiguous():
        product = torch.linalg.vecdot(dy.flatten(2), x.flatten(2)).sum(0)
    else:
        product = (dy * x).sum(axes)
    return dbias, (product - mean * dbias) * inverse


def input_gradient(
    dy: Tensor, x: Tensor, weight: Tensor | None, mean: Tensor, inverse: Tensor, mean_dy: Tensor, mean_dy_xhat: Tensor
) -> Tensor:
    """dx as ``a * dy + b * x + c`` with a, b and c per channel."""
    a = inverse if weight is None else inverse * weight
    b = -a * inverse * mean_dy_xhat
    c = -a * mean_dy - b * mean
    linear = affine(x.to(mean.dtype), b, c)
    return torch.addcmul(linear, dy.to(mean.dtype), per_channel(a, x.ndim)).to(x.dtype)


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
    def forward(ctx, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> tuple[Tensor, ...]:
        mean, var, count = _global_moments(x)
        inverse = torch.rsqrt(var + eps)
        scale = inverse if weight is None else inverse * weight
        shift = -mean * scale if bias is None else bias - mean * scale
        ctx.save_for_backward(x, weight, mean, inverse, count)
        ctx.has_bias = bias is not None
        ctx.mark_non_differentiable(mean, var, count)
        return affine(x, scale, shift), mean, var, count

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dy: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse, count = ctx.saved_tensors
        dbias, dweight = channel_sums(dy, x, mean, inverse)
        total = torch.stack([dbias, dweight])
        distributed.all_reduce(total)
        mean_dy, mean_dy_xhat = total / count
        dx = input_gradient(dy, x, weight, mean, inverse, mean_dy, mean_dy_xhat)
        # Scale and shift get this process' share: the distributed reducer adds the shares up, as for every weight.
        return dx, None if weight is None else dweight, dbias if ctx.has_bias else None, None


def _global_moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, biased variance ``(C,)`` and number of values per channel over all processes, in one gather."""
    count = x.numel() // x.shape[1]
    mean, var = channel_moments(x) if count else (x.new_zeros(x.shape[1]), x.new_zeros(x.shape[1]))
    own = torch.cat([mean.new_full((1,), count), mean, var])
    gathered = own.new_empty(distributed.get_world_size() * len(own))
    distributed.all_gather_into_tensor(gathered, own)
    gathered = gathered.view(-1, len(own))
    counts, means, vars = gathered[:, :1], *gathered[:, 1:].chunk(2, 1)
    total = counts.sum()
    if total <= 1:
        raise ValueError("expected more than one value per channel over all processes when training, got one")
    mean = (counts * means).sum(0) / total
    var = (counts * (vars + (means - mean).square())).sum(0) / total
    return mean, var, total
