"""What a dataset function returns: the whole data set as tensors in memory."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Arrays:
    """A data set in memory, divided into train and test as it was published.

    Attributes:
        train_inputs: images as uint8 ``(N, C, H, W)``, tables as float32 ``(N, F)``.
            They include the samples for validation.
        train_targets: int64 ``(N,)`` class indices, or float32 ``(N,)`` for regression.
        test_inputs: as `train_inputs`.
        test_targets: as `train_targets`.
        class_names: name of class ``i`` at index ``i``; empty for regression.
        num_validation: how many of the last training samples were published for
            validation. If it is 0, `dataset.validation` is the share for validation.
    """

    train_inputs: Tensor
    train_targets: Tensor
    test_inputs: Tensor
    test_targets: Tensor
    class_names: tuple[str, ...] = ()
    num_validation: int = 0
