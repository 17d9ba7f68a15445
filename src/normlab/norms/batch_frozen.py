"""Batch norm with constant scale, shift and statistics."""

from typing import Any

import torch
from torch import Tensor, nn

from normlab.norms.functional import normalize, per_channel
from normlab.norms.shapes import check_dim, check_input


class FrozenBatchNorm(nn.Module):
    r"""Batch norm whose scale, shift and statistics are constants.

    .. math::

        y_{ncp} = \frac{x_{ncp} - \mu_c}{\sqrt{\sigma_c^2 + \epsilon}}
                  \, \gamma_c + \beta_c

    - :math:`x`, ``(N, C, ...)``: the input, with sample n, channel c and position p.
    - :math:`\mu, \sigma^2`, ``(C,)``: the buffers `running_mean` and `running_var`.
    - :math:`\gamma, \beta`, ``(C,)``: the buffers `weight` and `bias`.

    Training and evaluation are the same. A new layer only divides by
    :math:`\sqrt{1 + \epsilon}`, until it loads the state dict of a batch norm.

    Use it to fine-tune a pretrained network with batches that are too small for
    statistics of their own.

    Args:
        num_features: number of channels C.
        dim: 1, 2 or 3, see `BatchNorm`.
        eps: added to the variance, against division by zero.

    Raises:
        ValueError: from the constructor for an unknown `dim`; from the call for input
            of another rank or number of channels.

    References:
        `torchvision.ops.FrozenBatchNorm2d`, whose state dicts it shares.
    """

    batch_dependent = False
    includes_activation = False

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self,
        num_features: int,
        dim: int,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.dim = check_dim(dim)
        self.eps = eps
        self.register_buffer("weight", torch.ones(num_features))
        self.register_buffer("bias", torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def reset_parameters(self) -> None:
        """Set all buffers to the values that they started with."""
        self.weight.fill_(1)
        self.bias.zero_()
        self.running_mean.zero_()
        self.running_var.fill_(1)

    def is_fresh(self) -> bool:
        """Whether all buffers still have the values that they started with."""
        ones = bool((self.weight == 1).all() and (self.running_var == 1).all())
        return ones and not self.bias.any() and not self.running_mean.any()

    def forward(self, input: Tensor) -> Tensor:
        """Normalize ``(N, C, ...)``; the output has the same shape and type."""
        check_input(input, self.num_features, self.dim)
        ndim = input.ndim
        mean = per_channel(self.running_mean, ndim)
        var = per_channel(self.running_var, ndim)
        weight = per_channel(self.weight, ndim)
        bias = per_channel(self.bias, ndim)
        return normalize(input, mean, var, self.eps, weight, bias)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        *arguments: Any,
    ) -> None:
        """Ignore batch norm's counter of batches, as torchvision does."""
        state_dict.pop(f"{prefix}num_batches_tracked", None)
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    def extra_repr(self) -> str:
        return f"{self.num_features}, dim={self.dim}, eps={self.eps}"
