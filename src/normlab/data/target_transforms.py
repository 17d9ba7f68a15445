"""Functions of the target that a regression learns in place of the target itself."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class TargetTransform(NamedTuple):
    """A function of the target, and the way back.

    Attributes:
        apply: from the target to what is learned.
        invert: from what is learned to the target.
        above: the target must be larger than this.
    """

    apply: Callable[[Tensor], Tensor]
    invert: Callable[[Tensor], Tensor]
    above: float


TARGET_TRANSFORMS = {
    "log": TargetTransform(torch.log, torch.exp, 0.0),
    "log1p": TargetTransform(torch.log1p, torch.expm1, -1.0),
}


def check_targets(
    targets: np.ndarray, name: str | None, place: str, rows: Sequence[object]
) -> None:
    """Refuse targets of which the transform is not defined.

    Args:
        targets: ``(N,)``, numbers.
        name: of the transform; None for none.
        place: what the target is called in messages.
        rows: ``(N,)``, what the rows are called there.

    Raises:
        ValueError: names the first such row and its value.
    """
    if name is None:
        return
    if name not in TARGET_TRANSFORMS:
        raise ValueError(
            "dataset.target_transform must be null or one of "
            f"{', '.join(TARGET_TRANSFORMS)}, got {name!r}"
        )
    above = TARGET_TRANSFORMS[name].above
    wrong = np.flatnonzero(~(targets > above))
    if len(wrong):
        raise ValueError(
            f"{place} must be above {above:g} for dataset.target_transform={name}, row "
            f"{rows[wrong[0]]} has {targets[wrong[0]]:g}; leave the transform out"
        )
