"""Normalize a batch by the statistics of all processes of a distributed run.

The counterpart of `batch_statistics`, whose formulas it shares; only the sums over the
values of a channel extend over the batches of all processes.
"""

import torch
from torch import Tensor, distributed
from torch.autograd.function import FunctionCtx

from normlab.norms.batch_arithmetic import (
    batch_moments,
    gradient_sums,
    in_dtype,
    input_gradient,
    normalize_into,
    parameter_gradients,
)
from normlab.norms.functional import statistics_dtype


def normalize_synchronized_batch(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Normalize the batch of this process by the statistics of all processes together.

    One collective operation in the forward pass gathers count, mean and variance of
    every process; one in the backward pass adds up two sums per channel.

    Args:
        x: the batch of this process, ``(N, C, ...)``; N may differ between processes.
        weight: scale ``(C,)``; None means 1.
        bias: shift ``(C,)``; None means 0.
        eps: added to the variance.

    Returns:
        The output with shape and type of `x`; mean ``(C,)`` and biased variance
        ``(C,)`` over all processes; the number of values per channel over all
        processes.

    Raises:
        ValueError: there is one value per channel over all processes.
    """
    return _SynchronizedBatchNormalization.apply(x, weight, bias, eps)


class SynchronizedContext(FunctionCtx):
    """What the forward pass keeps: input, scale, mean, inverse deviation, count."""

    saved_tensors: tuple[Tensor, Tensor | None, Tensor, Tensor, Tensor]
    bias_dtype: torch.dtype | None


class _SynchronizedBatchNormalization(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: SynchronizedContext,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
    ) -> tuple[Tensor, ...]:
        wide = in_dtype(x, statistics_dtype(x.dtype))
        workspace, mean, var, count = _global_moments(wide)
        inverse_std = torch.rsqrt(var + eps)
        y = normalize_into(workspace, wide, mean, inverse_std, weight, bias)

        ctx.mark_non_differentiable(mean, var, count)
        # PyTorch's annotation leaves out None, which is allowed.
        ctx.save_for_backward(x, weight, mean, inverse_std, count)  # type: ignore[arg-type]
        ctx.bias_dtype = None if bias is None else bias.dtype
        y = in_dtype(y, x.dtype)
        return y, mean, var, count

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: SynchronizedContext,
        dy: Tensor,
        *unused: Tensor,
    ) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse_std, count = ctx.saved_tensors
        wide = in_dtype(x, mean.dtype)
        dy = in_dtype(dy, mean.dtype)
        workspace, own_dy, own_dy_xhat = gradient_sums(dy, wide, mean, inverse_std)

        totals = torch.stack([own_dy, own_dy_xhat])
        distributed.all_reduce(totals)
        sum_dy, sum_dy_xhat = totals
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
        # Scale and shift get the share of this process: the distributed reducer adds
        # the shares up, as it does for every parameter.
        dweight, dbias = parameter_gradients(
            own_dy,
            own_dy_xhat,
            weight,
            ctx.bias_dtype,
        )
        return dx, dweight, dbias, None


def _global_moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute count, mean and biased variance over all processes, in one gather.

    Args:
        x: the batch of this process, ``(N, C, ...)`` in float32 or better.

    Returns:
        A workspace of the size of `x`, which was needed on the way and may be
        overwritten; mean ``(C,)``; variance ``(C,)``; number of values per channel.
    """
    count = x.numel() // x.shape[1]
    workspace, mean, var = batch_moments(x)

    own_count = mean.new_full((1,), count)
    own = torch.cat([own_count, mean, var])
    num_processes = distributed.get_world_size()
    gathered = own.new_empty(num_processes * len(own))
    distributed.all_gather_into_tensor(gathered, own)

    gathered = gathered.view(-1, len(own))  # one row per process
    counts = gathered[:, :1]
    means, variances = gathered[:, 1:].chunk(2, 1)
    total = counts.sum()
    # Reading the total waits for the device. It is read only if this process has at
    # most one value, which is so in all processes if they have one value together.
    if count <= 1 and total <= 1:
        raise ValueError(
            "expected more than one value per channel over all processes when "
            "training, got one"
        )
    mean = (counts * means).sum(0) / total
    between = (means - mean).square()
    squares = counts * (variances + between)
    var = squares.sum(0) / total
    return workspace, mean, var, total
