"""The four Triton kernels of `batch_triton`, and what they share.

All of them see tensors as samples x channels x positions, in this order in memory. Axis
0 of the grid is blocks of channels, axis 1 the parts of a channel. Each program walks
over `tiles` tiles of BLOCK_N samples, BLOCK_C channels and BLOCK_S positions. Sums over
a part are handed from one kernel to the next in `partials`, float32 of the shape
quantities x parts x channels; PARTS is the next power of two of the number of parts.

With TRITON_INTERPRET=1 in the environment the kernels run on the CPU, for tests.
"""

import triton
import triton.language as tl


@triton.jit
def _load(pointers: tl.tensor, exists: tl.tensor) -> tl.tensor:
    """Load values as float32, and 0 where none exists."""
    values = tl.load(pointers, mask=exists, other=0.0)
    return values.to(tl.float32)


@triton.jit
def _tile(
    index: tl.tensor,
    samples: tl.tensor,
    channels: tl.tensor,
    positions: tl.tensor,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_S: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """Return the offsets of a tile, and which of them lie inside the tensor."""
    blocks = tl.cdiv(positions, BLOCK_S)
    first_n = (index // blocks) * BLOCK_N
    first_c = tl.program_id(0) * BLOCK_C
    first_s = (index % blocks) * BLOCK_S
    n = first_n + tl.arange(0, BLOCK_N)[:, None, None]
    c = first_c + tl.arange(0, BLOCK_C)[None, :, None]
    s = first_s + tl.arange(0, BLOCK_S)[None, None, :]
    inside = (n < samples) & (c < channels) & (s < positions)
    # 64 bits, for tensors of more than 2^31 values.
    row = n.to(tl.int64) * channels + c
    offsets = row * positions + s
    return offsets, inside


@triton.jit
def _tiles_end(
    samples: tl.tensor,
    positions: tl.tensor,
    tiles: tl.tensor,
    BLOCK_N: tl.constexpr,
    BLOCK_S: tl.constexpr,
) -> tl.tensor:
    """Return the number of the tile behind the last one of this program."""
    return tl.minimum(
        (tl.program_id(1) + 1) * tiles,
        tl.cdiv(samples, BLOCK_N) * tl.cdiv(positions, BLOCK_S),
    )


@triton.jit
def _channels(
    channels: tl.tensor,
    BLOCK_C: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """Return the channels of this program, and which of them exist."""
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    return c, c < channels


@triton.jit
def _sum(values: tl.tensor) -> tl.tensor:
    """Sum the values of every channel of a tile."""
    return tl.sum(tl.sum(values, 2), 0)


@triton.jit
def _load_parts(
    partials: tl.tensor,
    quantity: tl.tensor,
    parts: tl.tensor,
    channels: tl.tensor,
    PARTS: tl.constexpr,
    BLOCK_C: tl.constexpr,
) -> tl.tensor:
    """Load one quantity of all parts of the channels, parts x channels."""
    c, exists = _channels(channels, BLOCK_C)
    part = tl.arange(0, PARTS)[:, None]
    row = quantity * parts + part
    offsets = row * channels + c[None, :]
    inside = (part < parts) & exists[None, :]
    return _load(partials + offsets, inside)


@triton.jit
def _store_part(
    partials: tl.tensor,
    quantity: tl.tensor,
    values: tl.tensor,
    channels: tl.tensor,
    BLOCK_C: tl.constexpr,
) -> None:
    """Store one quantity of the part of this program."""
    c, exists = _channels(channels, BLOCK_C)
    row = quantity * tl.num_programs(1) + tl.program_id(1)
    tl.store(partials + row * channels + c, values, mask=exists)


@triton.jit
def _load_channels(
    vector: tl.tensor,
    channels: tl.tensor,
    BLOCK_C: tl.constexpr,
) -> tl.tensor:
    """Load the values that a vector ``(C,)`` has for the channels of this program."""
    c, exists = _channels(channels, BLOCK_C)
    return _load(vector + c, exists)


@triton.jit
def _first_values(
    x: tl.tensor,
    channels: tl.tensor,
    positions: tl.tensor,
    BLOCK_C: tl.constexpr,
) -> tl.tensor:
    """Load the first value of every channel."""
    c, exists = _channels(channels, BLOCK_C)
    offsets = c.to(tl.int64) * positions
    return _load(x + offsets, exists)


@triton.jit
def partial_moments(
    x: tl.tensor,
    partials: tl.tensor,
    samples: tl.tensor,
    channels: tl.tensor,
    positions: tl.tensor,
    tiles: tl.tensor,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_S: tl.constexpr,
) -> None:
    """Compute count, mean and sum of squared deviations of the part of a channel.

    Every element of the tile follows the values at its own place by Welford's update.
    Chan's rule joins the elements at the end.
    """
    first = _first_values(x, channels, positions, BLOCK_C)[None, :, None]
    count = tl.zeros((BLOCK_N, BLOCK_C, BLOCK_S), tl.float32)
    mean = tl.zeros((BLOCK_N, BLOCK_C, BLOCK_S), tl.float32)
    squares = tl.zeros((BLOCK_N, BLOCK_C, BLOCK_S), tl.float32)
    end = _tiles_end(samples, positions, tiles, BLOCK_N, BLOCK_S)
    for index in range(tl.program_id(1) * tiles, end):
        offsets, inside = _tile(
            index, samples, channels, positions, BLOCK_N, BLOCK_C, BLOCK_S
        )
        value = _load(x + offsets, inside) - first
        count += inside.to(tl.float32)
        delta = tl.where(inside, value - mean, 0.0)
        mean += delta / tl.maximum(count, 1.0)
        squares += delta * (value - mean)

    total = _sum(count)
    channel_mean = _sum(count * mean) / tl.maximum(total, 1.0)
    apart = mean - channel_mean[None, :, None]
    channel_squares = _sum(squares + count * apart * apart)
    _store_part(partials, 0, total, channels, BLOCK_C)
    _store_part(partials, 1, channel_mean, channels, BLOCK_C)
    _store_part(partials, 2, channel_squares, channels, BLOCK_C)


@triton.jit
def write_output(
    x: tl.tensor,
    partials: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    y: tl.tensor,
    mean_out: tl.tensor,
    var_out: tl.tensor,
    eps: tl.tensor,
    samples: tl.tensor,
    channels: tl.tensor,
    positions: tl.tensor,
    tiles: tl.tensor,
    PARTS: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_S: tl.constexpr,
) -> None:
    """Join the parts of a channel, and write output, mean and variance.

    `weight` and `bias` may be None.
    """
    parts = tl.num_programs(1)
    counts = _load_parts(partials, 0, parts, channels, PARTS, BLOCK_C)
    means = _load_parts(partials, 1, parts, channels, PARTS, BLOCK_C)
    squares = _load_parts(partials, 2, parts, channels, PARTS, BLOCK_C)
    total = tl.maximum(tl.sum(counts, 0), 1.0)
    mean = tl.sum(counts * means, 0) / total
    apart = means - mean[None, :]
    all_squares = squares + counts * apart * apart
    var = tl.sum(all_squares, 0) / total

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

    end = _tiles_end(samples, positions, tiles, BLOCK_N, BLOCK_S)
    for index in range(tl.program_id(1) * tiles, end):
        offsets, inside = _tile(
            index, samples, channels, positions, BLOCK_N, BLOCK_C, BLOCK_S
        )
        value = _load(x + offsets, inside)
        value = value - first[None, :, None] - mean[None, :, None]
        value = value * scale[None, :, None] + shift[None, :, None]
        tl.store(y + offsets, value.to(y.dtype.element_ty), mask=inside)


@triton.jit
def partial_gradient_sums(
    x: tl.tensor,
    dy: tl.tensor,
    mean_in: tl.tensor,
    partials: tl.tensor,
    samples: tl.tensor,
    channels: tl.tensor,
    positions: tl.tensor,
    tiles: tl.tensor,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_S: tl.constexpr,
) -> None:
    """Compute ``sum dy`` and ``sum dy * (x - mean)`` of the part of a channel."""
    mean = _load_channels(mean_in, channels, BLOCK_C)[None, :, None]
    sum_dy = tl.zeros((BLOCK_N, BLOCK_C, BLOCK_S), tl.float32)
    sum_dy_centred = tl.zeros((BLOCK_N, BLOCK_C, BLOCK_S), tl.float32)
    end = _tiles_end(samples, positions, tiles, BLOCK_N, BLOCK_S)
    for index in range(tl.program_id(1) * tiles, end):
        offsets, inside = _tile(
            index, samples, channels, positions, BLOCK_N, BLOCK_C, BLOCK_S
        )
        value = _load(x + offsets, inside)
        gradient = _load(dy + offsets, inside)
        sum_dy += gradient
        # Outside the tensor this is 0, since the gradient is 0 there.
        sum_dy_centred += gradient * (value - mean)
    _store_part(partials, 0, _sum(sum_dy), channels, BLOCK_C)
    _store_part(partials, 1, _sum(sum_dy_centred), channels, BLOCK_C)


@triton.jit
def write_gradients(
    x: tl.tensor,
    dy: tl.tensor,
    mean_in: tl.tensor,
    var_in: tl.tensor,
    weight: tl.tensor,
    partials: tl.tensor,
    dx: tl.tensor,
    dweight_out: tl.tensor,
    dbias_out: tl.tensor,
    eps: tl.tensor,
    samples: tl.tensor,
    channels: tl.tensor,
    positions: tl.tensor,
    tiles: tl.tensor,
    PARTS: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_S: tl.constexpr,
) -> None:
    """Join the parts of a channel, and write the gradients of input, scale and shift.

    `weight`, `dweight_out` and `dbias_out` may be None.
    """
    parts = tl.num_programs(1)
    mean = _load_channels(mean_in, channels, BLOCK_C)
    var = _load_channels(var_in, channels, BLOCK_C)
    inverse_std = tl.rsqrt(var + eps)
    sums_dy = _load_parts(partials, 0, parts, channels, PARTS, BLOCK_C)
    sums_dy_centred = _load_parts(partials, 1, parts, channels, PARTS, BLOCK_C)
    dbias = tl.sum(sums_dy, 0)
    sum_dy_centred = tl.sum(sums_dy_centred, 0)
    dweight = sum_dy_centred * inverse_std

    c, exists = _channels(channels, BLOCK_C)
    if tl.program_id(1) == 0:
        if dweight_out is not None:
            own_dweight = dweight.to(dweight_out.dtype.element_ty)
            tl.store(dweight_out + c, own_dweight, mask=exists)
        if dbias_out is not None:
            own_dbias = dbias.to(dbias_out.dtype.element_ty)
            tl.store(dbias_out + c, own_dbias, mask=exists)

    scale = inverse_std
    if weight is not None:
        scale *= _load_channels(weight, channels, BLOCK_C)
    count = samples * 1.0 * positions
    mean_dy = (dbias / count)[None, :, None]
    slope = (dweight / count * inverse_std)[None, :, None]
    end = _tiles_end(samples, positions, tiles, BLOCK_N, BLOCK_S)
    for index in range(tl.program_id(1) * tiles, end):
        offsets, inside = _tile(
            index, samples, channels, positions, BLOCK_N, BLOCK_C, BLOCK_S
        )
        value = _load(x + offsets, inside)
        gradient = _load(dy + offsets, inside)
        centred_gradient = gradient - mean_dy
        centred_value = value - mean[None, :, None]
        value = scale[None, :, None] * (centred_gradient - centred_value * slope)
        tl.store(dx + offsets, value.to(dx.dtype.element_ty), mask=inside)
