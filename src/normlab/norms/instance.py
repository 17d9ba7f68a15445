"""Norms that need positions: instance normalization and local response normalization.

Vectors ``(N, C)`` have none. The option `vectors` of these norms says what happens
then.
"""

from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from normlab.norms.functional import moments, normalize, per_channel, statistics_dtype
from normlab.norms.shapes import check_dim, check_input, position_axes

VECTORS = ("identity", "error")


def check_vectors(vectors: str) -> str:
    """Return the rule for vectors if it is "identity" or "error".

    Raises:
        ValueError: it is anything else.
    """
    if vectors not in VECTORS:
        raise ValueError(
            f"vectors must be one of {', '.join(VECTORS)}, got {vectors!r}"
        )
    return vectors


def passes_through(input: Tensor, vectors: str, name: str) -> bool:
    """Whether a norm that needs positions returns the values of its input unchanged.

    Args:
        input: ``(N, C, ...)``.
        vectors: "identity" returns vectors ``(N, C)`` unchanged, "error" refuses them.
        name: what the norm is called in messages.

    Raises:
        ValueError: the input holds vectors, and they are refused.
    """
    if input.ndim > 2:
        return False
    if vectors == "error":
        raise ValueError(
            f"{name} needs positions behind the channels, got shape "
            f"{tuple(input.shape)}; use norm=layer"
        )
    return True


def passes_vectors_through(layer: nn.Module, input: Tensor) -> bool:
    """Whether `layer` is a norm that needs positions, and returns `input` unchanged."""
    return getattr(layer, "vectors", None) == "identity" and input.ndim == 2


class InstanceNorm(nn.Module):
    r"""Normalize every channel of every sample by its own mean and variance.

    .. math::

        y_{ncp} = \frac{x_{ncp} - \mu_{nc}}{\sqrt{\sigma_{nc}^2 + \epsilon}}
                  \, \gamma_c + \beta_c

    - :math:`x`, ``(N, C, ...)``: the input, with sample n, channel c and position p.
    - :math:`\mu, \sigma^2`, ``(N, C)``: mean and biased variance of a channel over the
      positions of one sample.
    - :math:`\gamma, \beta`, ``(C,)``: learned scale `weight` and shift `bias`.

    Training and evaluation are the same.

    A vector ``(N, C)`` has no positions. It is returned unchanged, so that one choice
    of norm serves a network with convolutions and linear layers; or it is refused.
    Scale and shift then keep their values 1 and 0. Their gradient is 0 and not missing,
    since training in several processes would take a missing one for a mistake.

    Use it for images whose style or contrast should not matter.

    Args:
        num_features: number of channels C.
        dim: 1, 2 or 3, see `BatchNorm`.
        eps: added to the variance, against division by zero.
        affine: learn `weight` and `bias`, which PyTorch's layer does not by default.
        vectors: "identity" returns vectors unchanged, "error" refuses them.

    Raises:
        ValueError: from the constructor for an unknown `dim` or `vectors`; from the
            call for input of another rank or number of channels, for vectors that are
            refused, and for one position, since the output would be `bias`.

    References:
        Ulyanov, Vedaldi and Lempitsky, "Instance Normalization: The Missing Ingredient
        for Fast Stylization", 2016, arXiv 1607.08022.
    """

    batch_dependent = False
    includes_activation = False

    def __init__(
        self,
        num_features: int,
        dim: int,
        eps: float = 1e-5,
        affine: bool = True,
        vectors: str = "identity",
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.dim = check_dim(dim)
        self.eps = eps
        self.affine = affine
        self.vectors = check_vectors(vectors)
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
        weight = self.weight
        bias = self.bias
        if passes_through(input, self.vectors, "instance norm"):
            if weight is None or bias is None or not torch.is_grad_enabled():
                return input.clone()  # a layer behind may work in place
            zeros = 0 * (weight + bias)  # gives scale and shift a gradient of 0
            return input + zeros.to(input.dtype)

        if prod(input.shape[2:]) == 1:
            raise ValueError(
                "expected more than one position per channel, got shape "
                f"{tuple(input.shape)}; use larger images, or norm=layer"
            )
        mean, var = moments(input, position_axes(input))
        scale = per_channel(weight, input.ndim)
        shift = per_channel(bias, input.ndim)
        return normalize(input, mean, var, self.eps, scale, shift)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, dim={self.dim}, eps={self.eps}, "
            f"affine={self.affine}, vectors={self.vectors}"
        )


class LocalResponseNorm(nn.Module):
    r"""Divide every value by a sum over neighbouring channels, as AlexNet did.

    .. math::

        y_{ncp} = x_{ncp} \left( k + \frac{\alpha}{s}
                  \sum_{c'} x_{nc'p}^2 \right)^{-\beta}

    - :math:`x`, ``(N, C, ...)``: the input, with sample n, channel c and position p.
    - :math:`c'`: the channels of a window of s channels (`size`) around c; those beyond
      the first and last channel count as 0.
    - :math:`k, \alpha, \beta`: constants. Nothing is learned.

    Alpha is divided by the size of the window, as in PyTorch. AlexNet's alpha of 1e-4
    is 5e-4 here. Training and evaluation are the same. Vectors ``(N, C)`` are returned
    unchanged or refused.

    Use it to reproduce AlexNet; batch norm has replaced it.

    Args:
        num_features: number of channels C.
        dim: 1, 2 or 3, see `BatchNorm`.
        size: number of channels in a window.
        alpha: weight of the squares.
        beta: exponent.
        k: added to the weighted squares, against division by zero.
        vectors: "identity" returns vectors unchanged, "error" refuses them.

    Raises:
        ValueError: from the constructor for an unknown `dim` or `vectors`; from the
            call for input of another rank or number of channels, and for vectors that
            are refused.

    References:
        Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep
        Convolutional Neural Networks", 2012.
    """

    batch_dependent = False
    includes_activation = False

    def __init__(
        self,
        num_features: int,
        dim: int,
        size: int = 5,
        alpha: float = 5e-4,
        beta: float = 0.75,
        k: float = 2.0,
        vectors: str = "identity",
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.dim = check_dim(dim)
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k
        self.vectors = check_vectors(vectors)

    def forward(self, input: Tensor) -> Tensor:
        """Normalize ``(N, C, ...)``; the output has the same shape and type."""
        check_input(input, self.num_features, self.dim)
        if passes_through(input, self.vectors, "local response norm"):
            return input.clone()  # a layer behind may work in place
        x = input.to(statistics_dtype(input.dtype))
        y = functional.local_response_norm(
            x,
            self.size,
            self.alpha,
            self.beta,
            self.k,
        )
        return y.to(input.dtype)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, dim={self.dim}, size={self.size}, "
            f"alpha={self.alpha}, beta={self.beta}, k={self.k}, vectors={self.vectors}"
        )
