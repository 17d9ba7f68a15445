"""Sums and moments of channels, as batch norms need them.

Most of this file makes sums over the samples of ``(N, C)`` fast.
"""

from math import prod

import torch
from torch import Tensor

from normlab.norms.functional import moments, statistics_dtype
from normlab.norms.shapes import position_axes

# From this number of samples on, the order in which images are summed decides how exact
# the sum is, and the exact order is the faster one as well.
MANY_SAMPLES = 512
FEW_POSITIONS = 32  # up to here, sums over the samples come first
PAGE_BYTES = 4096
# Rows that `column_sums` adds up at a time, in eager and in compiled code: each is the
# fastest for inputs of shape (512, 1024).
ROWS = 16
ROWS_COMPILED = 8


def channel_axes(x: Tensor) -> tuple[int, ...]:
    """Return all axes of ``(N, C, ...)`` except that of the channels."""
    return (0, *range(2, x.ndim))


def values_per_channel(x: Tensor) -> int:
    """Return the number of values that each channel of ``(N, C, ...)`` has."""
    return x.numel() // max(1, x.shape[1])


def channel_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the mean and the biased variance of every channel.

    As `functional.moments` over all axes but 1. For vectors the sums go through
    `column_sums`: PyTorch's own reduction is 10 to 100 times slower, since it walks
    down one column after the other.

    Args:
        x: ``(N, C, ...)``.

    Returns:
        Mean and variance, ``(1, C, 1, ...)``, in float32 or better.
    """
    if x.ndim != 2 or x.numel() == 0:
        return moments(x, channel_axes(x))
    x = x.to(statistics_dtype(x.dtype))
    num_samples = x.shape[0]
    mean = column_sums(x) / num_samples
    squares = (x - mean).square()
    var = column_sums(squares) / num_samples
    return mean[None], var[None]


def channel_sum(x: Tensor) -> Tensor:
    """Sum the values of every channel of ``(N, C, ...)``, to ``(C,)``."""
    if x.ndim == 2:
        return column_sums(x)
    if x.is_cpu and x.shape[0] > MANY_SAMPLES:
        return _sum_over_many_samples(x)
    return x.sum(channel_axes(x))


def _sum_over_many_samples(x: Tensor) -> Tensor:
    """Sum the values of every channel of ``(N, C, ...)``, with one axis at a time.

    If the channels lie between the axes of a sum, PyTorch adds up the samples one after
    the other, and every addition rounds. Along a single axis it adds up in blocks.
    """
    num_positions = prod(x.shape[2:])
    if num_positions > FEW_POSITIONS or not x.is_contiguous():
        sums_of_samples = x.sum(position_axes(x))
        return column_sums(sums_of_samples)
    sums = column_sums(x.flatten(1))
    return sums.view(x.shape[1], num_positions).sum(1)


def column_sums(x: Tensor) -> Tensor:
    """Sum over the samples of ``(N, C)``, to ``(C,)``.

    A loop down a column touches one cache line in every row, and a processor's cache
    holds only few lines whose addresses differ by a multiple of a memory page. Adding
    up a few rows at a time, and then a few of those sums, needs only as many lines as
    fit.

    Compiled loops go down single columns whatever the width, and are fastest over
    neighbouring rows. PyTorch's own loops go down several columns side by side, and are
    fastest over rows that lie far apart.
    """
    if x.is_cpu and not torch.compiler.is_exporting() and not torch.jit.is_tracing():
        if torch.compiler.is_compiling():
            while _is_provable(x.shape[0] > ROWS_COMPILED) and _is_provable(
                x.shape[0] % ROWS_COMPILED == 0
            ):
                x = x.unflatten(0, (-1, ROWS_COMPILED)).sum(1)
        elif x.shape[1] * x.element_size() % PAGE_BYTES == 0:
            while x.shape[0] > 2 * ROWS and x.shape[0] % ROWS == 0:
                x = x.view(ROWS, x.shape[0] // ROWS, x.shape[1]).sum(0)
    return x.sum(0)


def _is_provable(condition: bool) -> bool:
    """Whether the compiler can prove a condition on sizes.

    To branch on a size that varies would compile one graph for either answer.
    """
    # Imported here because it is slow to import and only compilers come here.
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    return statically_known_true(condition)
