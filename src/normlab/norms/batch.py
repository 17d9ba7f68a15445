"""Batch normalization (Ioffe and Szegedy, 2015, arXiv 1502.03167), written out and equal to PyTorch's."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, distributed, nn

from normlab.norms.batch_statistics import normalize_batch, synchronized_moments
from normlab.norms.functional import normalize, per_channel, update_average
from normlab.norms.shapes import check_dim, check_input

KERNELS = ("auto", "eager", "triton")


class BatchNorm(nn.Module):
    """Normalizes every channel by the statistics of the batch (Ioffe and Szegedy, 2015, arXiv 1502.03167).

    In training, with n values of channel c in the batch (its samples and positions):

        mean_c = sum x / n          var_c = sum (x - mean_c)^2 / n
        y      = (x - mean_c) / sqrt(var_c + eps) * weight_c + bias_c

    In evaluation `running_mean` and `running_var` take the place of mean and var. They are averages over the batches,
    ``running = (1 - momentum) * running + momentum * batch``, for which the variance of a batch is the unbiased one,
    ``var_c * n / (n - 1)``: PyTorch's convention, while normalization itself uses the biased one.

    Args:
        num_features: C.
        dim: 1 for ``(N, C)`` and ``(N, C, L)``, 2 for ``(N, C, H, W)``, 3 for ``(N, C, D, H, W)``.
        eps: added to the variance.
        momentum: weight of the new batch in the running averages; None makes them the plain mean over all batches.
        affine: learn `weight` and `bias`.
        track_running_stats: keep running averages; without them evaluation uses the batch, too.
        bias: learn `bias` beside `weight`.
        sync: statistics over the batches of all processes of a distributed run, weighted by their sizes.
        kernel: what normalizes in training: `eager`, PyTorch's operations; `triton`, kernels for CUDA that are
            experimental and know first derivatives only; `auto`, which is `eager`. Compilers always get the formula.

    Parameters and buffers have PyTorch's names and shapes, so that state dicts load in both directions.

    Raises:
        ValueError: input of another rank or number of channels, one value per channel where the batch normalizes
            (in training, and always without running averages), or `triton` where it cannot run.
    """

    batch_dependent, includes_activation = True, False
    plain = False  # true while statistics are recomputed: variants then normalize a batch as this class does
    _version = 2  # as PyTorch's: state dicts before it have no num_batches_tracked

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
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.num_features, self.dim = num_features, check_dim(dim)
        self.eps, self.momentum = eps, momentum
        self.affine, self.track_running_stats, self.sync = (
            affine,
            track_running_stats,
            sync,
        )
        self.kernel = check_kernel(kernel, sync)
        like = {"device": device, "dtype": dtype}
        self.weight = nn.Parameter(torch.ones(num_features, **like)) if affine else None
        self.bias = (
            nn.Parameter(torch.zeros(num_features, **like)) if affine and bias else None
        )
        tracked = track_running_stats
        self.register_buffer(
            "running_mean", torch.zeros(num_features, **like) if tracked else None
        )
        self.register_buffer(
            "running_var", torch.ones(num_features, **like) if tracked else None
        )
        counter = torch.tensor(0, dtype=torch.long, device=device) if tracked else None
        self.register_buffer("num_batches_tracked", counter)

    def reset_running_stats(self) -> None:
        """Forget every batch seen so far."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Back to scale 1, shift 0 and no batch seen."""
        self.reset_running_stats()
        if self.weight is not None:
            nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Normalize ``(N, C, ...)``; the same shape comes back."""
        check_input(input, self.num_features, self.dim)
        if not self.training and self.running_mean is not None:
            statistics = (
                per_channel(value, input.ndim)
                for value in (self.running_mean, self.running_var)
            )
            return normalize(input, *statistics, self.eps, *self._affine(input.ndim))
        output, mean, var, count = self._normalize_batch(input)
        if self.training and self.running_mean is not None:
            self._remember(mean, var, count)
        return output

    def _normalize_batch(
        self, input: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, float | Tensor]:
        """Output, mean, biased variance and number of values per channel; what variants of batch norm change."""
        if (
            self.training
            and self.sync
            and distributed.is_available()
            and distributed.is_initialized()
        ):
            return synchronized_moments(input, self.weight, self.bias, self.eps)
        count = input.numel() // max(1, input.shape[1])
        self._check_count(input, count)
        # Shapes without values, on the meta device or in an empty batch, need no kernel.
        without_kernel = (
            self.kernel != "triton"
            or torch.compiler.is_compiling()
            or input.is_meta
            or not input.numel()
        )
        compute = normalize_batch if without_kernel else triton_normalization()
        return *compute(input, self.weight, self.bias, self.eps), count

    def _affine(self, ndim: int) -> tuple[Tensor | None, Tensor | None]:
        return per_channel(self.weight, ndim), per_channel(self.bias, ndim)

    def _remember(self, mean: Tensor, var: Tensor, count: float | Tensor) -> None:
        """Take one batch into the running averages; as in PyTorch, a batch of nothing is counted and nothing more."""
        self.num_batches_tracked.add_(1)
        if not isinstance(count, Tensor) and count == 0:
            return
        momentum = (
            1.0 / self.num_batches_tracked.to(mean.dtype)
            if self.momentum is None
            else self.momentum
        )
        update_average(self.running_mean, mean, momentum)
        update_average(self.running_var, var, momentum, count / (count - 1))

    def _check_count(self, input: Tensor, count: int) -> None:
        if count == 1:
            when = "when training" if self.training else "without running statistics"
            raise ValueError(
                f"expected more than one value per channel {when}, got input of shape {tuple(input.shape)}; "
                f"use a larger batch, or a norm that does not depend on it"
            )

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, metadata: dict, *rest: Any
    ) -> None:
        """As PyTorch: state dicts of version 1 have no counter of batches; it then starts at 0."""
        key = f"{prefix}num_batches_tracked"
        if (
            (metadata.get("version") or 1) < 2
            and self.track_running_stats
            and key not in state_dict
        ):
            state_dict[key] = self.num_batches_tracked.detach().clone()
        super()._load_from_state_dict(state_dict, prefix, metadata, *rest)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, dim={self.dim}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}, bias={self.bias is not None}, sync={self.sync}, "
            f"kernel={self.kernel}"
        )


def check_kernel(kernel: str, sync: bool) -> str:
    """`kernel` if there is one of this name, and none but PyTorch's operations where processes synchronize.

    Raises:
        ValueError: any other.
    """
    if kernel not in KERNELS:
        raise ValueError(
            f"norm.kernel must be one of {', '.join(KERNELS)}, got {kernel!r}"
        )
    if kernel == "triton" and sync:
        raise ValueError(
            "norm.kernel=triton cannot synchronize processes; use norm.kernel=auto with norm.sync=true"
        )
    return kernel


def triton_normalization() -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    """`normalize_batch` of the Triton kernels, which are imported now and not before.

    Raises:
        ValueError: the package triton is not installed.
    """
    try:
        from normlab.norms.triton_kernels import normalize_batch
    except ModuleNotFoundError as error:
        raise ValueError(
            f"norm.kernel=triton needs the package triton ({error}); use norm.kernel=auto"
        ) from error
    return normalize_batch


class _WithTorchsConstructor(BatchNorm):
    """`BatchNorm` of one `dim`, its arguments in the order of `torch.nn.BatchNorm2d`."""

    of_dim: int

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
        **options: Any,
    ) -> None:
        like = {"device": device, "dtype": dtype}
        super().__init__(
            num_features,
            self.of_dim,
            eps,
            momentum,
            affine,
            track_running_stats,
            **like,
            **options,
        )


class BatchNorm1d(_WithTorchsConstructor):
    """`BatchNorm` with the constructor of `torch.nn.BatchNorm1d`."""

    of_dim = 1


class BatchNorm2d(_WithTorchsConstructor):
    """`BatchNorm` with the constructor of `torch.nn.BatchNorm2d`."""

    of_dim = 2


class BatchNorm3d(_WithTorchsConstructor):
    """`BatchNorm` with the constructor of `torch.nn.BatchNorm3d`."""

    of_dim = 3
