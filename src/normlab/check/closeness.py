"""Whether two outputs are equal."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

Function = Callable[[Tensor], Tensor]

CLOSE = 1e-5  # relative difference of outputs that count as equal


def is_close(a: Tensor, b: Tensor, tolerance: float = CLOSE) -> bool:
    """Whether two tensors are equal, relative to the largest value of the second."""
    if a.shape != b.shape:
        return False
    scale = float(b.detach().nan_to_num().abs().max().clamp(min=1e-12))
    return distance(a, b) <= tolerance * max(scale, 1.0)


def follows(y: Tensor, x: Tensor, formulas: Iterable[Function]) -> bool:
    """Whether an output is that of any of several formulas for the same input."""
    return any(is_close(y, formula(x)) for formula in formulas)


def least_error(y: Tensor, x: Tensor, formulas: Iterable[Function]) -> float:
    """The largest difference to the formula whose output is nearest."""
    return min(distance(y, formula(x)) for formula in formulas)


def distance(a: Tensor, b: Tensor) -> float:
    """The largest difference; infinite if values of one alone are not finite."""
    a = a.detach().double()
    b = b.detach().double()
    difference = (a - b).abs().nan_to_num(torch.inf)
    is_same = (a == b) | (a.isnan() & b.isnan())
    return float(difference.where(~is_same, 0.0).max())
