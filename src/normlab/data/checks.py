"""Refuse data that do not fit what the configuration declares of them."""

from collections.abc import Sequence

import numpy as np
import torch

from normlab.data.arrays import Arrays
from normlab.data.encoding import TabularData

TABLE_NORMALIZATIONS = ("train", "none", "robust", "quantile")


def check_shape(arrays: Arrays, options: dict) -> None:
    """Compare the shape of the samples with the declared one.

    Args:
        arrays: the data set.
        options: the `dataset` section of a configuration. Its `shape` may be null as a
            whole or in some entries.

    Raises:
        ValueError: the shapes differ.
    """
    found = list(arrays.train_inputs.shape[1:])
    declared = options["shape"] or found
    fits = len(declared) == len(found)
    for size, found_size in zip(declared, found, strict=False):
        if size not in (None, found_size):
            fits = False
    if not fits:
        raise ValueError(
            f"dataset.shape declares {options['shape']}, the data have {found}; "
            "correct dataset.shape"
        )


def check_labels(loaded: Arrays | TabularData, options: dict, num_classes: int) -> None:
    """Check the labels of a classification; a regression must not declare classes.

    Args:
        loaded: the data set.
        options: the `dataset` section of a configuration.
        num_classes: number of classes, as declared or found.

    Raises:
        ValueError: a label is not in 0..num_classes-1, or the declared number of
            classes is impossible.
    """
    declared = options["num_classes"]
    if options["task"] != "classification":
        if declared is not None:
            raise ValueError(
                f"dataset.num_classes must be null for a regression, got {declared!r}"
            )
        return

    is_integer = isinstance(declared, int) and not isinstance(declared, bool)
    if declared is not None and (not is_integer or declared < 2):
        raise ValueError(
            "dataset.num_classes must be null or a whole number of at least 2, "
            f"got {declared!r}"
        )
    _check_range(loaded.train_targets, "training", num_classes)
    _check_range(loaded.test_targets, "test", num_classes)


def _check_range(targets: torch.Tensor, part: str, num_classes: int) -> None:
    if not len(targets):
        raise ValueError(f"the {part} part must have samples, it has none")
    lowest = int(targets.min())
    highest = int(targets.max())
    if lowest < 0 or highest >= num_classes:
        wrong = lowest if lowest < 0 else highest
        raise ValueError(
            f"labels must lie in 0..{num_classes - 1} "
            f"(dataset.num_classes={num_classes}), the {part} part has {wrong}; "
            "correct dataset.num_classes or the data"
        )


def check_numbers(targets: torch.Tensor, options: dict) -> None:
    """Check that the numbers to predict differ in the training part.

    Args:
        targets: ``(N,)``, targets of the training part.
        options: the `dataset` section of a configuration.

    Raises:
        ValueError: all numbers are the same.
    """
    if len(targets) > 1 and targets.min() == targets.max():
        target = "the target"
        if options.get("target"):
            target = f"target {options['target']}"
        raise ValueError(
            f"{source_of(options)}: {target} is "
            f"{targets.min().item():g} in all {len(targets)} samples of the training "
            "part; there is nothing to learn, use another fold, another seed, or other "
            "data"
        )


def check_offset(offset: float, options: dict) -> None:
    """Refuse a transform of targets that are learned as differences from their mean.

    Args:
        offset: what is subtracted from every target, see `Encoder`.
        options: the `dataset` section of a configuration.

    Raises:
        ValueError: the target is to be transformed, although it hardly varies.
    """
    if offset and options.get("target_transform") is not None:
        raise ValueError(
            "dataset.target_transform must be null for targets that differ from their "
            f"mean of {offset:g} by less than float32 can tell well"
        )


def check_classes(targets: torch.Tensor, class_names: Sequence[str]) -> None:
    """Check that the training part has more than one class.

    Args:
        targets: ``(N,)``, targets of the training part.
        class_names: names of the classes; may be empty.

    Raises:
        ValueError: there is only one class.
    """
    if len(targets.unique()) < 2:
        index = int(targets[0])
        name = class_names[index] if class_names else index
        raise ValueError(
            "the training part must hold two classes at least, "
            f"all {len(targets)} samples are of class {name}; "
            "use dataset.split=stratified or other data"
        )


def check_tail(targets: np.ndarray, train: np.ndarray, validation: np.ndarray) -> None:
    """Refuse to validate on the last samples if the samples are sorted by their class.

    Validation would hold whole classes that training has never seen, or a single one.

    Args:
        targets: ``(N,)``, classes of the samples.
        train: indices of training.
        validation: indices of validation.

    Raises:
        ValueError: the samples are sorted, and the parts do not have the same classes.
    """
    classes = set(targets.tolist())
    num_changes = np.count_nonzero(np.diff(targets))
    # In a random order, nearly every sample has another class than the one before.
    is_sorted = num_changes < 2 * len(classes)
    trained = set(targets[train].tolist())
    validated = set(targets[validation].tolist())
    if is_sorted and trained != validated:
        raise ValueError(
            "dataset.split=tail takes the last samples for validation, but the samples "
            "are sorted by class, so that training and validation would have different "
            "classes; use dataset.split=stratified"
        )


def source_of(options: dict) -> str:
    """What a data set is called in messages: its path, or else its name.

    Args:
        options: the `dataset` section of a configuration.
    """
    return str(options.get("root") or options.get("name") or "the data set")


def check_table_options(options: dict) -> None:
    """Refuse options that only images have and that a table would silently ignore.

    Args:
        options: the `dataset` section of a configuration.

    Raises:
        ValueError: such an option is set.
    """
    if options["normalize"] not in TABLE_NORMALIZATIONS:
        raise ValueError(
            f"dataset.normalize must be one of {', '.join(TABLE_NORMALIZATIONS)} for a "
            "table, "
            f"got {options['normalize']!r}"
        )
    if options["image_size"] is not None:
        raise ValueError(
            "dataset.image_size must be null for a table, "
            f"got {options['image_size']!r}"
        )
    if any(options["augment"].values()):
        raise ValueError(
            f"dataset.augment must be empty for a table, got {options['augment']!r}"
        )
