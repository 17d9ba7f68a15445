"""Norms over the channels of one position: layer norm as in ConvNeXt, and RMS norm."""

import torch
from torch import Tensor, nn

from normlab.norms.functional import moments, normalize, per_channel, statistics_dtype
from normlab.norms.shapes import check_channels, check_dim, check_input


class LayerNormPerPixel(nn.Module):
    r"""Normalize the channels of every position by their own mean and variance.

    .. math::

        y_{ncp} = \frac{x_{ncp} - \mu_{np}}{\sqrt{\sigma_{np}^2 + \epsilon}}
                  \, \gamma_c + \beta_c

    - :math:`x`, ``(N, C, ...)``: the input, with sample n, channel c and position p.
    - :math:`\mu, \sigma^2`, ``(N, ...)``: mean and biased variance over the C channels
      of one position of one sample.
    - :math:`\gamma, \beta`, ``(C,)``: learned scale `weight` and shift `bias`.

    Training and evaluation are the same, and the output of one sample does not depend
    on the others. For vectors ``(N, C)`` this is `LayerNorm`; for images `LayerNorm`
    also averages over the positions.

    Use it in ConvNeXt and in vision transformers.

    Args:
        num_features: number of channels C, at least 2; with one channel the output
            would be `bias`.
        dim: 1, 2 or 3, see `BatchNorm`.
        eps: added to the variance, against division by zero.
        affine: learn `weight` and `bias`.

    Raises:
        ValueError: from the constructor for an unknown `dim` or for one channel; from
            the call for input of another rank or number of channels.

    References:
        Liu, Mao, Wu, Feichtenhofer, Darrell and Xie, "A ConvNet for the 2020s", 2022,
        arXiv 2201.03545.
    """

    batch_dependent = False
    includes_activation = False

    def __init__(
        self,
        num_features: int,
        dim: int,
        eps: float = 1e-6,
        affine: bool = True,
    ) -> None:
        super().__init__()
        self.num_features = check_channels(num_features, "layer norm per pixel")
        self.dim = check_dim(dim)
        self.eps = eps
        self.affine = affine
        self.weight = None
        self.bias = None
        if affine:
            self.weight = nn.Parameter(torch.ones(num_features))
            self.bias = nn.Parameter(torch.zeros(num_features))

    def reset_parameters(self) -> None:
        """Set scale to 1 and shift to 0."""
        if self.weight is not None:
            nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Normalize ``(N, C, ...)``; the output has the same shape and type."""
        check_input(input, self.num_features, self.dim)
        mean, var = moments(input, (1,))
        weight = per_channel(self.weight, input.ndim)
        bias = per_channel(self.bias, input.ndim)
        return normalize(input, mean, var, self.eps, weight, bias)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, dim={self.dim}, eps={self.eps}, affine={self.affine}"
        )


class RMSNorm(nn.Module):
    r"""Divide the channels of every position by their root mean square.

    .. math::

        y_{ncp} = \frac{x_{ncp}}{\sqrt{\nu_{np}^2 + \epsilon}} \, \gamma_c
        \qquad
        \nu_{np}^2 = \frac{1}{C} \sum_c x_{ncp}^2

    - :math:`x`, ``(N, C, ...)``: the input, with sample n, channel c and position p.
    - :math:`\nu^2`, ``(N, ...)``: mean of the squares over the C channels of one
      position of one sample.
    - :math:`\gamma`, ``(C,)``: learned scale `weight`.

    It does not centre, so a bias in the layer before it is not redundant. Training and
    evaluation are the same.

    Use it as layer norm per pixel; it computes less.

    Args:
        num_features: number of channels C, at least 2; of one channel nothing but the
            sign would be left.
        dim: 1, 2 or 3, see `BatchNorm`.
        eps: added to the mean square, against division by zero.
        affine: learn `weight`.

    Raises:
        ValueError: from the constructor for an unknown `dim` or for one channel; from
            the call for input of another rank or number of channels.

    References:
        Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019,
        arXiv 1910.07467.
    """

    batch_dependent = False
    includes_activation = False

    def __init__(
        self,
        num_features: int,
        dim: int,
        eps: float = 1e-6,
        affine: bool = True,
    ) -> None:
        super().__init__()
        self.num_features = check_channels(num_features, "root mean square norm")
        self.dim = check_dim(dim)
        self.eps = eps
        self.affine = affine
        self.weight = None
        if affine:
            self.weight = nn.Parameter(torch.ones(num_features))

    def reset_parameters(self) -> None:
        """Set the scale to 1."""
        if self.weight is not None:
            nn.init.ones_(self.weight)

    def forward(self, input: Tensor) -> Tensor:
        """Normalize ``(N, C, ...)``; the output has the same shape and type."""
        check_input(input, self.num_features, self.dim)
        x = input.to(statistics_dtype(input.dtype))
        mean_square = x.square().mean(1, keepdim=True)
        zero = torch.zeros_like(mean_square)
        weight = per_channel(self.weight, input.ndim)
        return normalize(input, zero, mean_square, self.eps, weight)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, dim={self.dim}, eps={self.eps}, affine={self.affine}"
        )
