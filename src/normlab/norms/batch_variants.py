"""Variants of batch norm that keep its parameters, buffers and evaluation, and change how a batch is normalized."""

from typing import Any

import torch
from torch import Tensor, nn

from normlab.norms.batch import BatchNorm
from normlab.norms.batch_statistics import normalize_batch
from normlab.norms.functional import moments, normalize, per_channel, statistics_dtype
from normlab.norms.shapes import check_dim, check_input


def without(norm: str, options: dict[str, Any], *names: str) -> dict[str, Any]:
    """`options` if none of `names` is among them, since the norm would not do what they say.

    Raises:
        ValueError: names the norm and the option.
    """
    for name in names:
        if name in options:
            raise ValueError(
                f"{name} is no option of {norm}; leave norm.{name} out or use norm=custom"
            )
    return options


class GhostBatchNorm(BatchNorm):
    """Batch norm over parts of the batch (Hoffer, Hubara and Soudry, 2017, arXiv 1705.08741).

        y = (x - mean_pc) / sqrt(var_pc + eps) * weight_c + bias_c      for channel c of part p

    In training every run of `size` samples is normalized by its own statistics, whatever the optimizer's batch is. A
    rest of one sample joins the part before it; a larger rest is a part of its own. The running statistics move once a
    batch, so that `momentum` means what it means in batch norm. With n_p values in part p, of N in P parts, they move
    by the batch's mean and by the unbiased variance within parts,

        mean_c = sum_p n_p mean_pc / N          var_c = sum_p n_p var_pc / (N - P)

    so that a shorter last part has no more weight than its values. Evaluation as in batch norm.

    Args:
        num_features: C.
        dim: 1, 2 or 3.
        size: samples of a part, at least 1; 1 needs positions to normalize over.
        options: of `BatchNorm`, but neither `sync` nor `kernel`.
    """

    def __init__(
        self, num_features: int, dim: int, size: int = 16, **options: Any
    ) -> None:
        super().__init__(
            num_features, dim, **without("ghost batch norm", options, "sync", "kernel")
        )
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        self.size = size

    def _normalize_batch(self, input: Tensor) -> tuple[Tensor, Tensor, Tensor, float]:
        parts = list(input.split(self.size))
        if len(parts) > 1 and len(parts[-1]) == 1 < self.size:
            parts[-2:] = [torch.cat(parts[-2:])]
        self._check_count(parts[0], parts[0].numel() // max(1, input.shape[1]))
        outputs, means, vars = zip(
            *(
                normalize_batch(part, self.weight, self.bias, self.eps)
                for part in parts
            ),
            strict=True,
        )
        share = len(parts[-1]) / max(1, len(input))
        count = (
            input.numel() // max(1, input.shape[1]) / len(parts)
        )  # a part's mean number: n / (n - 1) = N / (N - P)
        return torch.cat(outputs), _pooled(means, share), _pooled(vars, share), count

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, size={self.size}"


def _pooled(values: tuple[Tensor, ...], share_of_last: float) -> Tensor:
    """Mean over parts by their shares of the batch, of which all but the last are equal."""
    *equal, last = values
    return torch.stack(equal).mean(0).lerp(last, share_of_last) if equal else last


class BatchRenorm(BatchNorm):
    """Batch renormalization (Ioffe, 2017, arXiv 1702.03275): training sees nearly what evaluation will see.

        y = (xhat * r + d) * weight + bias        xhat = (x - mean) / sigma       sigma = sqrt(var + eps)
        r = clip(sigma / running_sigma, 1 / r_max, r_max)
        d = clip((mean - running_mean) / running_sigma, -d_max, d_max)

    No gradient goes through r and d. They are 1 and 0 for `warmup_steps` batches and open up to `r_max` and `d_max`
    over `ramp_steps` more. Evaluation as in batch norm.

    Args:
        num_features: C.
        dim: 1, 2 or 3.
        r_max: largest correction of the scale.
        d_max: largest correction of the shift, in running standard deviations.
        warmup_steps: batches of plain batch norm at first.
        ramp_steps: batches until the limits are open.
        options: of `BatchNorm`, but none of `sync`, `kernel` and `track_running_stats`.
    """

    def __init__(
        self,
        num_features: int,
        dim: int,
        r_max: float = 3.0,
        d_max: float = 5.0,
        warmup_steps: int = 500,
        ramp_steps: int = 2000,
        **options: Any,
    ) -> None:
        taken = without(
            "batch renormalization", options, "sync", "kernel", "track_running_stats"
        )
        super().__init__(num_features, dim, **taken)
        if r_max < 1 or d_max < 0:
            raise ValueError(
                f"r_max must be at least 1 and d_max at least 0, got {r_max} and {d_max}"
            )
        self.r_max, self.d_max, self.warmup_steps, self.ramp_steps = (
            r_max,
            d_max,
            warmup_steps,
            ramp_steps,
        )

    def _normalize_batch(self, input: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
        if self.plain or self.running_mean is None:  # nothing to correct by
            return super()._normalize_batch(input)
        count = input.numel() // max(1, input.shape[1])
        self._check_count(input, count)
        mean, var = moments(input, (0, *range(2, input.ndim)))
        scale, shift = self._corrections(
            mean.detach().flatten(), var.detach().flatten()
        )
        xhat = normalize(input.to(mean.dtype), mean, var, self.eps)
        output = xhat * per_channel(scale, input.ndim) + per_channel(shift, input.ndim)
        weight, bias = self._affine(input.ndim)
        output = output if weight is None else output * weight
        output = output if bias is None else output + bias
        return (
            output.to(input.dtype),
            mean.detach().flatten(),
            var.detach().flatten(),
            count,
        )

    def _corrections(self, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
        """r and d; how far they may go depends on the batches seen, as a tensor, so that nothing has to wait for it."""
        seen = self.num_batches_tracked.to(mean.dtype)
        opened = ((seen - self.warmup_steps) / max(1, self.ramp_steps)).clamp(0, 1)
        r_max, d_max = 1 + (self.r_max - 1) * opened, self.d_max * opened
        running_sigma = torch.sqrt(self.running_var + self.eps)
        scale = torch.sqrt(var + self.eps) / running_sigma
        shift = (mean - self.running_mean) / running_sigma
        return scale.clamp(1 / r_max, r_max), shift.clamp(-d_max, d_max)

    def extra_repr(self) -> str:
        return (
            f"{super().extra_repr()}, r_max={self.r_max}, d_max={self.d_max}, warmup_steps={self.warmup_steps}, "
            f"ramp_steps={self.ramp_steps}"
        )


class NoisyBatchNorm(BatchNorm):
    """Batch norm whose output is disturbed anew in every step (after Santurkar et al., 2018, arXiv 1805.11604).

    In training each channel gets a random mean and scale of this step, and each of its values is scaled and moved by
    draws around them, so that the distribution behind the norm is never stable:

        y = s * batch_norm(x) + m       m ~ U(mu - spread, mu + spread)     mu ~ U(-mean_range, mean_range)
                                        s ~ U(sigma - spread, sigma + spread)   sigma ~ U(1, scale_range)

    If it still trains as well as batch norm, stable distributions are not why batch norm helps. Evaluation is batch
    norm's. The noise comes from torch's default generator.

    Args:
        num_features: C.
        dim: 1, 2 or 3.
        mean_range: largest mean of a channel's noise.
        scale_range: largest scale of a channel's noise.
        spread: of the samples around their channel.
        options: of `BatchNorm`.
    """

    def __init__(
        self,
        num_features: int,
        dim: int,
        mean_range: float = 0.5,
        scale_range: float = 1.25,
        spread: float = 0.1,
        **options: Any,
    ) -> None:
        super().__init__(num_features, dim, **options)
        self.mean_range, self.scale_range, self.spread = mean_range, scale_range, spread

    def _normalize_batch(
        self, input: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, int | Tensor]:
        output, *statistics = super()._normalize_batch(input)
        if self.plain or not self.training:
            return output, *statistics
        dtype = statistics_dtype(output.dtype)
        values = torch.empty_like(output, dtype=dtype)
        channel = per_channel(values.new_empty(output.shape[1]), output.ndim)
        mu = torch.empty_like(channel).uniform_(-self.mean_range, self.mean_range)
        sigma = torch.empty_like(channel).uniform_(1, self.scale_range)
        shift = mu + torch.empty_like(values).uniform_(-self.spread, self.spread)
        scale = sigma + torch.empty_like(values).uniform_(-self.spread, self.spread)
        return (output * scale + shift).to(output.dtype), *statistics

    def extra_repr(self) -> str:
        return (
            f"{super().extra_repr()}, mean_range={self.mean_range}, scale_range={self.scale_range}, "
            f"spread={self.spread}"
        )


class FrozenBatchNorm(nn.Module):
    """Batch norm that never learns, as torchvision's layer of this name.

        y = (x - running_mean) / sqrt(running_var + eps) * weight + bias

    Scale, shift and statistics are buffers ``(C,)``, the same in training and evaluation.
    For fine-tuning with statistics from elsewhere; a fresh one divides by sqrt(1 + eps) and does nothing else.

    Args:
        num_features: C.
        dim: 1, 2 or 3.
        eps: added to the variance.
    """

    batch_dependent, includes_activation = False, False

    def __init__(self, num_features: int, dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.num_features, self.dim, self.eps = num_features, check_dim(dim), eps
        for name, value in (
            ("weight", 1.0),
            ("bias", 0.0),
            ("running_mean", 0.0),
            ("running_var", 1.0),
        ):
            self.register_buffer(name, torch.full((num_features,), value))

    def is_fresh(self) -> bool:
        """Whether it holds nothing but what it started with."""
        ones = bool((self.weight == 1).all() and (self.running_var == 1).all())
        return ones and not self.bias.any() and not self.running_mean.any()

    def forward(self, input: Tensor) -> Tensor:
        """Normalize ``(N, C, ...)``; the same shape comes back."""
        check_input(input, self.num_features, self.dim)
        mean, var, weight, bias = (
            per_channel(value, input.ndim)
            for value in (self.running_mean, self.running_var, self.weight, self.bias)
        )
        return normalize(input, mean, var, self.eps, weight, bias)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *rest: Any
    ) -> None:
        """As torchvision: batch norm's counter of batches is dropped."""
        state_dict.pop(f"{prefix}num_batches_tracked", None)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def extra_repr(self) -> str:
        return f"{self.num_features}, dim={self.dim}, eps={self.eps}"
