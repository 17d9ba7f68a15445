"""The sums and products in the closed form of batch normalization, without autograd.

`normlab.norms.batch_statistics` has the formulas. `batch_synchronized` and
`batch_stacked` put the same steps together for several processes and networks.
"""

import torch
from torch import Tensor

from normlab.norms.channel_statistics import channel_sum
from normlab.norms.functional import per_channel

# The value of the operator behind `mse_loss` for no reduction. The operator broadcasts;
# the Python function of that name would first copy both inputs to one shape.
NO_REDUCTION = 0


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
    scale, shift = output_coefficients(mean, inverse_std, weight, bias)
    scale, shift = materialize(x, scale, shift)
    return scale_and_shift(x, scale, shift, workspace)


def output_coefficients(
    mean: Tensor,
    inverse_std: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return scale and shift of the output ``x * scale + shift``.

    Args:
        mean, inverse_std, weight, bias: see `normalize_into`; of any one shape.
    """
    scale = inverse_std if weight is None else inverse_std * weight
    if bias is None:
        return scale, (mean * scale).neg_()
    return scale, torch.addcmul(bias, mean, scale, value=-1)


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
    a, b, c = gradient_coefficients(
        weight, mean, inverse_std, sum_dy, sum_dy_xhat, count
    )
    a, b, c = materialize(x, a, b, c)
    dx = scale_and_shift(x, b, c, workspace)
    return dx.addcmul_(dy, per_channel(a, x.ndim))


def gradient_coefficients(
    weight: Tensor | None,
    mean: Tensor,
    inverse_std: Tensor,
    sum_dy: Tensor,
    sum_dy_xhat: Tensor,
    count: int | Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return a, b and c of ``dx = a * dy + b * x + c``.

    Args:
        weight, mean, inverse_std, sum_dy, sum_dy_xhat, count: see `input_gradient`; of
            any one shape.
    """
    a = inverse_std if weight is None else inverse_std * weight
    # Compiled loops over images compute a, b and c for every value, hence no division.
    share = a * (-1 / count)
    b = (share * inverse_std).mul_(sum_dy_xhat)
    c = share.mul_(sum_dy).addcmul_(b, mean, value=-1)
    return a, b, c


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
