"""The shapes that norms accept: one rule and one message for all of them."""

from math import gcd, prod

from torch import Tensor

LEGAL_RANKS = {1: (2, 3), 2: (4,), 3: (5,)}


def check_dim(dim: int) -> int:
    """Return `dim` if it is 1, 2 or 3, as in the names of PyTorch's classes.

    Raises:
        ValueError: it is anything else.
    """
    if dim not in LEGAL_RANKS:
        raise ValueError(f"dim must be 1, 2 or 3, got {dim!r}")
    return dim


def check_channels(num_features: int, name: str) -> int:
    """Return the number of channels of a norm over channels if it is at least 2.

    Of one channel nothing but the sign would be left.

    Args:
        num_features: number of channels C.
        name: of the norm, for the message.

    Raises:
        ValueError: there is one channel.
    """
    if num_features < 2:
        raise ValueError(
            f"{name} needs at least 2 channels, got {num_features}; use another norm"
        )
    return num_features


def check_input(input: Tensor, num_features: int, dim: int) -> None:
    """Refuse input of another type, number of axes or channels than the layer takes.

    Whole numbers are refused because the output has the type of the input.

    Args:
        input: ``(N, C)`` or ``(N, C, L)`` for dim 1, ``(N, C, H, W)`` for dim 2,
            ``(N, C, D, H, W)`` for dim 3.
        num_features: number of channels C.
        dim: 1, 2 or 3.

    Raises:
        ValueError: the shape differs; the message has the expected and the actual one.
        TypeError: the input is not floating-point.
    """
    ranks = LEGAL_RANKS[dim]
    if input.ndim not in ranks or input.shape[1] != num_features:
        expected = " or ".join(f"{rank}D" for rank in ranks)
        raise ValueError(
            f"expected {expected} input with {num_features} channels on axis 1, "
            f"got shape {tuple(input.shape)}"
        )
    if not input.is_floating_point():
        raise TypeError(f"expected floating-point input, got {input.dtype}")


def refuse_one_value(input: Tensor) -> None:
    """Refuse a training batch with one value per channel, whose variance is 0.

    Args:
        input: ``(N, C, ...)``.

    Raises:
        ValueError: there is one value per channel.
    """
    if input.numel() == input.shape[1]:
        raise one_value_error(input)


def one_value_error(input: Tensor, training: bool = True) -> ValueError:
    """The error for input ``(N, C, ...)`` with one value per channel.

    Args:
        input: of a norm.
        training: whether the norm trains; otherwise it has no running statistics.
    """
    when = "when training"
    if not training:
        when = "without running statistics"
    return ValueError(
        f"expected more than one value per channel {when}, got input of shape "
        f"{tuple(input.shape)}; use a larger batch, or a norm that does not depend on "
        "it"
    )


def refuse_one_value_per_group(groups: Tensor, input: Tensor) -> None:
    """Refuse groups of one value, whose variance is 0.

    Args:
        groups: the input as ``(N, G, C / G, ...)``.
        input: ``(N, C, ...)``.

    Raises:
        ValueError: there is one value per group.
    """
    if prod(groups.shape[2:]) != 1:
        return
    num_groups = groups.shape[1]
    advice = "use norm=none or more features"
    if num_groups > 1:
        advice = "use fewer groups"
    raise ValueError(
        f"expected more than one value per group, got {num_groups} groups for shape "
        f"{tuple(input.shape)}; {advice}"
    )


def position_axes(input: Tensor) -> tuple[int, ...]:
    """Return the axes after that of the channels; none for ``(N, C)``."""
    return tuple(range(2, input.ndim))


def realized_groups(
    num_features: int,
    num_groups: int,
    largest_divisor: bool,
) -> int:
    """Return a number of groups that divides the channels.

    Args:
        num_features: number of channels C.
        num_groups: the number of groups asked for.
        largest_divisor: if `num_groups` does not divide C, use the largest common
            divisor of both; otherwise refuse it.

    Raises:
        ValueError: `num_groups` is below 1, or it does not divide C and must.
    """
    if num_groups < 1:
        raise ValueError(f"num_groups must be at least 1, got {num_groups}")
    if num_features % num_groups and not largest_divisor:
        raise ValueError(
            f"num_groups must divide the channels, got {num_groups} groups for "
            f"{num_features} channels; choose a divisor or norm.largest_divisor=true"
        )
    return gcd(num_features, num_groups)
