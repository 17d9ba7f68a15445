"""Moving average batch norm: statistics of past batches, forward and backward."""

from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from normlab.norms.channel_statistics import channel_axes, values_per_channel
from normlab.norms.functional import per_channel, statistics_dtype, update_average
from normlab.norms.shapes import check_dim, check_input, refuse_one_value

FIRST_DERIVATIVES = (
    "norm=moving_average has first derivatives by backward() only, since its backward "
    "pass is not the derivative of its output; use evaluation mode or another norm"
)


class MovingAverageBatchNorm(nn.Module):
    r"""Divide every channel by its root mean square over the last batches.

    .. math::

        y_{ncp} = r_c \, z_{ncp} \, \gamma_c + \beta_c
        \qquad
        z_{ncp} = \frac{x_{ncp}}{\sqrt{\chi_c^2 + \epsilon}}
        \qquad
        r_c = \operatorname{clip}_{1 / r_{\max}}^{r_{\max}}
              \sqrt{\frac{\chi_c^2 + \epsilon}{s_c^2 + \epsilon}}

    - :math:`x`, ``(N, C, ...)``: the input, with sample n, channel c and position p.
    - :math:`\chi^2`, ``(C,)``: mean of the squares of a channel over samples and
      positions, averaged over the last m batches (`recent_mean_squares`, ``(m, C)``).
    - :math:`s^2`, ``(C,)``: its running average `running_mean_square` before this
      batch, which moves towards :math:`\chi^2` afterwards.
    - :math:`\gamma, \beta`, ``(C,)``: learned scale `weight` and shift `bias`.

    Batch norm has two more statistics in its backward pass, which are as noisy in small
    batches. Nothing is centred here, so that one of them is left. For a gradient
    :math:`g = r \, \gamma \, \partial L / \partial y`, the backward pass is

    .. math::

        \frac{\partial L}{\partial x_{ncp}} =
            \frac{g_{ncp} - z_{ncp} \, \psi_c}{\sqrt{\chi_c^2 + \epsilon}}

    - :math:`\psi`, ``(C,)``: mean of :math:`g \, z` over samples and positions,
      averaged over the last m batches too (`recent_products`, ``(m, C)``).

    This is not the derivative of y: second derivatives and forward mode are refused.
    The first batches are normalized by themselves, and :math:`\chi^2` and :math:`\psi`
    are those of the batch; then the backward pass is the derivative. Batch t, counted
    from 1, is one of them if t is at most m or below `warmup_steps`. And r is 1 until t
    exceeds both `warmup_steps` and `r_warmup_steps`. In evaluation
    :math:`\gamma x / \sqrt{s^2 + \epsilon} + \beta` is the output; :math:`s^2` starts
    at 1.

    Use it for batches of a few samples, whose own statistics are too noisy. The paper
    also centres the weights of every convolution, which is no part of this layer, see
    `centre_weights` and ``norm=weight_centralization``.

    Args:
        num_features: number of channels C.
        dim: 1, 2 or 3, see `BatchNorm`.
        window: number m of batches in the averages. The paper makes m batches have as
            many samples as one batch of the usual size.
        warmup_steps: first batch that may be normalized by the averages.
        r_max: largest r, and the inverse of the smallest.
        r_warmup_steps: number of batches in which r stays 1.
        eps: added to the mean squares, against division by zero.
        momentum: weight of the new batch in the running average.
        affine: learn `weight` and `bias`.

    Raises:
        ValueError: from the constructor for an unknown `dim`, for `window` or `r_max`
            below 1; from the call for input of another rank or number of channels, and
            in training for one value per channel.
        RuntimeError: in training, for second derivatives and forward mode.

    References:
        Yan, Wan, Zhang, Zhang, Wei and Sun, "Towards Stabilizing Batch Statistics in
        Backward Propagation of Batch Normalization", 2020, arXiv 2001.06838. The first
        batches, and the defaults of all options but `window`, are those of the file
        MABN.py in the authors' code; its `momentum` of 0.98 is the weight of the old
        average. The paper has no first batches. Unlike there, products that are not
        finite are used once and not averaged, and an empty batch is not counted.
    """

    batch_dependent = True
    includes_activation = False
    # True while statistics are computed again for stored weights: each batch is then
    # normalized by itself.
    plain = False

    running_mean_square: Tensor
    recent_mean_squares: Tensor
    recent_products: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self,
        num_features: int,
        dim: int,
        window: int = 16,
        warmup_steps: int = 100,
        r_max: float = 5.0,
        r_warmup_steps: int = 1000,
        eps: float = 1e-5,
        momentum: float = 0.02,
        affine: bool = True,
    ) -> None:
        super().__init__()
        if window < 1 or r_max < 1:
            raise ValueError(
                f"window and r_max must be at least 1, got {window} and {r_max}"
            )
        self.num_features = num_features
        self.dim = check_dim(dim)
        self.window = window
        self.warmup_steps = warmup_steps
        self.r_max = r_max
        self.r_warmup_steps = r_warmup_steps
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.weight = None
        self.bias = None
        if affine:
            self.weight = nn.Parameter(torch.ones(num_features))
            self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean_square", torch.ones(num_features))
        self.register_buffer("recent_mean_squares", torch.zeros(window, num_features))
        self.register_buffer("recent_products", torch.zeros(window, num_features))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def reset_parameters(self) -> None:
        """Set scale to 1 and shift to 0, and forget every batch seen so far."""
        if self.weight is not None and self.bias is not None:
            nn.init.ones_(self.weight)
            nn.init.zeros_(self.bias)
        self.running_mean_square.fill_(1)
        self.recent_mean_squares.zero_()
        self.recent_products.zero_()
        self.num_batches_tracked.zero_()

    def forward(self, input: Tensor) -> Tensor:
        """Normalize ``(N, C, ...)``; the output has the same shape and type."""
        check_input(input, self.num_features, self.dim)
        x = input.to(statistics_dtype(input.dtype))
        if not self.training:
            y = self._divide(x, self.running_mean_square.to(x.dtype))
        else:
            refuse_one_value(x)
            y = self._normalize_batch(x)

        weight = per_channel(self.weight, x.ndim)
        bias = per_channel(self.bias, x.ndim)
        if weight is not None and bias is not None:
            y = y * weight + bias
        return y.to(input.dtype)

    def _divide(self, x: Tensor, mean_square: Tensor) -> Tensor:
        inverse = torch.rsqrt(mean_square + self.eps)
        return x * per_channel(inverse, x.ndim)

    def _normalize_batch(self, x: Tensor) -> Tensor:
        """Normalize in training, and remember the batch unless it is empty."""
        count = values_per_channel(x)
        mean_square = x.square().sum(channel_axes(x)) / max(1, count)
        if count == 0:
            return self._divide(x, mean_square)
        if self.plain:
            update_average(self.running_mean_square, mean_square, self.momentum)
            return self._divide(x, mean_square)
        return self._normalize_by_recent(x, mean_square.detach())

    def _normalize_by_recent(self, x: Tensor, mean_square: Tensor) -> Tensor:
        """Normalize by the averages over the last batches, this one among them.

        Everything that depends on the number of batches seen is computed on the device
        of that number, so that nothing waits for its value.
        """
        step = self.num_batches_tracked.add_(1)
        slots = torch.arange(self.window, device=x.device)
        is_new = (slots == step % self.window).unsqueeze(1)  # (m, 1)
        is_settled = (step > self.window) & (step >= self.warmup_steps)

        recent = self.recent_mean_squares
        recent.copy_(torch.where(is_new, mean_square, recent))
        mean_square = torch.where(is_settled, recent.mean(0), mean_square)
        root = torch.sqrt(mean_square + self.eps)
        r = root / torch.sqrt(self.running_mean_square + self.eps)
        r = r.clamp(1 / self.r_max, self.r_max)
        is_corrected = step > max(self.r_warmup_steps, self.warmup_steps)
        r = torch.where(is_corrected, r, torch.ones_like(r))
        update_average(self.running_mean_square, mean_square, self.momentum)

        # With an axis for stacked layers, see `_Division`.
        y: Tensor = _Division.apply(
            x.unsqueeze(1),
            root.to(x.dtype).unsqueeze(0),
            r.to(x.dtype).unsqueeze(0),
            self.recent_products.unsqueeze(0),
            is_new.unsqueeze(0),
            is_settled.view(1, 1),
        )
        return y.squeeze(1)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, dim={self.dim}, window={self.window}, "
            f"warmup_steps={self.warmup_steps}, r_max={self.r_max}, "
            f"r_warmup_steps={self.r_warmup_steps}, eps={self.eps}, "
            f"momentum={self.momentum}, affine={self.affine}"
        )


class DivisionContext(FunctionCtx):
    """What the forward pass keeps: all arguments of `_Division.forward`."""

    saved_tensors: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
    recent: Tensor


class _Division(torch.autograd.Function):
    """Multiply by r and divide by the root, with a gradient that is averaged.

    All arguments have an axis for the K layers that a stack calls at once, K is 1 in a
    layer by itself:

    - x, ``(N, K, C, ...)``: the input.
    - root and r, ``(K, C)``.
    - recent, ``(K, m, C)``: products of gradient and output of the last m batches,
      among which the backward pass writes those of this batch.
    - is_new, ``(K, m, 1)``: the place of this batch.
    - is_settled, ``(K, 1)``: whether the products are averaged.
    """

    @staticmethod
    def forward(
        x: Tensor,
        root: Tensor,
        r: Tensor,
        recent: Tensor,
        is_new: Tensor,
        is_settled: Tensor,
    ) -> Tensor:
        return x / _per_channel(root, x) * _per_channel(r, x)

    @staticmethod
    def setup_context(
        ctx: DivisionContext,
        inputs: tuple[Tensor, ...],
        output: Tensor,
    ) -> None:
        x, root, r, recent, is_new, is_settled = inputs
        ctx.save_for_backward(x, root, r, is_new, is_settled)
        # Not a saved tensor: with accumulated gradients, the backward passes of other
        # batches may change it before that of this one.
        ctx.recent = recent

    @staticmethod
    def backward(ctx: DivisionContext, dy: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(FIRST_DERIVATIVES)
        x, root, r, is_new, is_settled = ctx.saved_tensors
        z = x / _per_channel(root, x)
        g = dy * _per_channel(r, x)
        axes = (0, *range(3, x.ndim))
        product = (g * z).mean(axes)

        # A loss scale that is too large gives infinite gradients, whose step is left
        # out. They must not stay here for the next m steps.
        row = product.unsqueeze(1)
        recent = ctx.recent
        recent.copy_(torch.where(is_new & row.isfinite(), row, recent))
        smooth = recent.mean(1).to(product.dtype)
        product = torch.where(is_settled & product.isfinite(), smooth, product)
        dx = (g - z * _per_channel(product, x)) / _per_channel(root, x)
        return dx, None, None, None, None, None

    @staticmethod
    def jvp(ctx: DivisionContext, *tangents: Any) -> NoReturn:
        raise RuntimeError(FIRST_DERIVATIVES)

    @staticmethod
    def vmap(
        info: Any,
        dims: tuple[int | None, ...],
        x: Tensor,
        *others: Tensor,
    ) -> tuple[Tensor, int]:
        size = info.batch_size
        inputs = _stacked(x, dims[0], 1, size)
        pairs = zip(others, dims[1:], strict=True)
        arguments = [_stacked(value, dim, 0, size) for value, dim in pairs]
        y: Tensor = _Division.apply(inputs, *arguments)
        return y.unflatten(1, (size, -1)), 1


def _per_channel(values: Tensor, x: Tensor) -> Tensor:
    """Reshape ``(K, C)`` to broadcast to ``(N, K, C, ...)``."""
    return values.view(*values.shape, *[1] * (x.ndim - 3))


def _stacked(value: Tensor, dim: int | None, axis: int, size: int) -> Tensor:
    """Put the axis of `torch.vmap` in front of that of the layers, as one with it."""
    if dim is None:
        value = value.unsqueeze(axis)
        value = value.expand(*value.shape[:axis], size, *value.shape[axis + 1 :])
    else:
        value = value.movedim(dim, axis)
    return value.flatten(axis, axis + 1)
