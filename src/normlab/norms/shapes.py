"""Which inputs a norm takes: one rule and one message for all of them."""

from math import gcd

from torch import Tensor

LEGAL_RANKS = {1: (2, 3), 2: (4,), 3: (5,)}


def check_dim(dim: int) -> int:
    """`dim` if it is 1, 2 or 3, as in PyTorch's class names.

    Raises:
        ValueError: any other.
    """
    if dim not in LEGAL_RANKS:
        raise ValueError(f"dim must be 1, 2 or 3, got {dim!r}")
    return dim


def check_input(input: Tensor, num_features: int, dim: int) -> None:
    """Refuse input of another rank or number of channels.

    Args:
        input: ``(N, C)`` or ``(N, C, L)`` for dim 1, ``(N, C, H, W)`` for 2, ``(N, C, D, H, W)`` for 3.
        num_features: C.
        dim: 1, 2 or 3.

    Raises:
        ValueError: with what is expected and what came.
    """
    ranks = LEGAL_RANKS[dim]
    if input.ndim not in ranks or input.shape[1] != num_features:
        wanted = " or ".join(f"{rank}D" for rank in ranks)
        raise ValueError(
            f"expected {wanted} input with {num_features} channels on axis 1, got shape {tuple(input.shape)}"
        )


def positions(input: Tensor) -> tuple[int, ...]:
    """The axes behind the channels; none for ``(N, C)``."""
    return tuple(range(2, input.ndim))


def realized_groups(num_features: int, num_groups: int, largest_divisor: bool) -> int:
    """Number of groups that divides the channels.

    Args:
        num_features: C.
        num_groups: wanted.
        largest_divisor: take the largest common divisor of both where `num_groups` does not divide C.

    Raises:
        ValueError: no divisor, and none may be taken instead.
    """
    if num_groups < 1:
        raise ValueError(f"num_groups must be at least 1, got {num_groups}")
    if num_features % num_groups and not largest_divisor:
        raise ValueError(
            f"num_groups must divide the channels, got {num_groups} groups for {num_features} channels; "
            f"choose a divisor or norm.largest_divisor=true"
        )
    return gcd(num_features, num_groups)
