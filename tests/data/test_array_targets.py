"""The targets of a file of arrays become class indices or numbers."""

import numpy as np
import pytest

from normlab.data.array_targets import class_indices, number_targets

LABELS = np.array([0, 1, 2, 0, 1, 2])


def classes_of(targets, class_names=None, num_classes=None):
    """The indices and names of the classes of a training part, and of two samples."""
    targets = np.array(targets)
    parts = [targets, targets[:2]]
    (train, test), names = class_indices(parts, class_names, num_classes, "data")
    assert test.tolist() == train[:2].tolist()
    return train.tolist(), names


@pytest.mark.parametrize(
    ("targets", "expected", "names"),
    [
        ([[3], [5], [3], [9], [5], [9]], [0, 1, 0, 2, 1, 2], ("3", "5", "9")),
        (["b", "a", "b", "c", "a", "c"], [1, 0, 1, 2, 0, 2], ("a", "b", "c")),
        (np.eye(3)[LABELS], LABELS.tolist(), ("0", "1", "2")),
        ([0.0, 1.0, 0.0, 1.0, 1.0, 0.0], [0, 1, 0, 1, 1, 0], ("0", "1")),
        ([True, False] * 3, [1, 0] * 3, ("0", "1")),
    ],
)
def test_targets_become_classes(targets, expected, names):
    assert classes_of(targets) == (expected, names)


def test_classes_have_the_declared_names_and_number():
    _, names = classes_of(LABELS, class_names=["cat", "dog", "owl"])
    assert names == ("cat", "dog", "owl")
    _, names = classes_of(LABELS, num_classes=5)
    assert names == ("0", "1", "2", "3", "4")
    with pytest.raises(ValueError, match="has 2 names, so the targets must be 0..1"):
        classes_of(LABELS, class_names=["cat", "dog"])


@pytest.mark.parametrize(
    ("targets", "number"), [([0.0, 1.5], "1.5"), ([0.0, 1.0, np.nan], "nan")]
)
def test_targets_that_are_no_classes_are_named(targets, number):
    with pytest.raises(ValueError, match=f"there are others such as {number};"):
        classes_of(np.array(targets))


def test_numbers_may_have_an_axis_of_their_own():
    numbers = number_targets(np.array([[1], [4]]), "data")
    assert numbers.dtype == np.float64
    assert numbers.tolist() == [1.0, 4.0]


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (
            [[1.0, 2.0]],
            r"one number per sample, they are float64 of the shape \(1, 2\)",
        ),
        (["a"], "one number per sample, they are <U1"),
        ([1.0, np.nan], "must be finite numbers"),
    ],
)
def test_other_targets_of_a_regression_are_refused(targets, message):
    with pytest.raises(ValueError, match=message):
        number_targets(np.array(targets), "data")
