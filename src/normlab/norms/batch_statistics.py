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
    taken_apart = torch.compiler.is_compiling() or torch.jit.is_tracing() or torch._C._are_functorch_transforms_active()
    if taken_apart:
        return normalize_readably(x, weight, bias, eps)
    return _BatchNormalization.apply(x, weight, bias, eps)


def normalize_readably(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """What `normalize_batch` computes, for autograd and compilers to take apart."""
    mean, var = moments(x, channel_axes(x))
    y = normalize(x, mean, var, eps, per_channel(weight, x.ndim), per_channel(bias, x.ndim))
    return y, mean.detach().flatten(), var.detach().flatten()


def channel_axes(x: Tensor) -> tuple[int, ...]:
    """All axes of ``(N, C, ...)`` but the channels'."""
    return (0, *range(2, x.ndim))


class _BatchNormalization(torch.autograd.Function):
    """Every large tensor is made once and then changed in place: fresh memory costs more than the arithmetic."""

    @staticmethod
    def forward(
        ctx, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        y, mean, var = centred(x)
        ctx.mark_non_differentiable(mean, var)
        ctx.save_for_backward(x, weight, bias, mean, var)
        ctx.eps = eps
        return scaled(y, torch.rsqrt(var + eps), weight, bias).to(x.dtype), mean, var

    @staticmethod
    def backward(ctx, dy: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, var = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _differentiable_backward(x, weight, bias, ctx.eps, dy)
        inverse = torch.rsqrt(var + ctx.eps)
        dx, dbias, dweight = channel_sums(dy, x, mean, inverse)
        count = max(1, x.numel() // max(1, x.shape[1]))
        dx = input_gradient(dx, dy, x, weight, mean, inverse, dbias / count, dweight / count)
        return dx, _like(dweight, weight), _like(dbias, bias), None


def _differentiable_backward(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, dy: Tensor
) -> tuple[Tensor | None, ...]:
    """The gradient with a graph of its own, for second derivatives, which also go through the statistics."""
    mean, var = (value.flatten() for value in moments(x, channel_axes(x)))
    inverse, count = torch.rsqrt(var + eps), x.numel() // x.shape[1]
    xhat = (x - per_channel(mean, x.ndim)) * per_channel(inverse, x.ndim)
    dbias, dweight = dy.sum(channel_axes(x)), (dy * xhat).sum(channel_axes(x))
    centre = dy - per_channel(dbias / count, x.ndim) - xhat * per_channel(dweight / count, x.ndim)
    a = inverse if weight is None else inverse * weight
    return centre * per_channel(a, x.ndim), _like(dweight, weight), _like(dbias, bias), None


def _like(gradient: Tensor, parameter: Tensor | None) -> Tensor | None:
    return None if parameter is None else gradient.to(parameter.dtype)


def centred(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``x - mean`` in new memory, mean and biased variance ``(C,)``, in float32 or better.

    The variance is that of the centred values: nothing cancels where the mean is large.
    """
    x = x.to(statistics_dtype(x.dtype))
    count = max(1, x.numel() // max(1, x.shape[1]))
    mean = x.sum(channel_axes(x)) / count
    y = x - per_channel(mean, x.ndim)
    return y, mean, sum_of_squares(y) / count


def sum_of_squares(y: Tensor) -> Tensor:
    """Per channel, ``(C,)``; along contiguous positions it needs no memory of its own."""
    if y.ndim > 2 and y.is_contiguous():
        return torch.linalg.vector_norm(y.flatten(2), dim=2).square().sum(0)
    return y.square().sum(channel_axes(y))


def scaled(y: Tensor, inverse: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """``y * inverse * weight + bias`` per channel, in the memory of `y`."""
    y.mul_(per_channel(inverse if weight is None else inverse * weight, y.ndim))
    return y if bias is None else y.add_(per_channel(bias, y.ndim))


def channel_sums(dy: Tensor, x: Tensor, mean: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``sum dy`` and ``sum dy * xhat`` of every channel, and memory as large as `x` that was needed on the way."""
    product = (x.to(mean.dtype) - per_channel(mean, x.ndim)).mul_(dy)
    return product, dy.to(mean.dtype).sum(channel_axes(x)), product.sum(channel_axes(x)) * inverse


def input_gradient(
    memory: Tensor,
    dy: Tensor,
    x: Tensor,
    weight: Tensor | None,
    mean: Tensor,
    inverse: Tensor,
    mean_dy: Tensor,
    mean_dy_xhat: Tensor,
) -> Tensor:
    """dx as ``a * dy + b * x + c`` with a, b and c per channel, written into `memory`."""
    a = inverse if weight is None else inverse * weight
    b = -a * inverse * mean_dy_xhat
    c = -a * mean_dy - b * mean
    a, b, c = (per_channel(value, x.ndim) for value in (a, b, c))
    return torch.mul(x.to(mean.dtype), b, out=memory).add_(c).addcmul_(dy.to(mean.dtype), a).to(x.dtype)


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
        ctx.save_for_backward(x, weight, bias, mean, inverse, count)
        ctx.mark_non_differentiable(mean, var, count)
        y = x.to(mean.dtype) - per_channel(mean, x.ndim)
        return scaled(y, inverse, weight, bias).to(x.dtype), mean, var, count

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dy: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, inverse, count = ctx.saved_tensors
        dx, dbias, dweight = channel_sums(dy, x, mean, inverse)
        total = torch.stack([dbias, dweight])
        distributed.all_reduce(total)
        mean_dy, mean_dy_xhat = total / count
        dx = input_gradient(dx, dy, x, weight, mean, inverse, mean_dy, mean_dy_xhat)
        # Scale and shift get this process' share: the distributed reducer adds the shares up, as for every weight.
        return dx, _like(dweight, weight), _like(dbias, bias), None


def _global_moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, biased variance ``(C,)`` and number of values per channel over all processes, in one gather."""
    count = x.numel() // x.shape[1]
    _, mean, var = centred(x)
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
