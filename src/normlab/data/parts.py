"""From a configuration to the training, validation and test part of a data set."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import torch

from normlab.config.targets import build
from normlab.data.array_sets import arrays, sample_shape
from normlab.data.arrays import Arrays
from normlab.data.batches import num_batches
from normlab.data.blocks import Part, Transform, spread
from normlab.data.checks import (
    check_classes,
    check_labels,
    check_numbers,
    check_offset,
    check_shape,
    check_table_options,
    check_tail,
    source_of,
)
from normlab.data.encoding import Encoder, TabularData
from normlab.data.group_splits import group_validation_indices
from normlab.data.image_statistics import PUBLISHED_STATISTICS, channel_statistics
from normlab.data.mapped import exceeds_memory
from normlab.data.notes import note_once, shortened
from normlab.data.orders import SHUFFLED, check_order
from normlab.data.splits import train_validation_indices
from normlab.data.subsets import training_subset
from normlab.data.transforms import PIXEL_RANGE, ImageTransform, Unchanged
from normlab.sharing import shared
from normlab.streams import numpy_generator
from normlab.terminal import print_line


@dataclass(frozen=True)
class Parts:
    """The three disjoint parts of a data set, and what a model must know of them.

    Attributes:
        train: the training samples without those for validation.
        validation: samples that were taken out of the published training samples, or
            that were published for validation.
        test: the published test samples.
        input_shape: shape of one sample as the network gets it.
        num_outputs: number of classes, or of the numbers to predict of a sample.
        encoder: of a table, fitted to the training part; None for images.
        class_names: name of class ``i`` at index ``i``. It is empty for a regression,
            and for data that name no classes.
        table: the columns of a table as they were read; None for other data.
    """

    train: Part
    validation: Part
    test: Part
    input_shape: tuple[int, ...]
    num_outputs: int
    encoder: Encoder | None = None
    class_names: tuple[str, ...] = ()
    table: TabularData | None = None

    @property
    def target_offset(self) -> float:
        """The number that was subtracted from every target, see `Encoder`."""
        return 0.0 if self.encoder is None else self.encoder.target_offset

    @property
    def by_name(self) -> dict[str, Part]:
        """The parts by their names in metrics: train, val and test."""
        return {"train": self.train, "val": self.validation, "test": self.test}

    def to(self, device: torch.device) -> "Parts":
        """Return the parts with their tensors on a device.

        A tensor that several parts share is copied once.

        Raises:
            ValueError: the device has too little memory.
        """
        move = cache(lambda tensor: tensor.to(device))  # tensors are hashed by identity
        try:
            return replace(
                self,
                train=self.train.map_tensors(move),
                validation=self.validation.map_tensors(move),
                test=self.test.map_tensors(move),
            )
        except torch.OutOfMemoryError as error:
            inputs = {part.inputs for part in self.by_name.values()}
            num_bytes = sum(tensor.nbytes for tensor in inputs)
            raise ValueError(
                f"the data ({num_bytes / 2**20:.0f} MiB) must fit into the memory of "
                f"{device}, which has no room for them; end other programs that use "
                "it, take fewer or smaller images, or set device=cpu"
            ) from error


def load_parts(
    config: dict, image_size: int | None, encoder: Encoder | None = None
) -> Parts:
    """Load a data set and take a validation part out of its training samples.

    Args:
        config: a resolved configuration.
        image_size: height and width of the network's images in pixels; None for tables.
        encoder: of another table with the same columns. None fits an encoder to the
            training part of this table.

    Raises:
        ValueError: the data are missing, damaged, or not as `dataset` declares them.
    """
    options = config["dataset"]
    is_classification = options["task"] == "classification"
    check_order(options)
    read = partial(build, options["load"])
    loaded = shared("data", options["load"], read)
    num_classes = options["num_classes"] or len(loaded.class_names)
    check_labels(loaded, options, num_classes)
    train_rows, validation_rows = _chosen_rows(loaded, config)
    train_targets = loaded.train_targets[train_rows]
    if is_classification:
        check_classes(train_targets, loaded.class_names)
    else:
        check_numbers(train_targets, options)

    arrays = loaded
    table = None
    if isinstance(loaded, TabularData):
        table = loaded
        encoder = _checked_encoder(table, train_rows, options, encoder)
        arrays = table.encode(encoder)
    check_shape(arrays, options)

    train, test, plain = _train_and_test(arrays, train_rows, config, image_size)
    input_shape = tuple(arrays.train_inputs.shape[1:2])  # channels or columns
    if image_size is not None:
        input_shape = (*input_shape, image_size, image_size)
    parts = Parts(
        train=train,
        validation=replace(train, rows=validation_rows, transform=plain),
        test=test,
        input_shape=input_shape,
        num_outputs=num_classes if is_classification else train.num_targets,
        encoder=encoder,
        class_names=tuple(loaded.class_names),
        table=table,
    )
    trainer = config["trainer"]
    if trainer.get("overfit_batches") is not None:
        same = replace(train, transform=plain)
        parts = replace(parts, validation=same, test=same)
    limit = trainer.get("limit_batches")
    limits_scores = trainer.get("limit_scores", True)
    return limited(parts, limit, options["batch_size"], limits_scores)


def _chosen_rows(
    loaded: Arrays | TabularData, config: dict
) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows for training and for validation, as `trainer` limits their number."""
    trainer = config["trainer"]  # of stored runs, without options that came later
    limit = trainer.get("max_samples")
    train_rows, validation_rows = _split(loaded, config)
    train_rows = training_subset(train_rows, loaded.train_targets[train_rows], config)
    train_rows = spread(train_rows, limit)
    overfit_batches = trainer.get("overfit_batches")
    if overfit_batches is not None:
        most = overfit_batches * config["dataset"]["batch_size"]
        train_rows = spread(train_rows, most)
    return train_rows, spread(validation_rows, limit)


def _checked_encoder(
    table: TabularData, train_rows: torch.Tensor, options: dict, encoder: Encoder | None
) -> Encoder:
    """The encoder of a table, fitted to its training rows unless there is one."""
    check_table_options(options)
    if encoder is None:
        encoder = table.fit(train_rows, options["normalize"])
    check_offset(encoder.target_offset, options)
    for note in encoding_notes(table, encoder):
        print_line(f"note: {note}")
    return encoder


def _train_and_test(
    arrays: Arrays, train_rows: torch.Tensor, config: dict, image_size: int | None
) -> tuple[Part, Part, Transform]:
    """The training part, the test part, and the transform without augmentation."""
    options = config["dataset"]
    augmented, plain = _transforms(arrays, train_rows, options, image_size)
    limit = config["trainer"].get("max_samples")
    test_rows = spread(torch.arange(len(arrays.test_targets)), limit)
    # Configurations that were stored before an option existed do not have its key.
    train = Part(
        arrays.train_inputs,
        arrays.train_targets,
        train_rows,
        augmented,
        order=options.get("order", SHUFFLED),
    )
    test = Part(arrays.test_inputs, arrays.test_targets, test_rows, plain)
    if arrays.is_mapped and exceeds_memory([train.inputs, test.inputs]):
        note_once(
            "the images need more than half of the memory and stay on disk, from where "
            "each batch is read"
        )
        train = train.left_on_disk()
        test = test.left_on_disk()
    if config["device"].get("channels_last"):
        train = replace(train, channels_last=True)
        test = replace(test, channels_last=True)
    return train, test, plain


def limited(
    parts: Parts, limit: float | None, batch_size: int, limits_scores: bool = True
) -> Parts:
    """Parts of which an epoch and a scoring take a limited number of batches.

    Args:
        parts: the data of a run.
        limit: number of batches, or the share of the batches of each part if it is
            below 1; None takes all.
        batch_size: samples of a batch.
        limits_scores: whether validation and test are limited as well.
    """
    if limit is None:
        return parts

    def with_limit(part: Part) -> Part:
        batches = limit
        if limit < 1:
            batches = max(1, limit * num_batches(len(part), batch_size))
        return replace(part, limit=int(batches) * batch_size)

    parts = replace(parts, train=with_limit(parts.train))
    if not limits_scores:
        return parts
    return replace(
        parts,
        validation=with_limit(parts.validation),
        test=with_limit(parts.test),
    )


def _split(
    loaded: Arrays | TabularData, config: dict
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of training and validation. Error messages name the data set."""
    options = config["dataset"]
    targets = loaded.train_targets.numpy()
    if isinstance(loaded, Arrays) and loaded.num_validation:
        rows = torch.arange(len(targets))
        num_train = len(targets) - loaded.num_validation
        return rows[:num_train], rows[num_train:]

    generator = numpy_generator(config["seed"], "split")
    method = options["split"]
    groups = None
    unit = "images"
    if isinstance(loaded, TabularData):
        groups = loaded.train_groups
        unit = "rows"
    try:
        if groups is None:
            train, validation = train_validation_indices(
                targets, options["validation"], method, generator
            )
        else:
            train, validation = group_validation_indices(
                groups, targets, options["validation"], method, generator
            )
        if method == "tail" and options["task"] == "classification":
            check_tail(targets, train, validation)
    except ValueError as error:
        num_samples = len(targets) + len(loaded.test_targets)
        source = source_of(options)
        raise ValueError(f"{source} ({num_samples} {unit}): {error}") from error
    return torch.from_numpy(train), torch.from_numpy(validation)


def _transforms(
    arrays: Arrays, train_rows: torch.Tensor, options: dict, image_size: int | None
) -> tuple[Transform, Transform]:
    """The transform of the training part, and that of the others without augmentation.

    Both normalize by the same statistics.
    """
    if image_size is None:
        return Unchanged(), Unchanged()
    mean, std = normalization(arrays, train_rows, options["normalize"])
    augmented = ImageTransform(mean, std, image_size, **options["augment"])
    return augmented, ImageTransform(mean, std, image_size)


def normalization(
    arrays: Arrays,
    train_rows: torch.Tensor,
    rule: str | Sequence[float] | Sequence[Sequence[float]],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, for pixels in 0..1.

    Images that are no bytes have no known range. Their statistics are in their own
    units, divided by 255, as if they were bytes.

    Args:
        arrays: images.
        train_rows: rows of the training part, the only images that may count.
        rule: `train` for the statistics of these images, `none` for 0 and 1, the name
            of a data set for its published statistics, ``[mean, std]`` for every
            channel, or ``[[mean, ...], [std, ...]]`` with one number per channel.

    Raises:
        ValueError: the rule is none of these or for another number of channels, or a
            value is not finite.
    """
    images = arrays.train_inputs
    num_channels = images.shape[1]
    if rule == "train":
        mean, std = channel_statistics(images, train_rows)
        if not all(map(math.isfinite, (*mean, *std))):
            raise ValueError(
                "the training images must hold finite numbers only, a channel has the "
                f"mean {mean}"
            )
        return mean, std
    if isinstance(rule, str) and rule != "none":
        if rule not in PUBLISHED_STATISTICS:
            raise ValueError(
                "dataset.normalize must be train, none, [mean, standard deviation] or "
                f"one of {', '.join(PUBLISHED_STATISTICS)} for images, got {rule}"
            )
        mean, std = PUBLISHED_STATISTICS[rule]
    elif rule == "none":
        mean = (0.0,) * num_channels
        std = (1.0,) * num_channels
    else:
        mean, std = (_per_channel(values, num_channels) for values in rule)
    if len(mean) != num_channels or len(std) != num_channels:
        raise ValueError(
            f"dataset.normalize={rule} needs images with {len(mean)} channels, "
            f"these have {num_channels}"
        )
    if images.dtype == torch.uint8:
        return mean, std
    mean = tuple(value / PIXEL_RANGE for value in mean)
    std = tuple(value / PIXEL_RANGE for value in std)
    return mean, std


def _per_channel(
    values: float | str | Sequence[float], num_channels: int
) -> tuple[float, ...]:
    if isinstance(values, list | tuple):
        return tuple(values)
    return (float(values),) * num_channels  # type: ignore[arg-type] # a number


def stored_shape(options: dict) -> list | None:
    """The shape of a stored sample, as declared or as the file of the data says.

    Args:
        options: the `dataset` section of a configuration.

    Returns:
        Null if only the data themselves can tell.
    """
    if options["shape"] is not None:
        return options["shape"]
    load = dict(options.get("load", {}))
    target = load.pop("_target_", None)
    if target == f"{arrays.__module__}.{arrays.__name__}":
        return sample_shape(**load)
    return None


def encoding_notes(table: TabularData, encoder: Encoder) -> Iterator[str]:
    """Describe what the training rows could not teach the encoder of a table."""
    if encoder.constant:
        yield (
            "these columns have one value in all training rows and are treated as "
            f"constant: {shortened(encoder.constant)}"
        )
    for column, names in table.unknown_categories(encoder).items():
        yield (
            f"these categories of {column} are in no training row and are encoded as "
            f"zeros: {shortened(names)}"
        )
