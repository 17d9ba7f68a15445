"""Batch normalization of one network, or of many at once under `torch.vmap`.

Autograd through the formula would serve `torch.vmap` too. But it is slower, and if
deviations reach 1e12 its products leave the range of float32, while the closed form in
`normlab.norms.batch_statistics` stays inside. So the steps here are those of the closed
form, for all networks together: K networks with C channels are one with K C channels.
Vectors stay where they are in memory, since to move their channels side by side would
cost more than the arithmetic.

Shapes: K networks, N samples, C channels in each network.
"""

from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import TransformType

from normlab.norms import batch_statistics
from normlab.norms.batch_arithmetic import (
    NO_REDUCTION,
    gradient_coefficients,
    output_coefficients,
)
from normlab.norms.batch_statistics import (
    differentiable_backward,
    needs_plain_backward,
    needs_plain_forward,
    normalize_by_autograd,
)
from normlab.norms.functional import HALF_PRECISION


def normalize_batch(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute what `batch_statistics.normalize_batch` does, and under `torch.vmap` too.

    Args:
        x, weight, bias, eps: see there.

    Returns:
        The output, the mean and the biased variance, see there.
    """
    if _is_inside_vmap():
        return _ManyNetworks.apply(x, weight, bias, eps)
    return batch_statistics.normalize_batch(x, weight, bias, eps)


def _is_inside_vmap() -> bool:
    """Whether the innermost transform of `torch.func` is `torch.vmap`.

    The functions of PyTorch are private, checked with 2.15.
    """
    if torch.compiler.is_compiling() or not torch._C._are_functorch_transforms_active():
        return False
    return torch._C._functorch.peek_interpreter_stack().key() == TransformType.Vmap


class _ManyNetworks(torch.autograd.Function):
    """A rule for `torch.vmap`.

    The other methods are called if all networks share input, scale and shift.
    """

    @staticmethod
    def forward(
        x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        return normalize_by_autograd(x, weight, bias, eps)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
        x, weight, bias, eps = inputs
        _, mean, var = output
        ctx.mark_non_differentiable(mean, var)
        ctx.save_for_backward(x, weight)
        ctx.bias_dtype = None if bias is None else bias.dtype
        ctx.eps = eps

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        return differentiable_backward(x, weight, ctx.bias_dtype, ctx.eps, dy)

    @staticmethod
    def vmap(
        info: Any,
        axes: tuple[int | None, ...],
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
    ) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[int, int, int]]:
        """Normalize the batches of K networks.

        Returns:
            The output, the mean and the variance, and which of their axes is that of
            the networks.
        """
        size = info.batch_size
        if weight is not None:
            weight = _by_network(weight, axes[1], 0, size)
        if bias is not None:
            bias = _by_network(bias, axes[2], 0, size)
        are_vectors = x.ndim - (axes[0] is not None) == 2
        if are_vectors and _are_plain(x):
            x = _by_network(x, axes[0], 0, size)
            y, mean, var = _ManyVectors.apply(x, weight, bias, eps)
            return (y, mean, var), (0, 0, 0)
        x = _by_network(x, axes[0], 1, size)
        y, mean, var = normalize_batch(
            x.flatten(1, 2),
            None if weight is None else weight.flatten(),
            None if bias is None else bias.flatten(),
            eps,
        )
        y = y.view(x.shape)
        return (y, mean.view(size, -1), var.view(size, -1)), (1, 0, 0)


def _by_network(values: Tensor, axis: int | None, place: int, size: int) -> Tensor:
    """Values with the axis of the networks at a place, repeated if they have none."""
    if axis is not None:
        return values.movedim(axis, place)
    shape = [*values.shape[:place], size, *values.shape[place:]]
    return values.unsqueeze(place).expand(shape)


def _are_plain(x: Tensor) -> bool:
    """Whether vectors can be normalized where they are."""
    return (
        x.dtype not in HALF_PRECISION
        and x.numel() > 0
        and not x.is_meta
        and not needs_plain_forward()
    )


class _ManyVectors(torch.autograd.Function):
    """Vectors ``(K, N, C)`` in the steps of `batch_statistics.normalize_batch`.

    Scale and shift are ``(K, C)``, and so are the mean and variance that it returns.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean = x.mean(1, keepdim=True)
        squares = torch.ops.aten.mse_loss.default(x, mean, NO_REDUCTION)
        var = squares.mean(1, keepdim=True)
        inverse_std = (var + eps).rsqrt_()
        scale, shift = output_coefficients(
            mean, inverse_std, _per_vector(weight), _per_vector(bias)
        )
        y = torch.addcmul(shift, x, scale, out=squares)
        mean_of_network = mean.squeeze(1)
        var_of_network = var.squeeze(1)

        ctx.mark_non_differentiable(mean_of_network, var_of_network)
        ctx.save_for_backward(x, weight, mean, inverse_std)
        ctx.has_bias = bias is not None
        ctx.eps = eps
        return y, mean_of_network, var_of_network

    @staticmethod
    def backward(
        ctx: Any, dy: Tensor, *unused: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight, mean, inverse_std = ctx.saved_tensors
        if needs_plain_backward(dy):
            dx, dweight, dbias = _differentiable_gradients(ctx, x, weight, dy)
            return dx, dweight, dbias, None
        workspace = torch.empty_like(x)
        product = torch.ops.aten.mse_loss_backward.grad_input(
            dy, x, mean, NO_REDUCTION, grad_input=workspace
        )
        sum_dy = dy.sum(1, keepdim=True)
        sum_dy_xhat = product.sum(1, keepdim=True).mul_(inverse_std / 2)
        a, b, c = gradient_coefficients(
            _per_vector(weight), mean, inverse_std, sum_dy, sum_dy_xhat, x.shape[1]
        )
        dx = torch.addcmul(c, x, b, out=workspace).addcmul_(dy, a)
        dweight = None if weight is None else sum_dy_xhat.squeeze(1)
        dbias = sum_dy.squeeze(1) if ctx.has_bias else None
        return dx, dweight, dbias, None


def _per_vector(values: Tensor | None) -> Tensor | None:
    """Values ``(K, C)`` as ``(K, 1, C)``, which broadcast to the vectors."""
    return None if values is None else values.unsqueeze(1)


def _differentiable_gradients(
    ctx: Any, x: Tensor, weight: Tensor | None, dy: Tensor
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The gradients in operations that can be differentiated again."""
    size, num_samples, _ = x.shape
    # Not `flatten`, which has no rule for batches of gradients.
    dx, dweight, dbias, _ = differentiable_backward(
        x.transpose(0, 1).reshape(num_samples, -1),
        None if weight is None else weight.flatten(),
        x.dtype if ctx.has_bias else None,
        ctx.eps,
        dy.transpose(0, 1).reshape(num_samples, -1),
    )
    assert dx is not None
    dx = dx.view(num_samples, size, -1).transpose(0, 1)
    if dweight is not None:
        dweight = dweight.view(size, -1)
    if dbias is not None:
        dbias = dbias.view(size, -1)
    return dx, dweight, dbias
