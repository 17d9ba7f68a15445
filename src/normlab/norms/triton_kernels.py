"""Batch normalization for CUDA in four Triton kernels; experimental, `norm.kernel=triton` asks for it.

Two kernels a direction, each the other's counterpart: one reduces, one writes.

    forward     partial_moments         count, mean and sum of squared deviations of every part of a channel
                write_output            joins the parts, y = (x - mean) / sqrt(var + eps) * weight + bias
    backward    partial_gradient_sums   sum dy and sum dy * xhat of every part
                write_gradients         joins the parts, dx = a * (dy - dbias / n - xhat * dweight / n)

All of them see the input as samples x channels x positions in this order in memory; channels-last tensors and vectors
have one position and more samples. A program walks over tiles of a few channels, usually one. Where the channels are
too few to occupy the device, several programs share a channel, and whoever writes joins their parts: no atomics, so
that the same input gives the same bits. Means and variances are float32, gathered by Welford's update and Chan's rule
from what is left of the values after the first one of their channel is taken off: nothing cancels where the mean is
large, and the means of the parts keep the digits in which they differ.

Imported only where it is asked for, since it needs the package triton. With TRITON_INTERPRET=1 in the environment it
runs on the CPU, for tests.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.runtime.interpreter import InterpretedFunction

TILE = 2048  # values a program holds at a time
RUN = 32  # neighbours in memory that a tile covers at least, for coalesced access
PROGRAMS = 1024  # enough for the largest devices, about eight for every multiprocessor of an H200
MOST_PARTS = 64  # of a channel, since every program that writes reads them all
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class Plan(NamedTuple):
    """How programs share the work on samples x channels x positions.

    Attributes:
        sizes: samples, channels, positions.
        blocks: of a tile, in the same order, powers of two.
        parts: programs that share a channel.
        tiles: that each of them walks over.
    """

    sizes: tuple[int, int, int]
    blocks: tuple[int, int, int]
    parts: int
    tiles: int

    @property
    def grid(self) -> tuple[int, int]:
        return triton.cdiv(self.sizes[1], self.blocks[1]), self.parts


def plan(samples: int, channels: int, positions: int) -> Plan:
    """Tiles with at least `RUN` neighbours in memory; parts until `PROGRAMS` programs have work, or tiles run out."""
    s = min(triton.next_power_of_2(positions), 256)
    c = min(triton.next_power_of_2(channels), max(1, RUN // s))
    n = min(triton.next_power_of_2(samples), max(1, TILE // (s * c)))
    all_tiles = triton.cdiv(samples, n) * triton.cdiv(positions, s)
    parts = min(all_tiles, triton.cdiv(PROGRAMS, triton.cdiv(channels, c)), MOST_PARTS)
    tiles = triton.cdiv(all_tiles, parts)
    return Plan(
        (samples, channels, positions), (n, c, s), triton.cdiv(all_tiles, tiles), tiles
    )


def normalize_batch(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalize ``(N, C, ...)`` by its own channel statistics, as `batch_statistics.normalize_batch`.

    First derivatives only. Other memory layouts than contiguous and channels-last are copied.

    Args:
        x: float32, bfloat16 or float16, on a CUDA device, not empty.
        weight: ``(C,)`` or None for 1.
        bias: ``(C,)`` or None for 0.
        eps: added to the variance.

    Returns:
        The output, and mean and biased variance ``(C,)`` without gradient, in float32.

    Raises:
        ValueError: another device or precision.
    """
    if x.dtype not in DTYPES:
        raise ValueError(
            f"norm.kernel=triton needs float32, bfloat16 or float16 input, got {x.dtype}; use norm.kernel=auto"
        )
    if not x.is_cuda and not isinstance(_partial_moments, InterpretedFunction):
        raise ValueError(
            f"norm.kernel=triton needs input on a CUDA device, got {x.device}; use norm.kernel=auto"
        )
    return _TritonBatchNormalization.apply(x, weight, bias, eps)


class _TritonBatchNormalization(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        channels_last = _is_channels_last(x)
        x = _dense(x, channels_last)
        shared = _plan_of(x, channels_last)
        y, partials = torch.empty_like(x), _partials(x, 3, shared)
        mean, var = (x.new_empty(x.shape[1], dtype=torch.float32) for _ in range(2))
        with torch.cuda.device_of(x):
            _partial_moments[shared.grid](
                x, partials, *shared.sizes, shared.tiles, *shared.blocks
            )
            parts = triton.next_power_of_2(shared.parts)
            _write_output[shared.grid](
                x,
                partials,
                weight,
                bias,
                y,
                mean,
                var,
                eps,
                *shared.sizes,
                shared.tiles,
                parts,
                *shared.blocks,
            )
        ctx.mark_non_differentiable(mean, var)
        ctx.save_for_backward(x, weight, bias, mean, var)
        ctx.eps, ctx.channels_last = eps, channels_last
        return y, mean, var

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dy: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, var = ctx.saved_tensors
        dy = _dense(dy, ctx.channels_last)
        shared = _plan_of(x, ctx.channels_last)
        dx, partials = torch.empty_like(x), _partials(x, 2, shared)
        dweight, dbias = (
            None if like is None else torch.empty_like(like) for like in (weight, bias)
        )
        with torch.cuda.device_of(x):
            _partial_gradient_sums[shared.grid](
                x, dy, mean, partials, *shared.sizes, shared.tiles, *shared.blocks
            )
            parts = triton.next_power_of_2(shared.parts)
            _write_gradients[shared.grid](
                *(x, dy, mean, var, weight, partials, dx, dweight, dbias, ctx.eps),
                *(*shared.sizes, shared.tiles, parts, *shared.blocks),
            )
        return dx, dweight, dbias, None


def _is_channels_last(x: Tensor) -> bool:
    return not x.is_contiguous() and x.movedim(1, -1).is_contiguous()


def _dense(x: Tensor, channels_last: bool) -> Tensor:
    return (
        x.movedim(1, -1).contiguous().movedim(-1, 1)
        if channels_last
        else x.contiguous()
    )


def _plan_of(x: Tensor, channels_last: bool) -> Plan:
    samples, channels = x.shape[:2]
    positions = x.numel() // (samples * channels)
    return (
        plan(samples * positions, channels, 1)
        if channels_last
        else plan(samples, channels, positions)
    )


def _partials(x: Tensor, quantities: int, shared: Plan) -> Tensor:
    return x.new_empty((quantities, shared.parts, x.shape[1]), dtype=torch.float32)


@triton.jit
def _tile(
    index,
    samples,
    channels,
    positions,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_S: tl.constexpr,
):
    """Offsets of the program's tile number `index`, and which of them lie inside of the tensor."""
    blocks = tl.cdiv(positions, BLOCK_S)
    n = (index // blocks) * BLOCK_N + tl.arange(0, BLOCK_N)[:, None, None]
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)[None, :, None]
    s = (index % blocks) * BLOCK_S + tl.arange(0, BLOCK_S)[None, None, :]
    inside = (n < samples) & (c < channels) & (s < positions)
    return (
        n.to(tl.int64) * channels + c
    ) * positions + s, inside  # 64 bits: tensors beyond 2^31 values


@triton.jit
def _tiles_end(samples, positions, tiles, BLOCK_N: tl.constexpr, BLOCK_S: tl.constexpr):
    return tl.minimum(
        (tl.program_id(1) + 1) * tiles,
        tl.cdiv(samples, BLOCK_N) * tl.cdiv(positions, BLOCK_S),
    )


@triton.jit
def _channels(channels, BLOCK_C: tl.constexpr):
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    return c, c < channels


@triton.jit
def _sum(values):
    """Per channel of a tile."""
    return tl.sum(tl.sum(values, 2), 0)


@triton.jit
def _load_parts(
    partials, quantity, parts, channels, PARTS: tl.constexpr, BLOCK_C: tl.constexpr
):
    c, exists = _channels(channels, BLOCK_C)
    part = tl.arange(0, PARTS)[:, None]
    offsets = (quantity * parts + part) * channels + c[None, :]
    return tl.load(partials + offsets, mask=(part < parts) & exists[None, :], other=0.0)


@triton.jit
def _store_part(partials, quantity, values, channels, BLOCK_C: tl.constexpr):
    c, exists = _channels(channels, BLOCK_C)
    tl.store(
        partials + (quantity * tl.num_programs(1) + tl.program_id(1)) * channels + c,
        values,
        mask=exists,
    )


@triton.jit
def _load_channels(vector, channels, BLOCK_C: tl.constexpr):
    c, exists = _channels(channels, BLOCK_C)
    return tl.load(vector + c, mask=exists, other=0.0).to(tl.float32)


@triton.jit
def _first_values(x, channels, positions, BLOCK_C: tl.constexpr):
    """Of every channel, from the first sample."""
    c, exists = _channels(channels, BLOCK_C)
    return tl.load(x + c.to(tl.int64) * positions, mask=exists, other=0.0).to(
        tl.float32
    )


@triton.jit
def _partial_moments(
    x,
    partials,
    samples,
    channels,
    positions,
    tiles,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_S: tl.constexpr,
):
    """Every place of the tile follows its own values by Welford's update; Chan's rule joins the places at the end."""
    first = _first_values(x, channels, positions, BLOCK_C)[None, :, None]
    count = tl.zeros((BLOCK_N, BLOCK_C, BLOCK_S), tl.float32)
    mean = tl.zeros((BLOCK_N, BLOCK_C, BLOCK_S), tl.float32)
    squares = tl.zeros((BLOCK_N, BLOCK_C, BLOCK_S), tl.float32)
    for index in range(
        tl.program_id(1) * tiles,
        _tiles_end(samples, positions, tiles, BLOCK_N, BLOCK_S),
    ):
        offsets, inside = _tile(
            index, samples, channels, positions, BLOCK_N, BLOCK_C, BLOCK_S
        )
        value = tl.load(x + offsets, mask=inside, other=0.0).to(tl.float32) - first
        count += inside.to(tl.float32)
        delta = tl.where(inside, value - mean, 0.0)
        mean += delta / tl.maximum(count, 1.0)
        squares += delta * (value - mean)
    total = _sum(count)
    channel_mean = _sum(count * mean) / tl.maximum(total, 1.0)
    apart = mean - channel_mean[None, :, None]
    _store_part(partials, 0, total, channels, BLOCK_C)
    _store_part(partials, 1, channel_mean, channels, BLOCK_C)
    _store_part(partials, 2, _sum(squares + count * apart * apart), channels, BLOCK_C)


@triton.jit
def _write_output(
    x,
    partials,
    weight,
    bias,
    y,
    mean_out,
    var_out,
    eps,
    samples,
    channels,
    positions,
    tiles,
    PARTS: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_S: tl.constexpr,
):
    parts = tl.num_programs(1)
    counts = _load_parts(partials, 0, parts, channels, PARTS, BLOCK_C)
    means = _load_parts(partials, 1, parts, channels, PARTS, BLOCK_C)
    squares = _load_parts(partials, 2, parts, channels, PARTS, BLOCK_C)
    total = tl.maximum(tl.sum(counts, 0), 1.0)
    mean = tl.sum(counts * means, 0) / total
    apart = means - mean[None, :]
    var = tl.sum(squares + counts * apart * apart, 0) / total
    first = _first_values(x, channels, positions, BLOCK_C)
    c, exists = _channels(channels, BLOCK_C)
    if tl.program_id(1) == 0:
        tl.store(mean_out + c, first + mean, mask=exists)
        tl.store(var_out + c, var, mask=exists)
    scale = tl.rsqrt(var + eps)
    shift = tl.zeros((BLOCK_C,), tl.float32)
    if weight is not None:
        scale *= _load_channels(weight, channels, BLOCK_C)
    if bias is not None:
        shift += _load_channels(bias, channels, BLOCK_C)
    for index in range(
        tl.program_id(1) * tiles,
        _tiles_end(samples, positions, tiles, BLOCK_N, BLOCK_S),
    ):
        offsets, inside = _tile(
            index, samples, channels, positions, BLOCK_N, BLOCK_C, BLOCK_S
        )
        value = tl.load(x + offsets, mask=inside, other=0.0).to(tl.float32)
        value = (value - first[None, :, None] - mean[None, :, None]) * scale[
            None, :, None
        ] + shift[None, :, None]
        tl.store(y + offsets, value.to(y.dtype.element_ty), mask=inside)


@triton.jit
def _partial_gradient_sums(
    x,
    dy,
    mean_in,
    partials,
    samples,
    channels,
    positions,
    tiles,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_S: tl.constexpr,
):
    mean = _load_channels(mean_in, channels, BLOCK_C)[None, :, None]
    sum_dy = tl.zeros((BLOCK_N, BLOCK_C, BLOCK_S), tl.float32)
    sum_dy_centred = tl.zeros((BLOCK_N, BLOCK_C, BLOCK_S), tl.float32)
    for index in range(
        tl.program_id(1) * tiles,
        _tiles_end(samples, positions, tiles, BLOCK_N, BLOCK_S),
    ):
        offsets, inside = _tile(
            index, samples, channels, positions, BLOCK_N, BLOCK_C, BLOCK_S
        )
        value = tl.load(x + offsets, mask=inside, other=0.0).to(tl.float32)
        gradient = tl.load(dy + offsets, mask=inside, other=0.0).to(tl.float32)
        sum_dy += gradient
        sum_dy_centred += gradient * (value - mean)  # 0 outside, as the gradient is
    _store_part(partials, 0, _sum(sum_dy), channels, BLOCK_C)
    _store_part(partials, 1, _sum(sum_dy_centred), channels, BLOCK_C)


@triton.jit
def _write_gradients(
    x,
    dy,
    mean_in,
    var_in,
    weight,
    partials,
    dx,
    dweight_out,
    dbias_out,
    eps,
    samples,
    channels,
    positions,
    tiles,
    PARTS: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_S: tl.constexpr,
):
    parts = tl.num_programs(1)
    mean = _load_channels(mean_in, channels, BLOCK_C)
    inverse = tl.rsqrt(_load_channels(var_in, channels, BLOCK_C) + eps)
    dbias = tl.sum(_load_parts(partials, 0, parts, channels, PARTS, BLOCK_C), 0)
    dweight = (
        tl.sum(_load_parts(partials, 1, parts, channels, PARTS, BLOCK_C), 0) * inverse
    )
    c, exists = _channels(channels, BLOCK_C)
    if tl.program_id(1) == 0:
        if dweight_out is not None:
            tl.store(
                dweight_out + c, dweight.to(dweight_out.dtype.element_ty), mask=exists
            )
        if dbias_out is not None:
            tl.store(dbias_out + c, dbias.to(dbias_out.dtype.element_ty), mask=exists)
    scale = inverse
    if weight is not None:
        scale *= _load_channels(weight, channels, BLOCK_C)
    count = samples * 1.0 * positions
    mean_dy = (dbias / count)[None, :, None]
    slope = (dweight / count * inverse)[None, :, None]
    for index in range(
        tl.program_id(1) * tiles,
        _tiles_end(samples, positions, tiles, BLOCK_N, BLOCK_S),
    ):
        offsets, inside = _tile(
            index, samples, channels, positions, BLOCK_N, BLOCK_C, BLOCK_S
        )
        value = tl.load(x + offsets, mask=inside, other=0.0).to(tl.float32)
        gradient = tl.load(dy + offsets, mask=inside, other=0.0).to(tl.float32)
        value = scale[None, :, None] * (
            gradient - mean_dy - (value - mean[None, :, None]) * slope
        )
        tl.store(dx + offsets, value.to(dx.dtype.element_ty), mask=inside)
