"""What a dataset function returns: tensors, and nothing that would have to be computed again."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Arrays:
    """A data set in memory, train and test apart as their publisher has them.

    Attributes:
        train_inputs: images as uint8 ``(N, C, H, W)``, tables as float32 ``(N, F)``.
        train_targets: int64 ``(N,)`` class indices, or float32 ``(N,)`` for regression.
        test_inputs: as ``train_inputs``.
        test_targets: as ``train_targets``.
        class_names: name of class ``i`` at index ``i``; empty for regression.
    """

    train_inputs: Tensor
    train_targets: Tensor
    test_inputs: Tensor
    test_targets: Tensor
    class_names: tuple[str, ...] = ()
