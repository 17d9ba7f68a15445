"""Instance normalization and local response normalization: norms that need positions, so not for plain vectors."""

from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from normlab.norms.functional import moments, normalize, per_channel, statistics_dtype
from normlab.norms.shapes import check_dim, check_input, positions

VECTORS = ("identity", "error")


def check_vectors(vectors: str) -> str:
    """The rule for ``(N, C)``: `identity` passes them through, `error` refuses them."""
    if vectors not in VECTORS:
        raise ValueError(
            f"vectors must be one of {', '.join(VECTORS)}, got {vectors!r}"
        )
    return vectors


def passes_through(input: Tensor, vectors: str, name: str) -> bool:
    """Whether ``(N, C)`` input passes through unchanged.

    Raises:
        ValueError: it would, and the rule is `error`.
    """
    if input.ndim > 2:
        return False
    if vectors == "error":
        raise ValueError(
            f"{name} needs positions behind the channels, got shape {tuple(input.shape)}; use norm=layer"
        )
    return True


def does_nothing_to(layer: nn.Module, input: Tensor) -> bool:
    """Whether this layer is one of a kind that passes vectors through, and `input` holds vectors."""
    return getattr(layer, "vectors", None) == "identity" and input.ndim == 2


class InstanceNorm(nn.Module):
    """Normalizes every channel of every sample by its own positions (Ulyanov et al., 2016, arXiv 1607.08022).

        y = (x - mean_HW) / sqrt(var_HW + eps) * weight_c + bias_c

    The same in training and evaluation. A vector ``(N, C)`` has no positions: it passes through unchanged, so that one
    choice of norm covers a network with convolutions and linear layers, or is refused. Scale and shift then stay at 1
    and 0: their gradient is 0 and not missing, which training in several processes would take for a mistake.

    Args:
        num_features: C.
        dim: 1, 2 or 3.
        eps: added to the variance.
        affine: learn `weight` and `bias` ``(C,)``; PyTorch's layer does not by default.
        vectors: `identity` or `error`.

    Raises:
        ValueError: one position, which would always give `bias`.
    """

    batch_dependent, includes_activation = False, False

    def __init__(
        self,
        num_features: int,
        dim: int,
        eps: float = 1e-5,
        affine: bool = True,
        vectors: str = "identity",
    ) -> None:
        super().__init__()
        self.num_features, self.dim, self.eps, self.affine = (
            num_features,
            check_dim(dim),
            eps,
            affine,
        )
        self.vectors = check_vectors(vectors)
        self.weight = nn.Parameter(torch.ones(num_features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_features)) if affine else None

    def forward(self, input: Tensor) -> Tensor:
        """Normalize ``(N, C, ...)``; the same shape comes back."""
        check_input(input, self.num_features, self.dim)
        if passes_through(input, self.vectors, "instance norm"):
            return (
                input + self._nothing().to(input.dtype)
                if self.affine and torch.is_grad_enabled()
                else input
            )
        if prod(input.shape[2:]) == 1:
            raise ValueError(
                f"expected more than one position per channel, got shape {tuple(input.shape)}; "
                f"use larger images, or norm=layer"
            )
        affine = (
            per_channel(self.weight, input.ndim),
            per_channel(self.bias, input.ndim),
        )
        return normalize(input, *moments(input, positions(input)), self.eps, *affine)

    def _nothing(self) -> Tensor:
        """A zero for every channel to which scale and shift contribute."""
        return 0 * (self.weight + self.bias)

    def extra_repr(self) -> str:
        return f"{self.num_features}, dim={self.dim}, eps={self.eps}, affine={self.affine}, vectors={self.vectors}"


class LocalResponseNorm(nn.Module):
    """AlexNet's own norm (Krizhevsky, Sutskever and Hinton, 2012): channels inhibit their neighbours.

        y_c = x_c / (k + alpha / size * sum_{neighbours} x^2) ^ beta

    PyTorch's convention, in which alpha is divided by the window; AlexNet's alpha of 1e-4 is 5e-4 here. Nothing is
    learned. A vector ``(N, C)`` passes through unchanged or is refused.

    Args:
        num_features: C.
        dim: 1, 2 or 3.
        size: channels in a window.
        alpha: weight of the squares.
        beta: exponent.
        k: added, so that nothing is divided by zero.
        vectors: `identity` or `error`.
    """

    batch_dependent, includes_activation = False, False

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
        self.num_features, self.dim = num_features, check_dim(dim)
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k
        self.vectors = check_vectors(vectors)

    def forward(self, input: Tensor) -> Tensor:
        """Normalize ``(N, C, ...)``; the same shape comes back."""
        check_input(input, self.num_features, self.dim)
        if passes_through(input, self.vectors, "local response norm"):
            return input
        x = input.to(statistics_dtype(input.dtype))
        return functional.local_response_norm(
            x, self.size, self.alpha, self.beta, self.k
        ).to(input.dtype)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, dim={self.dim}, size={self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}, "
            f"vectors={self.vectors}"
        )
