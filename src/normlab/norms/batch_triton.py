"""Batch normalization for CUDA in four Triton kernels; experimental.

Used if `norm.kernel=triton`. Each direction has one kernel that reduces and one that
writes:

- `partial_moments`: count, mean and sum of squared deviations of each part of a
  channel.
- `write_output`: joins the parts of a channel, and writes
  ``y = (x - mean) / sqrt(var + eps) * weight + bias``.
- `partial_gradient_sums`: ``sum dy`` and ``sum dy * (x - mean)`` of each part.
- `write_gradients`: joins the parts, and writes
  ``dx = weight / sqrt(var + eps) * (dy - dbias / n - xhat * dweight / n)``.

They see the input as samples x channels x positions, in this order in memory.
Channels-last tensors and vectors have one position, and correspondingly more samples. A
program walks over tiles of a few channels, usually of one. If there are too few
channels to occupy the device, several programs share a channel, and each program that
writes joins the results of all of them. There are no atomic operations, so that the
same input gives the same bits.

Means and variances are float32. Welford's update and Chan's rule for joining parts are
applied to the differences from the first value of each channel: nothing cancels if the
mean is large, and the means of the parts keep the digits in which they differ.

This module is imported only when it is needed, since it requires the package triton.
"""

from typing import NamedTuple

import torch
import triton
from torch import Tensor
from torch.autograd.function import FunctionCtx
from triton.runtime.interpreter import InterpretedFunction

from normlab.norms.triton_kernels import (
    partial_gradient_sums,
    partial_moments,
    write_gradients,
    write_output,
)

TILE = 2048  # number of values that a program holds at a time
RUN = 32  # least number of neighbours in memory in a tile, for coalesced access
PROGRAMS = 1024  # enough for the largest devices: about 8 per multiprocessor of an H200
MOST_PARTS = 64  # of one channel, since every program that writes reads all of them
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class Plan(NamedTuple):
    """How programs divide the work on samples x channels x positions.

    Attributes:
        sizes: numbers of samples, channels and positions.
        blocks: size of a tile along the same three axes, powers of two.
        parts: number of programs that share a channel.
        tiles: number of tiles that each of them walks over.
    """

    sizes: tuple[int, int, int]
    blocks: tuple[int, int, int]
    parts: int
    tiles: int

    @property
    def grid(self) -> tuple[int, int]:
        """Number of programs, as blocks of channels x parts."""
        channel_blocks = triton.cdiv(self.sizes[1], self.blocks[1])
        return channel_blocks, self.parts


def plan(samples: int, channels: int, positions: int) -> Plan:
    """Choose the tiles, and how many programs share a channel.

    A tile has at least `RUN` neighbours in memory. Channels are divided into parts
    until `PROGRAMS` programs have work, or there are no more tiles to share.

    Args:
        samples: number of samples.
        channels: number of channels.
        positions: number of positions.
    """
    s = min(triton.next_power_of_2(positions), 256)
    c = min(triton.next_power_of_2(channels), max(1, RUN // s))
    most_samples = max(1, TILE // (s * c))
    n = min(triton.next_power_of_2(samples), most_samples)

    all_tiles = triton.cdiv(samples, n) * triton.cdiv(positions, s)
    useful_parts = triton.cdiv(PROGRAMS, triton.cdiv(channels, c))
    tiles = triton.cdiv(all_tiles, min(all_tiles, useful_parts, MOST_PARTS))
    return Plan(
        sizes=(samples, channels, positions),
        blocks=(n, c, s),
        parts=triton.cdiv(all_tiles, tiles),
        tiles=tiles,
    )


def normalize_batch(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalize every channel by the mean and variance of its values in the batch.

    As `batch_statistics.normalize_batch`, with first derivatives only. Tensors that are
    neither contiguous nor channels-last are copied.

    Args:
        x: the batch, ``(N, C, ...)`` in float32, bfloat16 or float16, on a CUDA device
            and not empty.
        weight: scale ``(C,)``; None means 1.
        bias: shift ``(C,)``; None means 0.
        eps: added to the variance.

    Returns:
        The output with shape and type of `x`, and the mean and biased variance ``(C,)``
        of the batch, in float32 and without gradient.

    Raises:
        ValueError: the input is on another device or of another type.
    """
    if x.dtype not in DTYPES:
        raise ValueError(
            "norm.kernel=triton needs float32, bfloat16 or float16 input, got "
            f"{x.dtype}; use norm.kernel=auto"
        )
    if not x.is_cuda and not isinstance(partial_moments, InterpretedFunction):
        raise ValueError(
            "norm.kernel=triton needs input on a CUDA device, got "
            f"{x.device}; use norm.kernel=auto"
        )
    return _TritonBatchNormalization.apply(x, weight, bias, eps)


class TritonContext(FunctionCtx):
    """What the forward pass keeps: input, scale, shift, mean and variance."""

    saved_tensors: tuple[Tensor, Tensor | None, Tensor | None, Tensor, Tensor]
    eps: float
    channels_last: bool


class _TritonBatchNormalization(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: TritonContext,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        channels_last = _is_channels_last(x)
        x = _dense(x, channels_last)
        work = _plan_of(x, channels_last)
        parts = triton.next_power_of_2(work.parts)
        y = torch.empty_like(x)
        partials = _partials(x, 3, work)
        mean = x.new_empty(x.shape[1], dtype=torch.float32)
        var = x.new_empty(x.shape[1], dtype=torch.float32)

        with torch.cuda.device_of(x):
            partial_moments[work.grid](
                x, partials, *work.sizes, work.tiles, *work.blocks
            )
            write_output[work.grid](
                *(x, partials, weight, bias, y, mean, var, eps),
                *(*work.sizes, work.tiles, parts, *work.blocks),
            )

        ctx.mark_non_differentiable(mean, var)
        # PyTorch's annotation leaves out None, which is allowed.
        ctx.save_for_backward(x, weight, bias, mean, var)  # type: ignore[arg-type]
        ctx.eps = eps
        ctx.channels_last = channels_last
        return y, mean, var

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: TritonContext,
        dy: Tensor,
        *unused: Tensor,
    ) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, var = ctx.saved_tensors
        dy = _dense(dy, ctx.channels_last)
        work = _plan_of(x, ctx.channels_last)
        parts = triton.next_power_of_2(work.parts)
        dx = torch.empty_like(x)
        dweight = None if weight is None else torch.empty_like(weight)
        dbias = None if bias is None else torch.empty_like(bias)
        partials = _partials(x, 2, work)

        with torch.cuda.device_of(x):
            partial_gradient_sums[work.grid](
                x, dy, mean, partials, *work.sizes, work.tiles, *work.blocks
            )
            write_gradients[work.grid](
                *(x, dy, mean, var, weight, partials, dx, dweight, dbias, ctx.eps),
                *(*work.sizes, work.tiles, parts, *work.blocks),
            )
        return dx, dweight, dbias, None


def _is_channels_last(x: Tensor) -> bool:
    return not x.is_contiguous() and x.movedim(1, -1).is_contiguous()


def _dense(x: Tensor, channels_last: bool) -> Tensor:
    """Return `x`, copied if its memory layout is another than the given one."""
    if channels_last:
        return x.movedim(1, -1).contiguous().movedim(-1, 1)
    return x.contiguous()


def _plan_of(x: Tensor, channels_last: bool) -> Plan:
    """Plan the work on ``(N, C, ...)``, which is dense in its memory layout."""
    samples, channels = x.shape[:2]
    positions = x.numel() // (samples * channels)
    if channels_last:
        return plan(samples * positions, channels, 1)
    return plan(samples, channels, positions)


def _partials(x: Tensor, quantities: int, work: Plan) -> Tensor:
    """Allocate memory for some quantities per part of each channel."""
    shape = (quantities, work.parts, x.shape[1])
    return x.new_empty(shape, dtype=torch.float32)
