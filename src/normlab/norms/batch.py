"""Batch normalization, written out and equal to PyTorch's."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.fx import Proxy
from torch.nn.modules.batchnorm import _BatchNorm

from normlab.norms.batch_stacked import normalize_batch
from normlab.norms.batch_synchronized import normalize_synchronized_batch
from normlab.norms.channel_statistics import values_per_channel
from normlab.norms.functional import normalize, per_channel, update_average
from normlab.norms.shapes import check_dim, check_input, one_value_error

# Output; mean and biased variance ``(C,)``; number of values per channel.
NormalizedBatch = tuple[Tensor, Tensor, Tensor, float | Tensor]

KERNELS = ("auto", "eager", "triton")


class BatchNorm(_BatchNorm):
    r"""Normalize every channel by its mean and variance over the batch.

    .. math::

        y_{ncp} = \frac{x_{ncp} - \mu_c}{\sqrt{\sigma_c^2 + \epsilon}}
                  \, \gamma_c + \beta_c

    - :math:`x`, ``(N, C, ...)``: the input, with sample n, channel c and position p.
    - :math:`\mu, \sigma^2`, ``(C,)``: mean and biased variance of a channel, over all
      samples and positions of the batch.
    - :math:`\gamma, \beta`, ``(C,)``: learned scale `weight` and shift `bias`.

    In training every batch also moves the running averages `running_mean` and
    `running_var`, ``(C,)``, with momentum m,

    .. math:: \text{running} \leftarrow (1 - m) \, \text{running} + m \, \text{batch}

    in which the variance of a batch of n values per channel is the unbiased one,
    :math:`\sigma_c^2 \, n / (n - 1)`, as in PyTorch. In evaluation the running averages
    take the place of :math:`\mu` and :math:`\sigma^2`, so that the output of one sample
    does not depend on the others.

    Use it for convolutional networks and multilayer perceptrons with batches of at
    least some 16 samples. The statistics of smaller batches are noisy; `GroupNorm` and
    other norms that look at one sample do not have this problem.

    Parameters and buffers have the names and shapes of PyTorch's, so that state dicts
    load in both directions. They come from the base class of PyTorch's batch norms, by
    which tools such as `torch.optim.swa_utils.update_bn` recognize a batch norm;
    nothing is computed by it.

    Args:
        num_features: number of channels C.
        dim: 1 for input ``(N, C)`` or ``(N, C, L)``, 2 for ``(N, C, H, W)``, 3 for
            ``(N, C, D, H, W)``.
        eps: added to the variance, against division by zero.
        momentum: weight m of the new batch in the running averages; None makes them the
            plain mean over all batches.
        affine: learn `weight` and `bias`.
        track_running_stats: keep running averages; without them evaluation uses the
            statistics of its own batch.
        bias: learn `bias` beside `weight`.
        sync: in a distributed run, compute the statistics over the batches of all
            processes, weighted by their sizes.
        kernel: what normalizes a batch in training: "eager" for PyTorch's operations;
            "triton" for experimental CUDA kernels that have first derivatives only;
            "auto", which is "eager". `torch.compile` always gets PyTorch's operations.
        device: where parameters and buffers are created.
        dtype: type of parameters and buffers.

    Raises:
        ValueError: from the constructor for an unknown `dim` or `kernel`; from the call
            for input of another rank or number of channels, for one value per channel
            if the batch is normalized by its own statistics, and if "triton" cannot
            run.
        TypeError: from the call for input that is not floating-point.

    References:
        Ioffe and Szegedy, "Batch Normalization: Accelerating Deep Network Training by
        Reducing Internal Covariate Shift", 2015, arXiv 1502.03167.
    """

    batch_dependent = True
    includes_activation = False
    # True while statistics are computed again for stored weights: variants of batch
    # norm then normalize as this class does.
    plain = False

    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        dim: int = 2,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
        sync: bool = False,
        kernel: str = "auto",
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            num_features,
            eps,
            momentum,
            affine,
            track_running_stats,
            device,
            dtype,
        )
        if not bias:  # older versions of PyTorch do not have the option
            self.register_parameter("bias", None)
        self.dim = check_dim(dim)
        self.sync = sync
        self.kernel = check_kernel(kernel, sync)

    def reset_parameters(self) -> None:
        """Set scale to 1 and shift to 0, and forget every batch seen so far."""
        self.reset_running_stats()
        if self.weight is not None:
            nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, input: Tensor | Proxy) -> Tensor:
        """Normalize ``(N, C, ...)``; the output has the same shape and type."""
        if isinstance(input, Proxy):
            return self._trace(input)
        check_input(input, self.num_features, self.dim)
        if not self.training and self.running_mean is not None:
            return self._normalize_by_averages(input)
        output, mean, var, count = self._normalize_batch(input)
        remembers = self.track_running_stats and self.running_mean is not None
        if self.training and remembers:
            self._remember(mean, var, count)
        return output

    def _trace(self, input: Proxy) -> Any:
        """Add one call of this layer to a graph of `torch.fx`, as for PyTorch's layers.

        What a layer does depends on the shape of its input, which has no value yet.
        """
        tracer: Any = input.tracer
        name = tracer.path_of_module(self)
        return tracer.create_proxy("call_module", name, (input,), {})

    def _normalize_by_averages(self, input: Tensor) -> Tensor:
        """Normalize by the running averages."""
        running_mean = self.running_mean
        running_var = self.running_var
        assert running_mean is not None
        assert running_var is not None

        mean = per_channel(running_mean, input.ndim)
        var = per_channel(running_var, input.ndim)
        weight = per_channel(self.weight, input.ndim)
        bias = per_channel(self.bias, input.ndim)
        return normalize(input, mean, var, self.eps, weight, bias)

    def _normalize_batch(self, input: Tensor) -> NormalizedBatch:
        """Normalize by the statistics of the batch; variants of batch norm change this.

        Returns:
            The output; mean ``(C,)`` and biased variance ``(C,)`` of the batch; the
            number of values per channel.
        """
        weight = self.weight
        bias = self.bias
        if (
            self.training
            and self.sync
            and distributed.is_available()
            and distributed.is_initialized()
        ):
            return normalize_synchronized_batch(input, weight, bias, self.eps)

        count = values_per_channel(input)
        if count == 1:
            raise one_value_error(input, self.training)
        # Tensors without values, on the meta device or of an empty batch, need no
        # kernel.
        needs_triton = (
            self.kernel == "triton"
            and not torch.compiler.is_compiling()
            and not input.is_meta
            and input.numel() > 0
        )
        compute = normalize_batch
        if needs_triton:
            compute = triton_normalization()
        output, mean, var = compute(input, weight, bias, self.eps)
        return output, mean, var, count

    def _remember(
        self,
        mean: Tensor,
        var: Tensor,
        count: float | Tensor,
    ) -> None:
        """Move the running averages by the statistics of one batch.

        As in PyTorch, an empty batch is counted and changes nothing else.
        """
        counter = self.num_batches_tracked
        running_mean = self.running_mean
        running_var = self.running_var
        assert counter is not None
        assert running_mean is not None
        assert running_var is not None

        counter.add_(1)
        if not isinstance(count, Tensor) and count == 0:
            return
        momentum: float | Tensor
        if self.momentum is None:
            momentum = 1.0 / counter.to(mean.dtype)
        else:
            momentum = self.momentum
        unbiased = count / (count - 1)
        update_average(running_mean, mean, momentum)
        update_average(running_var, var, momentum, unbiased)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, dim={self.dim}, eps={self.eps}, "
            f"momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}, "
            f"bias={self.bias is not None}, sync={self.sync}, kernel={self.kernel}"
        )


def check_kernel(kernel: str, sync: bool) -> str:
    """Return the name of a kernel if it exists and fits the other options.

    Args:
        kernel: "auto", "eager" or "triton".
        sync: whether statistics are computed over all processes.

    Raises:
        ValueError: there is no such kernel, or it cannot synchronize processes.
    """
    if kernel not in KERNELS:
        raise ValueError(
            f"norm.kernel must be one of {', '.join(KERNELS)}, got {kernel!r}"
        )
    if kernel == "triton" and sync:
        raise ValueError(
            "norm.kernel=triton cannot synchronize processes; use norm.kernel=auto "
            "with norm.sync=true"
        )
    return kernel


def triton_normalization() -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    """Import the Triton kernels, and return their `normalize_batch`.

    Raises:
        ValueError: the package triton is not installed.
    """
    try:
        from normlab.norms.batch_triton import normalize_batch
    except ModuleNotFoundError as error:
        raise ValueError(
            f"norm.kernel=triton needs the package triton ({error}); "
            "use norm.kernel=auto"
        ) from error
    return normalize_batch


class _FixedDimBatchNorm(BatchNorm):
    """`BatchNorm` for one `dim`, with the order of arguments of PyTorch's classes."""

    _fixed_dim: int

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            num_features,
            self._fixed_dim,
            eps,
            momentum,
            affine,
            track_running_stats,
            device=device,
            dtype=dtype,
            **options,
        )


class BatchNorm1d(_FixedDimBatchNorm):
    """`BatchNorm` with the constructor of `torch.nn.BatchNorm1d`."""

    _fixed_dim = 1


class BatchNorm2d(_FixedDimBatchNorm):
    """`BatchNorm` with the constructor of `torch.nn.BatchNorm2d`."""

    _fixed_dim = 2


class BatchNorm3d(_FixedDimBatchNorm):
    """`BatchNorm` with the constructor of `torch.nn.BatchNorm3d`."""

    _fixed_dim = 3
