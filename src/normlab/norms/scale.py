"""Scale norm: every position gets the same learned length."""

from math import sqrt

import torch
from torch import Tensor, nn

from normlab.norms.functional import statistics_dtype
from normlab.norms.shapes import check_channels, check_dim, check_input


class ScaleNorm(nn.Module):
    r"""Give the channels of every position one learned length.

    .. math::

        y_{ncp} = g \, \frac{x_{ncp}}{\max(\lVert x_{np} \rVert, \epsilon)}
        \qquad
        \lVert x_{np} \rVert = \sqrt{\sum_c x_{ncp}^2}

    - :math:`x`, ``(N, C, ...)``: the input, with sample n, channel c and position p.
    - :math:`g`, ``(1,)``: the learned length `length`, one per layer, at first
      :math:`\sqrt{C}`. The layer therefore begins as root mean square norm.

    Training and evaluation are the same.

    Use it in transformers in the place of layer norm; it has one parameter.

    Args:
        num_features: number of channels C, at least 2.
        dim: 1, 2 or 3, see `BatchNorm`.
        eps: smallest length by which is divided.

    Raises:
        ValueError: from the constructor for an unknown `dim` or for one channel; from
            the call for input of another rank or number of channels.

    References:
        Nguyen and Salazar, "Transformers without Tears: Improving the Normalization of
        Self-Attention", 2019, arXiv 1910.05895.
    """

    batch_dependent = False
    includes_activation = False

    def __init__(self, num_features: int, dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.num_features = check_channels(num_features, "scale norm")
        self.dim = check_dim(dim)
        self.eps = eps
        self.length = nn.Parameter(torch.full((1,), sqrt(num_features)))

    def reset_parameters(self) -> None:
        """Set the length to the root of the number of channels."""
        nn.init.constant_(self.length, sqrt(self.num_features))

    def forward(self, input: Tensor) -> Tensor:
        """Normalize ``(N, C, ...)``; the output has the same shape and type."""
        check_input(input, self.num_features, self.dim)
        x = input.to(statistics_dtype(input.dtype))
        length = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        y = x / length.clamp_min(self.eps) * self.length
        return y.to(input.dtype)

    def extra_repr(self) -> str:
        return f"{self.num_features}, dim={self.dim}, eps={self.eps}"
