"""From a configuration to train, validation and test parts."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch

from normlab.config.targets import build
from normlab.data.arrays import Arrays
from normlab.data.blocks import Part, Transform
from normlab.data.splits import train_validation_indices
from normlab.data.tabular import Encoder, Table
from normlab.data.transforms import ImageTransform, Unchanged, channel_statistics
from normlab.streams import numpy_generator

IMAGENET = (
    (0.485, 0.456, 0.406),
    (0.229, 0.224, 0.225),
)  # torchvision's networks were trained with these


@dataclass(frozen=True)
class Parts:
    """The three parts of a data set, disjoint, and what a model must know of them.

    Attributes:
        train: without validation.
        validation: carved out of the training samples.
        test: as published.
        input_shape: of one sample as the network gets it.
        num_outputs: classes, or 1 number to predict.
        encoder: of a table, fitted to the training part; None for images.
    """

    train: Part
    validation: Part
    test: Part
    input_shape: tuple[int, ...]
    num_outputs: int
    encoder: Encoder | None = None

    @property
    def by_name(self) -> dict[str, Part]:
        """Train, validation and test by the names that they have in metrics."""
        return {"train": self.train, "val": self.validation, "test": self.test}

    def to(self, device: torch.device) -> "Parts":
        """The same parts with their tensors on `device`, each of them once however many parts share it.

        Raises:
            ValueError: the device's memory is too small.
        """
        move = cache(lambda tensor: tensor.to(device))  # tensors are hashed by identity
        try:
            train, validation, test = (
                part.moved(move) for part in self.by_name.values()
            )
        except torch.OutOfMemoryError as error:
            stored = {
                id(part.inputs): part.inputs.nbytes for part in self.by_name.values()
            }
            raise ValueError(
                f"the data ({sum(stored.values()) / 2**20:.0f} MiB) must fit into the memory of {device}, which has no "
                f"room for them; end what else runs there, take fewer or smaller images, or device=cpu"
            ) from error
        return replace(self, train=train, validation=validation, test=test)


def load_parts(
    config: dict, image_size: int | None, encoder: Encoder | None = None
) -> Parts:
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
    train_rows, validation_rows = _split(loaded, config)
    if options["task"] == "classification":
        check_classes(loaded.train_targets[train_rows], loaded.class_names)
    else:
        check_numbers(loaded.train_targets[train_rows], options)
    if isinstance(loaded, Table):
        check_table_options(options)
        encoder = encoder or loaded.fit(train_rows, options["normalize"] == "train")
        arrays = loaded.encode(encoder)
        for note in encoding_notes(loaded, encoder):
            print(f"note: {note}", file=sys.stderr)
    else:
        arrays = loaded
    check_shape(arrays, options)
    augmented, plain = _transforms(arrays, train_rows, options, image_size)
    input_shape = arrays.train_inputs.shape[1:2] + (
        (image_size, image_size) if image_size is not None else ()
    )
    channels_last = bool(
        config["device"].get("channels_last")
    )  # runs from before it have no such key
    test_rows = torch.arange(len(arrays.test_targets))
    return Parts(
        Part(
            arrays.train_inputs,
            arrays.train_targets,
            train_rows,
            augmented,
            channels_last,
        ),
        Part(
            arrays.train_inputs,
            arrays.train_targets,
            validation_rows,
            plain,
            channels_last,
        ),
        Part(arrays.test_inputs, arrays.test_targets, test_rows, plain, channels_last),
        tuple(input_shape),
        num_classes if options["task"] == "classification" else 1,
        encoder,
    )


def _split(loaded: Arrays | Table, config: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of training and validation; what cannot be split is refused by the name of the data."""
    options, targets = config["dataset"], loaded.train_targets.numpy()
    generator = numpy_generator(config["seed"], "split")
    try:
        parts = train_validation_indices(
            targets, options["validation"], options["split"], generator
        )
    except ValueError as error:
        size = f"{len(targets) + len(loaded.test_targets)} {'rows' if isinstance(loaded, Table) else 'images'}"
        raise ValueError(
            f"{options.get('root') or options['name']} ({size}): {error}"
        ) from error
    return torch.from_numpy(parts[0]), torch.from_numpy(parts[1])


def _transforms(
    arrays: Arrays, train_rows: torch.Tensor, options: dict, image_size: int | None
) -> tuple[Transform, Transform]:
    """For the training part, and for the others: the same statistics, nothing random."""
    if image_size is None:
        return Unchanged(), Unchanged()
    mean, std = normalization(arrays, train_rows, options["normalize"])
    return ImageTransform(mean, std, image_size, **options["augment"]), ImageTransform(
        mean, std, image_size
    )


def check_shape(arrays: Arrays, options: dict) -> None:
    """Compare what was loaded with what the configuration declares.

    Raises:
        ValueError: another shape.
    """
    found = list(arrays.train_inputs.shape[1:])
    declared = options["shape"] or found
    if len(declared) != len(found) or any(
        d not in (None, f) for d, f in zip(declared, found, strict=True)
    ):
        raise ValueError(
            f"dataset.shape declares {options['shape']}, the data have {found}; correct dataset.shape"
        )


def check_labels(loaded: Arrays | Table, options: dict, num_classes: int) -> None:
    """Of a classification, every label must be one of its classes; a regression has none.

    Raises:
        ValueError: a label that is no class, or a number of classes that cannot be.
    """
    declared = options["num_classes"]
    if options["task"] != "classification":
        if declared is not None:
            raise ValueError(
                f"dataset.num_classes must be null for a regression, got {declared!r}"
            )
        return
    if declared is not None and (
        isinstance(declared, bool) or not isinstance(declared, int) or declared < 2
    ):
        raise ValueError(
            f"dataset.num_classes must be null or a whole number of at least 2, got {declared!r}"
        )
    for name, targets in (
        ("training", loaded.train_targets),
        ("test", loaded.test_targets),
    ):
        low, high = int(targets.min()), int(targets.max())
        if low < 0 or high >= num_classes:
            wrong = low if low < 0 else high
            raise ValueError(
                f"labels must lie in 0..{num_classes - 1} (dataset.num_classes={num_classes}), the {name} part has "
                f"{wrong}; correct dataset.num_classes or the data"
            )


def encoding_notes(table: Table, encoder: Encoder) -> Iterator[str]:
    """A sentence for each thing that the training rows could not teach the encoder of a table."""
    if encoder.constant:
        yield f"no training row tells values of these columns apart, taken as constant: {_some(encoder.constant)}"
    for column, names in table.unknown_categories(encoder).items():
        yield f"no training row has these categories of {column}, taken as none: {_some(names)}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def check_numbers(targets: torch.Tensor, options: dict) -> None:
    """Numbers to predict must differ in the training part.

    Raises:
        ValueError: the same number everywhere.
    """
    if len(targets) > 1 and targets.min() == targets.max():
        named = f"target {options['target']}" if options.get("target") else "the target"
        raise ValueError(
            f"{options.get('root') or options['name']}: {named} is {targets[0].item():g} in all {len(targets)} samples "
            f"of the training part; there is nothing to learn, use another fold, another seed, or other data"
        )


def check_classes(targets: torch.Tensor, class_names: Sequence[str]) -> None:
    """A training part must have something to tell apart.

    Args:
        targets: of the training part.
        class_names: by class; may be empty.

    Raises:
        ValueError: one class only.
    """
    if len(targets.unique()) < 2:
        only = class_names[int(targets[0])] if class_names else int(targets[0])
        raise ValueError(
            f"the training part must hold two classes at least, all {len(targets)} samples are of class {only}; "
            f"use dataset.split=stratified or other data"
        )


def one_class_cautions(parts: Parts, task: str) -> list[str]:
    """A sentence for each scored part of a classification that holds one class only."""
    scored = (
        {"validation": parts.validation, "test": parts.test}
        if task == "classification"
        else {}
    )
    return [
        f"the {name} part holds one class only: its accuracy does not show that classes are told apart"
        for name, part in scored.items()
        if len(part.targets[part.rows].unique()) < 2
    ]


def check_table_options(options: dict) -> None:
    """Refuse what only images have, which a table would silently ignore.

    Raises:
        ValueError: names the key.
    """
    if options["normalize"] not in ("train", "none"):
        raise ValueError(
            f"dataset.normalize must be train or none for a table, got {options['normalize']!r}"
        )
    if options["image_size"] is not None:
        raise ValueError(
            f"dataset.image_size must be null for a table, got {options['image_size']!r}"
        )
    if options["augment"]:
        raise ValueError(
            f"dataset.augment must be empty for a table, got {options['augment']!r}"
        )


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
            raise ValueError(
                f"dataset.normalize=imagenet needs images with 3 channels, these have {channels}"
            )
        return IMAGENET
    mean, std = (0.0, 1.0) if rule == "none" else rule
    return (mean,) * channels, (std,) * channels
