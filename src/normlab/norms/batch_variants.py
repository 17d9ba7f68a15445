"""Variants of batch norm that normalize a batch in another way.

They keep the parameters, buffers and evaluation of `BatchNorm`.
"""

from typing import Any

import torch
from torch import Tensor

from normlab.norms.batch import BatchNorm, NormalizedBatch
from normlab.norms.batch_stacked import normalize_batch
from normlab.norms.channel_statistics import channel_moments, values_per_channel
from normlab.norms.functional import normalize, per_channel, statistics_dtype
from normlab.norms.shapes import one_value_error


def refuse_options(norm: str, options: dict[str, Any], *names: str) -> None:
    """Refuse options of batch norm that a variant would ignore.

    Args:
        norm: what the variant is called in messages.
        options: the options that the user gave.
        names: the options that it does not have.

    Raises:
        ValueError: one of `names` is among the options.
    """
    for name in names:
        if name in options:
            raise ValueError(
                f"{name} is no option of {norm}; leave norm.{name} out or use "
                "norm=custom"
            )


class GhostBatchNorm(BatchNorm):
    r"""Batch norm over parts of the batch.

    .. math::

        y_{ncp} = \frac{x_{ncp} - \mu_{kc}}{\sqrt{\sigma_{kc}^2 + \epsilon}}
                  \, \gamma_c + \beta_c

    - :math:`x`, ``(N, C, ...)``: the input, with sample n, channel c and position p.
    - :math:`\mu, \sigma^2`, ``(K, C)``: mean and biased variance of a channel over the
      samples and positions of part k, the one that contains sample n.
    - :math:`\gamma, \beta`, ``(C,)``: learned scale `weight` and shift `bias`.

    In training every `size` consecutive samples are a part, whatever the size of the
    optimizer's batch. A last sample that is left alone joins the part before it; a
    larger rest is a part of its own. The running averages move once per batch, so that
    `momentum` means what it means in batch norm. They move towards

    .. math::

        \mu_c = \sum_k \frac{n_k}{n} \, \mu_{kc}
        \qquad
        \sigma_c^2 = \sum_k \frac{n_k}{n - K} \, \sigma_{kc}^2

    with :math:`n_k` values per channel in part k and n in all K parts: every value
    weighs the same, and the variance is the unbiased one within parts. Evaluation is
    that of batch norm.

    Use it for large batches on one device: it keeps the noise in the statistics that
    makes small batches generalize better.

    Args:
        num_features: number of channels C.
        dim: 1, 2 or 3, see `BatchNorm`.
        size: number of samples in a part, at least 1; with 1, input needs positions.
        options: options of `BatchNorm` except `sync` and `kernel`.

    Raises:
        ValueError: `size` is below 1, or an option does not exist; from the call as in
            `BatchNorm`, for one value per channel in a part.

    References:
        Hoffer, Hubara and Soudry, "Train longer, generalize better: closing the
        generalization gap in large batch training of neural networks", 2017,
        arXiv 1705.08741.
    """

    def __init__(
        self,
        num_features: int,
        dim: int,
        size: int = 16,
        **options: Any,
    ) -> None:
        refuse_options("ghost batch norm", options, "sync", "kernel")
        super().__init__(num_features, dim, **options)
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        self.size = size

    def _normalize_batch(self, input: Tensor) -> NormalizedBatch:
        if self.plain or not self.training:
            return super()._normalize_batch(input)
        parts = list(input.split(self.size))
        last_is_alone = len(parts) > 1 and len(parts[-1]) == 1
        if last_is_alone and self.size > 1:
            parts[-2:] = [torch.cat(parts[-2:])]
        if values_per_channel(parts[0]) == 1:
            raise one_value_error(parts[0], self.training)

        weight = self.weight
        bias = self.bias
        outputs = []
        means = []
        variances = []
        for part in parts:
            output, mean, var = normalize_batch(part, weight, bias, self.eps)
            outputs.append(output)
            means.append(mean)
            variances.append(var)

        last_share = len(parts[-1]) / max(1, len(input))
        mean = _weighted_mean(means, last_share)
        var = _weighted_mean(variances, last_share)
        # The mean number of values in a part, so that n / (n - 1) of this count, which
        # makes the variance unbiased, is n / (n - K) of the whole batch.
        count = values_per_channel(input) / len(parts)
        return torch.cat(outputs), mean, var, count

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, size={self.size}"


def _weighted_mean(values: list[Tensor], last_share: float) -> Tensor:
    """Average over parts that are equally large, except for the last one.

    Args:
        values: one tensor ``(C,)`` per part.
        last_share: the share of the last part in the samples of the batch.
    """
    *equal, last = values
    if not equal:
        return last
    return torch.stack(equal).mean(0).lerp(last, last_share)


class BatchRenorm(BatchNorm):
    r"""Batch renormalization: in training, nearly the output that evaluation will have.

    .. math::

        y_{ncp} = (\hat{x}_{ncp} \, r_c + d_c) \, \gamma_c + \beta_c
        \qquad
        \hat{x}_{ncp} = \frac{x_{ncp} - \mu_c}{\sigma_c}

    .. math::

        r_c = \mathrm{clip}\left( \frac{\sigma_c}{s_c},
              \frac{1}{r_{max}}, r_{max} \right)
        \qquad
        d_c = \mathrm{clip}\left( \frac{\mu_c - m_c}{s_c},
              -d_{max}, d_{max} \right)

    - :math:`x`, ``(N, C, ...)``: the input, with sample n, channel c and position p.
    - :math:`\mu, \sigma`, ``(C,)``: mean and standard deviation of a channel in the
      batch, the latter with :math:`\epsilon` added to the variance.
    - :math:`m, s`, ``(C,)``: the same from `running_mean` and `running_var`.
    - :math:`r, d`, ``(C,)``: corrections towards the running averages, which are
      treated as constants in the gradient.
    - :math:`\gamma, \beta`, ``(C,)``: learned scale `weight` and shift `bias`.

    For `warmup_steps` batches r is 1 and d is 0, which is batch norm. Over `ramp_steps`
    further batches their limits grow to `r_max` and `d_max`. Evaluation is that of
    batch norm.

    Use it for small batches, and for batches whose samples depend on each other.

    Args:
        num_features: number of channels C.
        dim: 1, 2 or 3, see `BatchNorm`.
        r_max: largest correction of the scale, at least 1.
        d_max: largest correction of the shift, in running standard deviations.
        warmup_steps: number of batches with plain batch norm at the beginning.
        ramp_steps: number of batches after that until the limits are reached.
        options: options of `BatchNorm` except `sync`, `kernel` and
            `track_running_stats`.

    Raises:
        ValueError: `r_max` is below 1 or `d_max` below 0, or an option does not exist;
            from the call as in `BatchNorm`.

    References:
        Ioffe, "Batch Renormalization: Towards Reducing Minibatch Dependence in
        Batch-Normalized Models", 2017, arXiv 1702.03275.
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
        refuse_options(
            "batch renormalization", options, "sync", "kernel", "track_running_stats"
        )
        super().__init__(num_features, dim, **options)
        if r_max < 1 or d_max < 0:
            raise ValueError(
                f"r_max must be at least 1 and d_max at least 0, got {r_max} and "
                f"{d_max}"
            )
        self.r_max = r_max
        self.d_max = d_max
        self.warmup_steps = warmup_steps
        self.ramp_steps = ramp_steps

    def _normalize_batch(self, input: Tensor) -> NormalizedBatch:
        running_mean = self.running_mean
        running_var = self.running_var
        if self.plain or running_mean is None or running_var is None:
            return super()._normalize_batch(input)
        count = values_per_channel(input)
        if count == 1:
            raise one_value_error(input, self.training)

        ndim = input.ndim
        mean, var = channel_moments(input)
        xhat = normalize(input.to(mean.dtype), mean, var, self.eps)
        mean = mean.detach().flatten()
        var = var.detach().flatten()
        r, d = self._corrections(mean, var, running_mean, running_var)
        scale = per_channel(r, ndim)
        shift = per_channel(d, ndim)
        output = xhat * scale + shift

        weight = per_channel(self.weight, ndim)
        if weight is not None:
            output = output * weight
        bias = per_channel(self.bias, ndim)
        if bias is not None:
            output = output + bias
        return output.to(input.dtype), mean, var, count

    def _corrections(
        self,
        mean: Tensor,
        var: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Compute r and d, ``(C,)`` each.

        Their limits depend on the number of batches seen. That is a tensor on the
        device, and so are the limits: nothing waits for its value.
        """
        counter = self.num_batches_tracked
        assert counter is not None
        seen = counter.to(mean.dtype)
        after = seen - self.warmup_steps
        if self.ramp_steps == 0:
            after = after + 1  # the limits are open for the first of these batches
        opened = (after / max(1, self.ramp_steps)).clamp(0, 1)
        r_max = 1 + (self.r_max - 1) * opened
        d_max = self.d_max * opened

        running_std = torch.sqrt(running_var.to(var.dtype) + self.eps)
        r = torch.sqrt(var + self.eps) / running_std
        d = (mean - running_mean) / running_std
        r = r.clamp(1 / r_max, r_max)
        d = d.clamp(-d_max, d_max)
        return r, d

    def extra_repr(self) -> str:
        return (
            f"{super().extra_repr()}, r_max={self.r_max}, d_max={self.d_max}, "
            f"warmup_steps={self.warmup_steps}, ramp_steps={self.ramp_steps}"
        )


class NoisyBatchNorm(BatchNorm):
    r"""Batch norm with an output that is disturbed by new noise in every step.

    .. math:: y_{ncp} = s_{ncp} \, \mathrm{BatchNorm}(x)_{ncp} + m_{ncp}

    .. math::

        m_{ncp} \sim U(\mu_c - \delta, \mu_c + \delta), \quad
        \mu_c \sim U(-a, a)
        \qquad
        s_{ncp} \sim U(\sigma_c - \delta, \sigma_c + \delta), \quad
        \sigma_c \sim U(1, b)

    - :math:`x`, ``(N, C, ...)``: the input, with sample n, channel c and position p.
    - :math:`\mu, \sigma`, ``(C,)``: mean and scale of the noise of a channel, drawn
      again in every step within the ranges a (`mean_range`) and b (`scale_range`).
    - :math:`m, s`, ``(N, C, ...)``: the noise itself, within :math:`\delta` (`spread`)
      of those of its channel.

    In training the distribution behind the norm is therefore never stable. Evaluation
    is that of batch norm. The noise comes from PyTorch's default generator.

    Use it to test an explanation: if a network trains with it as well as with batch
    norm, then stable distributions are not the reason why batch norm helps.

    Args:
        num_features: number of channels C.
        dim: 1, 2 or 3, see `BatchNorm`.
        mean_range: largest absolute mean a of a channel's noise.
        scale_range: largest scale b of a channel's noise.
        spread: largest distance :math:`\delta` of the noise of one value from that of
            its channel.
        options: options of `BatchNorm`.

    Raises:
        ValueError: as in `BatchNorm`.

    References:
        After an experiment in Santurkar, Tsipras, Ilyas and Madry, "How Does Batch
        Normalization Help Optimization?", 2018, arXiv 1805.11604.
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
        self.mean_range = mean_range
        self.scale_range = scale_range
        self.spread = spread

    def _normalize_batch(self, input: Tensor) -> NormalizedBatch:
        output, mean, var, count = super()._normalize_batch(input)
        if self.plain or not self.training:
            return output, mean, var, count

        values = torch.empty_like(output, dtype=statistics_dtype(output.dtype))
        channels = per_channel(values.new_empty(output.shape[1]), output.ndim)
        mean_range = self.mean_range
        spread = self.spread
        # The order of these draws is part of a run's result.
        mu = torch.empty_like(channels).uniform_(-mean_range, mean_range)
        sigma = torch.empty_like(channels).uniform_(1, self.scale_range)
        shift = torch.empty_like(values).uniform_(-spread, spread)
        scale = torch.empty_like(values).uniform_(-spread, spread)
        noisy = output * (sigma + scale) + (mu + shift)
        return noisy.to(output.dtype), mean, var, count

    def extra_repr(self) -> str:
        return (
            f"{super().extra_repr()}, mean_range={self.mean_range}, "
            f"scale_range={self.scale_range}, spread={self.spread}"
        )
