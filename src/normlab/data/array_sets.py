"""A data set from a file of named arrays."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from normlab.data.array_files import NUMBERS, ArrayFile, check_memory
from normlab.data.array_targets import class_indices, number_targets
from normlab.data.arrays import Arrays
from normlab.data.encoding import TabularData
from normlab.data.notes import note_once, shortened
from normlab.data.splits import fold_indices
from normlab.data.tabular import FOLDS_SEED, by_folds

# What the arrays of inputs and targets are usually called. Behind these come the names
# of the parts, as in x_train; before them too, as in train_images.
INPUTS = ("x", "inputs", "images", "image", "data", "features")
TARGETS = ("y", "targets", "labels", "label", "target")
TRAIN = ("train", "training")
TEST = ("test", "testing")
VALIDATION = ("val", "valid", "validation")
# By how many names `dataset.arrays` may hold: with folds, with a test part, and with a
# test and a validation part.
COUNTS = (2, 4, 6)
MOST_CHANNELS = 4  # of images whose axes are found by their sizes
LARGEST = np.finfo(np.float32).max


class Names(NamedTuple):
    """Names of the inputs and the targets of each part; empty without such a part."""

    train: tuple[str, ...]
    test: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()


def arrays(
    root: str,
    task: str = "classification",
    arrays: Sequence[str] | None = None,
    channels: str | None = None,
    class_names: Sequence[str] | None = None,
    num_classes: int | None = None,
    fold: int = 0,
    num_folds: int = 5,
) -> Arrays | TabularData:
    """A data set from an `.npz` or `.safetensors` file, or a folder of `.npy` files.

    Inputs ``(N, F)`` are the rows of a table, ``(N, H, W)`` images with one channel,
    and ``(N, H, W, C)`` or ``(N, C, H, W)`` images with C channels. Images in `.npy`
    and `.safetensors` files are mapped into memory, and may be larger than it.

    Args:
        root: the file, or the folder.
        task: `classification`, or `regression` for targets that are numbers.
        arrays: names of the inputs and the targets of training, and then, as far as
            they exist, those of test and validation. None finds the usual names, such
            as x_train and y_train. Without a test part, a fold of a cross-validation is
            the test part.
        channels: `first` or `last`, the axis of channels; None finds it by the sizes.
        class_names: name of class ``i`` at index ``i``. None takes the values of the
            targets.
        num_classes: the declared number of classes. Whole numbers below it are classes
            as they are.
        fold: index of the fold that is the test part, from 0.
        num_folds: number of folds.

    Raises:
        ValueError: an array is missing, damaged, holds Python objects or has the wrong
            shape, vectors hold numbers that are too large, or the targets are no
            classes or numbers.
    """
    file = ArrayFile(root)
    inputs = []
    stored = []
    for pair in _names(file, arrays):
        if pair:
            inputs_name, targets_name = pair
            part_inputs, part_targets = _part(file, inputs_name, targets_name, channels)
            inputs.append(part_inputs)
            stored.append(part_targets)
    _check_same_shapes(inputs, root)
    if task == "classification":
        targets, classes = class_indices(stored, class_names, num_classes, root)
    else:
        targets = [number_targets(array, root) for array in stored]
        classes = ()
    first = inputs[0]
    if first.ndim == 2:
        return _table(inputs, targets, classes, fold, num_folds)
    data = _images(inputs, targets, classes, fold, num_folds)
    # What was put together or converted is a copy.
    is_original = np.may_share_memory(first, data.train_inputs.numpy())
    stays_mapped = len(inputs) == 2 and is_original
    return replace(data, is_mapped=file.is_mapped and stays_mapped)


def _images(
    inputs: list[np.ndarray],
    targets: list[np.ndarray],
    class_names: tuple[str, ...],
    fold: int,
    num_folds: int,
) -> Arrays:
    """Images of one to three parts: training, test and validation.

    What must be put together is copied into memory; other arrays stay mapped.
    """
    if len(inputs) == 2:
        train_inputs, test_inputs = map(_tensor, inputs)
        train_targets, test_targets = map(torch.from_numpy, targets)
        return Arrays(
            train_inputs, train_targets, test_inputs, test_targets, class_names
        )

    num_samples = sum(map(len, inputs))
    shape = (num_samples, *inputs[0].shape[1:])
    check_memory("a data set without a test part, or with a validation part,", shape, 4)
    if len(inputs) == 1:
        (all_inputs,) = inputs
        (all_targets,) = targets
        generator = np.random.default_rng(FOLDS_SEED)
        train, test = fold_indices(num_samples, num_folds, fold, generator)
        inputs = [all_inputs[train], all_inputs[test]]
        targets = [all_targets[train], all_targets[test]]
        return _images(inputs, targets, class_names, fold, num_folds)

    *_, validation_targets = targets
    inputs = _with_validation(inputs)
    targets = _with_validation(targets)
    data = _images(inputs, targets, class_names, fold, num_folds)
    return replace(data, num_validation=len(validation_targets))


def _with_validation(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Training and test, where the samples of validation follow those of training."""
    train, test, validation = arrays
    return [np.concatenate([train, validation]), test]


def _table(
    inputs: list[np.ndarray],
    targets: list[np.ndarray],
    class_names: tuple[str, ...],
    fold: int,
    num_folds: int,
) -> TabularData:
    """Vectors of one or two parts as a table, whose columns are 0, 1, 2 and so on."""
    if len(inputs) == 3:
        raise ValueError(
            "vectors must not have a validation part of their own; join it with "
            "training, of which dataset.validation is taken out"
        )
    train, *others = map(_frame, inputs)
    train_targets, *other_targets = targets
    if not others:
        return by_folds(train, train_targets, class_names, fold, num_folds)
    (test,) = others
    (test_targets,) = other_targets
    return TabularData(
        train,
        torch.from_numpy(train_targets),
        test,
        torch.from_numpy(test_targets),
        class_names,
    )


def _frame(vectors: np.ndarray) -> Any:
    import pandas as pd

    num_columns = vectors.shape[1]
    names = list(map(str, range(num_columns)))
    return pd.DataFrame(vectors.astype(np.float64), columns=names)


def sample_shape(
    root: str,
    arrays: Sequence[str] | None = None,
    channels: str | None = None,
    **others: Any,
) -> list[int] | None:
    """The shape ``[C, H, W]`` of images, by the head of the file; None for vectors.

    Args:
        root: as in `arrays`.
        arrays: as in `arrays`.
        channels: as in `arrays`.
        others: the other options of `arrays`, which do not matter here.
    """
    file = ArrayFile(root)
    name = _names(file, arrays).train[0]
    shape = file.shape(name)
    _check_axes(shape, root, name)
    if len(shape) == 2:
        return None
    if len(shape) == 3:
        return [1, *shape[1:]]
    _, first, second, third = shape
    axis = _channels(shape, channels, f"{root}: array {name}")
    if axis == "first":
        return [first, second, third]
    return [third, first, second]


def _names(file: ArrayFile, wanted: Sequence[str] | None) -> Names:
    """The names of the arrays of each part.

    Raises:
        ValueError: an array is missing, or the names are not the usual ones.
    """
    if wanted is not None:
        return _wanted_names(file, wanted)
    train = _pair(file, TRAIN) or _pair(file, ("",))
    test = _pair(file, TEST)
    validation = _pair(file, VALIDATION)
    if train and validation and not test:
        note_once(f"{file.path} has no test part; its validation part is the test part")
        return Names(train, validation)
    if train:
        return Names(train, test, validation)
    raise ValueError(
        f"{file.path} must hold x_train, y_train, x_test and y_test, or x and y; it "
        f"holds {shortened(file.names)}; name the inputs and targets of training, then "
        "those of test, as in dataset.arrays=[a,b,c,d]"
    )


def _wanted_names(file: ArrayFile, wanted: Sequence[str]) -> Names:
    missing = [name for name in wanted if name not in file.names]
    if len(wanted) not in COUNTS or missing:
        raise ValueError(
            "dataset.arrays must name the inputs and the targets of training, and then "
            f"those of test and validation if there are any, among "
            f"{', '.join(file.names)}; got {list(wanted)}"
        )
    names = tuple(wanted)
    return Names(names[:2], names[2:4], names[4:])


def _pair(file: ArrayFile, parts: Sequence[str]) -> tuple[str, ...]:
    """The names of inputs and targets of a part; empty if there are none."""
    inputs = _one(file, INPUTS, parts)
    targets = _one(file, TARGETS, parts)
    if inputs is None or targets is None:
        return ()
    return inputs, targets


def _one(file: ArrayFile, kinds: Sequence[str], parts: Sequence[str]) -> str | None:
    by_spelling = {}
    for name in file.names:
        spelling = name.lower().replace("-", "_")
        by_spelling[spelling] = name
    for kind, part in product(kinds, parts):
        for spelling in (f"{kind}_{part}", f"{part}_{kind}", f"{kind}{part}"):
            found = by_spelling.get(spelling.strip("_"))
            if found is not None:
                return found
    return None


def _part(
    file: ArrayFile, inputs_name: str, targets_name: str, channels: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs ``(N, F)`` or ``(N, C, H, W)`` and targets ``(N,)`` or ``(N, K)``."""
    inputs = file.array(inputs_name)
    targets = file.array(targets_name)
    place = f"{file.path}: array {inputs_name}"
    _check_axes(inputs.shape, str(file.path), inputs_name)
    if inputs.dtype.kind not in NUMBERS:
        raise ValueError(f"{place} must hold numbers, it holds {inputs.dtype}")
    if len(inputs) != len(targets):
        raise ValueError(
            f"{place} must have a target for every sample, it has {len(inputs)} "
            f"samples, and {targets_name} {len(targets)} targets"
        )
    if inputs.ndim == 2:
        _check_vectors(inputs, place)
    elif inputs.ndim == 3:
        inputs = inputs[:, None]
    elif inputs.ndim == 4:
        axis = _channels(inputs.shape, channels, place)
        if axis == "last":
            inputs = inputs.transpose(0, 3, 1, 2)
    return inputs, targets


def _check_axes(shape: tuple[int, ...], root: str, name: str) -> None:
    if len(shape) not in (2, 3, 4) or 0 in shape:
        raise ValueError(
            f"{root}: array {name} must have the shape (N, F) of vectors, (N, H, W), "
            f"(N, H, W, C) or (N, C, H, W) of images, it has {shape}"
        )


def _check_vectors(vectors: np.ndarray, place: str) -> None:
    """Refuse infinite values, and others that float32 cannot represent."""
    if vectors.dtype.kind != "f":
        return
    is_too_large = np.abs(vectors) > LARGEST  # which NaN is not
    if is_too_large.any():
        row, column = np.argwhere(is_too_large)[0]
        raise ValueError(
            f"{place} must hold numbers up to {LARGEST:.1e}, or NaN where a value is "
            f"missing; row {row} has {vectors[row, column]} in column {column}, both "
            "counted from 0"
        )


def _channels(shape: tuple[int, ...], channels: str | None, place: str) -> str:
    """Whether the channels of images are their first or last axis.

    Raises:
        ValueError: both axes could be.
    """
    if channels is not None:
        return channels
    _, first, _, last = shape
    first_fits = first <= MOST_CHANNELS < last
    last_fits = last <= MOST_CHANNELS < first
    if first_fits == last_fits:
        raise ValueError(
            f"{place} has the shape {shape}, of which the first or the last axis may "
            "be channels; set dataset.channels=first or last"
        )
    return "first" if first_fits else "last"


def _tensor(images: np.ndarray) -> Tensor:
    """The array as a tensor of a type that torch can gather; mapped if it is mapped."""
    kind = images.dtype.kind
    if kind == "b":
        images = images.view(np.uint8)
    elif kind == "u" and images.dtype.itemsize > 1:
        images = images.astype(np.float32)
    return torch.from_numpy(images)


def _check_same_shapes(inputs: list[np.ndarray], root: str) -> None:
    shapes = {array.shape[1:] for array in inputs}
    types = {array.dtype for array in inputs}
    if len(shapes) > 1 or len(types) > 1:
        raise ValueError(
            f"{root}: samples of all parts must have one shape and type, they have "
            f"{', '.join(map(str, sorted(shapes)))} and {', '.join(map(str, types))}"
        )
