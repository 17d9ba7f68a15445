from dataclasses import FrozenInstanceError

import pytest
import torch

from normlab.data.arrays import Arrays


def arrays(**others):
    images = torch.zeros(2, 1, 2, 2, dtype=torch.uint8)
    return Arrays(images, torch.tensor([0, 1]), images[:1], torch.tensor([1]), **others)


def test_a_regression_has_no_class_names():
    assert arrays().class_names == ()
    assert arrays(class_names=("cat", "dog")).class_names[1] == "dog"


def test_parts_are_apart_and_cannot_be_replaced():
    data = arrays()
    assert (len(data.train_inputs), len(data.test_inputs)) == (2, 1)
    assert (data.train_targets.tolist(), data.test_targets.tolist()) == ([0, 1], [1])
    with pytest.raises(FrozenInstanceError):
        data.test_targets = data.train_targets
