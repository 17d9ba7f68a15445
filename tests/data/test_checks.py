import numpy as np
import pytest
import torch

from normlab.data.arrays import Arrays
from normlab.data.checks import (
    check_classes,
    check_labels,
    check_numbers,
    check_shape,
    check_table_options,
    check_tail,
    source_of,
)

IMAGES = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)


def arrays(train=(0, 1), test=(1, 0)):
    return Arrays(IMAGES, torch.tensor(train), IMAGES, torch.tensor(test))


@pytest.mark.parametrize("shape", [[3, 8, 8], [3, None, None], None])
def test_a_shape_that_fits_is_accepted(shape):
    check_shape(arrays(), {"shape": shape})


@pytest.mark.parametrize("shape", [[1, 8, 8], [3, None, 9], [3, 8], [192]])
def test_another_shape_is_refused(shape):
    with pytest.raises(
        ValueError, match=r"dataset\.shape declares .* \[3, 8, 8\]; corr"
    ):
        check_shape(arrays(), {"shape": shape})


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"train": (0, 2)}, "the training part has 2"),
        ({"test": (-1, 1)}, "the test part has -1"),
    ],
)
def test_labels_out_of_range_are_refused(labels, message):
    options = {"task": "classification", "num_classes": None}
    check_labels(arrays(), options, 2)
    with pytest.raises(ValueError, match=rf"labels must lie in 0\.\.1 .*{message}"):
        check_labels(arrays(**labels), options, 2)


def test_a_part_without_samples_is_refused():
    options = {"task": "classification", "num_classes": None}
    with pytest.raises(ValueError, match="the test part must have samples, it has no"):
        check_labels(arrays(test=()), options, 2)


@pytest.mark.parametrize("declared", [1, 0, True, 2.0, "2"])
def test_an_impossible_number_of_classes_is_refused(declared):
    options = {"task": "classification", "num_classes": declared}
    with pytest.raises(
        ValueError, match="must be null or a whole number of at least 2"
    ):
        check_labels(arrays(), options, 2)


def test_a_regression_declares_no_classes():
    check_labels(arrays(), {"task": "regression", "num_classes": None}, 0)
    with pytest.raises(ValueError, match="must be null for a regression, got 3"):
        check_labels(arrays(), {"task": "regression", "num_classes": 3}, 3)


def test_one_class_only_is_refused_by_its_name():
    check_classes(torch.tensor([0, 1]), ())
    with pytest.raises(ValueError, match="all 2 samples are of class dog"):
        check_classes(torch.tensor([1, 1]), ("cat", "dog"))
    with pytest.raises(ValueError, match="all 3 samples are of class 4"):
        check_classes(torch.tensor([4, 4, 4]), ())


def test_one_number_only_is_refused_by_the_name_of_the_target():
    check_numbers(torch.tensor([1.0, 2.0]), {})
    check_numbers(torch.tensor([1.0]), {})
    constant = torch.tensor([2.5, 2.5])
    with pytest.raises(ValueError, match=r"^a\.csv: target price is 2\.5 in all 2"):
        check_numbers(constant, {"root": "a.csv", "name": "csv", "target": "price"})
    with pytest.raises(ValueError, match=r"^diabetes: the target is 2\.5 in all 2"):
        check_numbers(constant, {"root": None, "name": "diabetes"})


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            {"normalize": "imagenet"},
            "must be one of train, none, robust, quantile for a table, got 'imagenet'",
        ),
        ({"image_size": 64}, "dataset.image_size must be null for a table, got 64"),
        ({"augment": {"flip": True}}, "must be empty for a table, got {'flip': True}"),
    ],
)
def test_options_of_images_are_refused_for_tables(option, message):
    options = {"normalize": "train", "image_size": None, "augment": {}}
    check_table_options(options)
    with pytest.raises(ValueError, match=message):
        check_table_options(options | option)


def tail_of(targets, num_validation):
    everything = np.arange(len(targets))
    train, validation = np.split(everything, [len(targets) - num_validation])
    check_tail(np.array(targets), train, validation)


@pytest.mark.parametrize(
    ("targets", "num_validation"),
    [
        ([0] * 8 + [1] * 8, 8),  # classes that training lacks
        ([0] * 8 + [1] * 8, 4),  # one class only
        ([2] * 8 + [0] * 8 + [1] * 8, 9),
        ([*[0] * 8, *[1] * 8, 2, 2], 4),
    ],
)
def test_a_tail_of_sorted_samples_is_refused(targets, num_validation):
    with pytest.raises(ValueError, match="use dataset.split=stratified$"):
        tail_of(targets, num_validation)


@pytest.mark.parametrize("num_validation", [1, 3, 8])
def test_a_tail_of_mixed_samples_is_accepted(num_validation):
    tail_of([0, 1, 2] * 8, num_validation)
    tail_of([0, 1, 0, 0, 1, 1, 0, 1, 0, 1, 1, 2], num_validation)


def test_a_data_set_is_called_by_its_path_or_its_name():
    assert source_of({"root": "a.csv", "name": "csv"}) == "a.csv"
    assert source_of({"root": None, "name": "digits"}) == "digits"
    assert source_of({}) == "the data set"
