"""The arithmetic of normalization in pure functions; every norm here is a choice of axes plus what it remembers.

For a group of values x_1 .. x_n that share statistics:

    mean = sum x_i / n            var = sum (x_i - mean)^2 / n
    y_i  = (x_i - mean) / sqrt(var + eps) * weight + bias

`momentum` is everywhere the weight of the new value: ``average = (1 - momentum) * average + momentum * new``.
"""

import torch
from torch import Tensor

PAGE_BYTES = 4096
ROWS, ROWS_COMPILED = 16, 8  # the fastest at (512, 1024)


def statistics_dtype(dtype: torch.dtype) -> torch.dtype:
    """Precision of means and variances: float32 or better, since half precision cannot add up a batch."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def moments(x: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Mean and biased variance over `axes`, which are kept with size 1, in float32 or better; 0 and 0 of no values.

    Computed in two passes, since ``mean(x^2) - mean(x)^2`` cancels where the mean is large.
    """
    x = x.to(statistics_dtype(x.dtype))
    if x.numel() == 0:
        nothing = x.sum(axes, keepdim=True)
        return nothing, nothing
    if (
        axes == (0,) and x.ndim == 2
    ):  # PyTorch's var_mean walks down one column after the other: 10 to 100 times slower
        mean = column_sums(x) / x.shape[0]
        return mean[None], column_sums((x - mean).square())[None] / x.shape[0]
    var, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    return mean, var


def column_sums(x: Tensor) -> Tensor:
    """Sums over the samples of ``(N, C)``, as ``(C,)``.

    A processor's cache keeps few lines that lie a multiple of a memory page apart, and a loop down a column touches one
    in every row. Sums of a few rows at a time, and of as many of these, keep it to lines that fit. Compiled loops go
    down single columns whatever the width and want neighbouring rows; PyTorch's own go down several side by side and
    want rows that lie far apart, so that the few rows are long ones.
    """
    if x.is_cpu and not torch.compiler.is_exporting() and not torch.jit.is_tracing():
        if torch.compiler.is_compiling():
            while _known(x.shape[0] > ROWS_COMPILED) and _known(
                x.shape[0] % ROWS_COMPILED == 0
            ):
                x = x.unflatten(0, (-1, ROWS_COMPILED)).sum(1)
        elif x.shape[1] * x.element_size() % PAGE_BYTES == 0:
            while x.shape[0] > 2 * ROWS and x.shape[0] % ROWS == 0:
                x = x.view(ROWS, x.shape[0] // ROWS, x.shape[1]).sum(0)
    return x.sum(0)


def _known(condition: bool) -> bool:
    """True where the compiler knows it; what depends on a size that varies would cost a graph for either answer."""
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    return statically_known_true(condition)


def normalize(
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    eps: float,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """``(x - mean) / sqrt(var + eps) * weight + bias`` in the precision of the statistics, returned in that of `x`.

    Args:
        x: any shape.
        mean: broadcasts to `x`.
        var: broadcasts to `x`.
        eps: inside of the root, so that constant input gives `bias` and no NaN.
        weight: scale, broadcasts to `x`, or None for 1.
        bias: shift, broadcasts to `x`, or None for 0.
    """
    scale = torch.rsqrt(var + eps)
    if weight is not None:
        scale = scale * weight.to(scale.dtype)
    y = (x.to(scale.dtype) - mean) * scale
    if bias is not None:
        y = y + bias.to(y.dtype)
    return y.to(x.dtype)


def per_channel(values: Tensor | None, ndim: int) -> Tensor | None:
    """A vector ``(C,)`` shaped to act on axis 1 of a tensor with `ndim` axes; of two, that is what it does."""
    return (
        values if values is None or ndim == 2 else values.view(1, -1, *[1] * (ndim - 2))
    )


def update_average(
    average: Tensor, new: Tensor, momentum: float | Tensor, factor: float | Tensor = 1.0
) -> None:
    """``average = (1 - momentum) * average + momentum * factor * new``, in place: nothing that shares it stays behind.

    `mul_` and `add_` rather than `lerp_`, for which `torch.vmap` has no rule.
    """
    weight, new = momentum * factor, new.detach()
    if isinstance(weight, Tensor):
        average.mul_(1 - momentum).add_(weight * new.to(average.dtype))
    else:
        average.mul_(1 - momentum).add_(new, alpha=weight)
