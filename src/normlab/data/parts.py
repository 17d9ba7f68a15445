"""From a configuration to train, validation and test parts."""

import sys
from dataclasses import dataclass
from typing import Any

import torch

from normlab.build import build
from normlab.data.arrays import Arrays
from normlab.data.blocks import Part, Transform
from normlab.data.splits import train_validation_indices
from normlab.data.tabular import Table
from normlab.data.transforms import ImageTransform, Unchanged, channel_statistics
from normlab.streams import numpy_generator

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # torchvision's networks were trained with these


@dataclass(frozen=True)
class Parts:
    """The three parts of a data set, disjoint, and what a model must know of them.

    Attributes:
        train: without validation.
        validation: carved out of the training samples.
        test: as published.
        input_shape: of one sample as the network gets it.
        num_outputs: classes, or 1 number to predict.
        encoder: of a table's columns, fitted to the training part; None for images.
    """

    train: Part
    validation: Part
    test: Part
    input_shape: tuple[int, ...]
    num_outputs: int
    encoder: Any = None


def load_parts(config: dict, image_size: int | None, encoder: Any = None) -> Parts:
    """Load a data set and carve validation out of its training part; the test part stays as published.

    Args:
        config: a resolved configuration.
        image_size: pixels a side that the network gets; None for tables.
        encoder: of another table with the same columns; None fits one to this one's training part.

    Raises:
        ValueError: data that are missing, damaged, or not as `dataset` declares them.
    """
    options = config["dataset"]
    loaded = build(options["load"])
    num_classes = options["num_classes"] or len(loaded.class_names)
    check_labels(loaded, options, num_classes)
    train_rows, validation_rows = (
        torch.from_numpy(rows)
        for rows in train_validation_indices(
            loaded.train_targets.numpy(),
            options["validation"],
            options["split"],
            numpy_generator(config["seed"], "split"),
        )
    )
    if isinstance(loaded, Table):
        encoder = encoder or loaded.fit(train_rows, options["normalize"] == "train")
        arrays = loaded.encode(encoder)
        for column, names in loaded.unknown_categories(encoder).items():
            some = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            print(f"note: no training row has these categories of {column}, taken as none: {some}", file=sys.stderr)
    else:
        arrays = loaded
    check_shape(arrays, options)
    augmented, plain = _transforms(arrays, train_rows, options, image_size)
    input_shape = arrays.train_inputs.shape[1:2] + ((image_size, image_size) if image_size is not None else ())
    return Parts(
        Part(arrays.train_inputs, arrays.train_targets, train_rows, augmented),
        Part(arrays.train_inputs, arrays.train_targets, validation_rows, plain),
        Part(arrays.test_inputs, arrays.test_targets, torch.arange(len(arrays.test_targets)), plain),
        tuple(input_shape),
        num_classes if options["task"] == "classification" else 1,
        encoder,
    )


def _transforms(
    arrays: Arrays, train_rows: torch.Tensor, options: dict, image_size: int | None
) -> tuple[Transform, Transform]:
    """For the training part, and for the others: the same statistics, nothing random."""
    if image_size is None:
        return Unchanged(), Unchanged()
    mean, std = normalization(arrays, train_rows, options["normalize"])
    return ImageTransform(mean, std, image_size, **options["augment"]), ImageTransform(mean, std, image_size)


def check_shape(arrays: Arrays, options: dict) -> None:
    """Compare what was loaded with what the configuration declares.

    Raises:
        ValueError: another shape.
    """
    found = list(arrays.train_inputs.shape[1:])
    declared = options["shape"] or found
    if len(declared) != len(found) or any(d not in (None, f) for d, f in zip(declared, found, strict=True)):
        raise ValueError(f"dataset.shape declares {options['shape']}, the data have {found}; correct dataset.shape")


def check_labels(loaded: Arrays | Table, options: dict, num_classes: int) -> None:
    """Of a classification, every label must be one of its classes.

    Raises:
        ValueError: a label that is no class.
    """
    if options["task"] != "classification":
        return
    for name, targets in (("training", loaded.train_targets), ("test", loaded.test_targets)):
        low, high = int(targets.min()), int(targets.max())
        if low < 0 or high >= num_classes:
            wrong = low if low < 0 else high
            raise ValueError(f"labels must lie in 0..{num_classes - 1} ({num_classes} classes), {name} has {wrong}")


def normalization(
    arrays: Arrays, train_rows: torch.Tensor, rule: str | list[float]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, of pixels in 0..1.

    Args:
        arrays: the data set.
        train_rows: rows of the training part: nothing else may be looked at.
        rule: `train` (their statistics), `none`, `imagenet` (for networks trained there), or the two numbers
            ``[mean, std]`` for every channel.
    """
    channels = arrays.train_inputs.shape[1]
    if rule == "train":
        return channel_statistics(arrays.train_inputs, train_rows)
    if rule == "imagenet":
        if channels != 3:
            raise ValueError(f"dataset.normalize=imagenet needs images with 3 channels, these have {channels}")
        return IMAGENET
    mean, std = (0.0, 1.0) if rule == "none" else rule
    return (mean,) * channels, (std,) * channels
