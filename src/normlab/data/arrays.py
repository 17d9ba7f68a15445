"""What a dataset function returns: the whole data set as tensors."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Arrays:
    """A data set divided into train and test as it was published.

    Attributes:
        train_inputs: images ``(N, C, H, W)``, as uint8 or other numbers, or tables as
            float32 ``(N, F)``. They include the samples for validation. Images may be
            mapped from a file.
        train_targets: int64 ``(N,)`` class indices, or float32 ``(N,)`` for regression;
            float32 ``(N, T)`` for a task of one's own with several targets per sample.
        test_inputs: as `train_inputs`.
        test_targets: as `train_targets`.
        class_names: name of class ``i`` at index ``i``; empty for regression.
        num_validation: how many of the last training samples were published for
            validation. If it is 0, `dataset.validation` is the share for validation.
        is_mapped: whether the inputs are mapped from files.
    """

    train_inputs: Tensor
    train_targets: Tensor
    test_inputs: Tensor
    test_targets: Tensor
    class_names: tuple[str, ...] = ()
    num_validation: int = 0
    is_mapped: bool = False
