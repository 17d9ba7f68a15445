"""Images from data sets of Hugging Face, in a folder or on the hub.

Data sets with code of their own are refused: only files that are read as data are
opened, and images are decoded by the same function as files.
"""

import hashlib
import io
import sys
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from normlab.data.array_sets import TRAIN
from normlab.data.array_targets import class_indices
from normlab.data.arrays import Arrays
from normlab.data.decoding import Source, decode_sources
from normlab.data.downloads import FAILURES, data_path, open_data
from normlab.data.notes import note_once, shortened
from normlab.data.splits import fold_indices
from normlab.data.tabular import FOLDS_SEED
from normlab.messages import first_line

# Modules of the package that read files as data.
READERS = ("arrow", "csv", "imagefolder", "json", "parquet")
# Files of a folder that `save_to_disk` wrote.
SAVED = ("dataset_dict.json", "state.json")
TEST = ("test", "validation", "valid", "val")


def hugging_face(
    root: str,
    image_size: int,
    configuration: str | None = None,
    revision: str | None = None,
    inputs: str | None = None,
    target: str | None = None,
    test: str | None = None,
    fold: int = 0,
    num_folds: int = 5,
    cache: str | None = None,
) -> Arrays:
    """Images and classes of a data set of Hugging Face.

    Args:
        root: a folder of parquet, arrow or image files or of `save_to_disk`, or the
            name of a data set on the hub, such as ylecun/mnist.
        image_size: height and width in pixels to which images are resized.
        configuration: of a data set that has several; None for the only one.
        revision: commit or branch on the hub; None for the newest.
        inputs: the column of images; None for the only one.
        target: the column of classes; None for the only one.
        test: the split that is the test part; None takes `test` or else `validation`.
            If there is no such split, a fold of `train` is the test part.
        fold: index of that fold, from 0.
        num_folds: number of folds.
        cache: folder for the decoded images. None decodes them in every run.

    Raises:
        ValueError: the data set cannot be loaded, would need code of its own, has no
            such columns or splits, a label is missing, or the test part names a class
            that the training part does not name.
    """
    data_path(root, "a folder, or the name of a data set on the hub")
    if find_spec("datasets") is None:
        raise ValueError(f"dataset.root={root} needs the package datasets: install it")
    splits = _splits(str(root), configuration, revision)
    train_name, test_name = _chosen(splits, test, root)
    train = splits[train_name]
    inputs = _column(train, inputs, "inputs", "Image", root)
    target = _column(train, target, "target", "ClassLabel", root)
    names = [train_name]
    if test_name is not None:
        names.append(test_name)
    parts = [splits[name] for name in names]
    places = [f"{root} (split {name})" for name in names]
    for part, place in zip(parts, places, strict=True):
        _column(part, inputs, "inputs", "Image", place)
        _column(part, target, "target", "ClassLabel", place)

    images = [_images(part, inputs, image_size, cache) for part in parts]
    targets, classes = _classes(parts, places, target, root)
    if test_name is not None:
        train_images, test_images = images
        train_targets, test_targets = targets
        return Arrays(train_images, train_targets, test_images, test_targets, classes)
    (all_images,) = images
    (all_targets,) = targets
    generator = np.random.default_rng(FOLDS_SEED)
    rows, test_rows = fold_indices(len(all_targets), num_folds, fold, generator)
    return Arrays(
        train_inputs=all_images[rows],
        train_targets=all_targets[rows],
        test_inputs=all_images[test_rows],
        test_targets=all_targets[test_rows],
        class_names=classes,
    )


def _classes(
    parts: list[Any], places: list[str], target: str, root: str
) -> tuple[list[torch.Tensor], tuple[str, ...]]:
    """The class indices of each split, and the names of the classes."""
    names = _names(parts[0], target)
    stored = []
    for part, place in zip(parts, places, strict=True):
        labels = _labels(part, target, place)
        own_names = _names(part, target)
        if own_names != names:
            labels = _renumbered(labels, own_names, names, place)
        stored.append(labels)
    indices, classes = class_indices(stored, names, None, root)
    return list(map(torch.from_numpy, indices)), classes


def _names(split: Any, target: str) -> list[str] | None:
    """The names of the classes of a split; None if the column does not state them."""
    return getattr(split.features[target], "names", None)


def _labels(split: Any, target: str, place: str) -> np.ndarray:
    """The labels ``(N,)`` of a split, as it stores them.

    Raises:
        ValueError: a label is missing.
    """
    values = list(split[target][:])
    if None in values:
        raise ValueError(
            f"dataset.root={place}: every row must have a label, {target} is empty in "
            f"row {values.index(None)}, counted from 0; remove the rows without one"
        )
    labels = np.array(values)
    if _names(split, target) and (labels < 0).any():
        raise ValueError(
            f"dataset.root={place}: {target} is -1 where the label is not published; "
            "set dataset.test to a split that has labels"
        )
    return labels


def _renumbered(
    labels: np.ndarray,
    own_names: list[str] | None,
    names: list[str] | None,
    place: str,
) -> np.ndarray:
    """The labels of a split by the names of the training part.

    A split may state names of classes that none of its rows has.

    Args:
        labels: int64 ``(N,)``, indices of `own_names`.
        own_names: of the classes of this split; None if it does not state them.
        names: of the classes of the training part, or None.
        place: what the split is called in messages.

    Raises:
        ValueError: a class is not among those of the training part.
    """
    if own_names is None or names is None:
        raise ValueError(
            f"dataset.root={place}: the classes must have names in both parts or in "
            "none; store both columns as the same ClassLabel"
        )
    if labels.max(initial=0) >= len(own_names):
        raise ValueError(
            f"dataset.root={place}: labels must be below {len(own_names)}, the number "
            f"of classes, one is {labels.max()}"
        )
    present, places = np.unique(labels, return_inverse=True)
    present_names = [own_names[label] for label in present]
    number_of = {name: number for number, name in enumerate(names)}
    unknown = [name for name in present_names if name not in number_of]
    if unknown:
        raise ValueError(
            f"dataset.root={place} must have the classes of the training part, "
            f"{shortened(names)}; it also has {shortened(unknown)}"
        )
    numbers = np.array([number_of[name] for name in present_names], dtype=np.int64)
    return numbers[places]


def _splits(root: str, configuration: str | None, revision: str | None) -> Any:
    """The splits of a data set by name, as the package `datasets` has them."""
    import datasets
    from datasets.exceptions import DatasetGenerationError, DatasetsError

    folder = Path(root)
    is_saved = any((folder / name).is_file() for name in SAVED)
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    try:
        if is_saved:
            loaded = datasets.load_from_disk(root)
        else:
            builder = datasets.load_dataset_builder(
                root, configuration, revision=revision
            )
            _check_reader(builder, root)
            builder.download_and_prepare()
            loaded = builder.as_dataset()
    # The package has further exceptions, all of which are of these kinds.
    except (
        *(DatasetsError, ValueError, LookupError, NotImplementedError),
        *FAILURES,
    ) as error:
        reason: BaseException = error
        if isinstance(error, DatasetGenerationError):  # which does not say what failed
            reason = error.__cause__ or error.__context__ or error
        raise ValueError(
            f"dataset.root={root} must be a folder, or a data set on the hub, that "
            f"Hugging Face's datasets can load as data: {first_line(reason)}"
        ) from error
    if isinstance(loaded, datasets.Dataset):
        return {"train": loaded}
    return loaded


def _check_reader(builder: Any, root: str) -> None:
    """Refuse what is not read as plain data.

    The package names a builder by its module, `datasets.packaged_modules.NAME.NAME`
    (checked with version 5.2).
    """
    package, _, reader = type(builder).__module__.rpartition(".")
    if package != f"datasets.packaged_modules.{reader}" or reader not in READERS:
        raise ValueError(
            f"it is read by {reader}, but only {', '.join(READERS)} are read as data"
        )


def _chosen(splits: Any, test: str | None, root: str) -> tuple[str, str | None]:
    """The names of the training and the test split."""
    names = list(splits)
    train = _first_of(TRAIN, names)
    needed = "a split train"
    if test is not None:
        needed += f" and the split dataset.test={test}"
    if train is None or (test is not None and test not in names):
        raise ValueError(
            f"dataset.root={root} must have {needed}, it has {', '.join(names)}"
        )
    if test is None:
        test = _first_of(TEST, names)
    unused = [name for name in names if name not in (train, test)]
    if unused:
        note_once(f"{root}: these splits are not used: {', '.join(unused)}")
    if test is not None and test != "test":
        note_once(f"{root}: the split {test} is the test part")
    return train, test


def _first_of(usual: Sequence[str], names: list[str]) -> str | None:
    """The first of the usual names that is among the names."""
    for name in usual:
        if name in names:
            return name
    return None


def _column(split: Any, wanted: str | None, key: str, kind: str, root: str) -> str:
    """The column that an option names, or the only one of a kind."""
    features = split.features
    if wanted is not None and wanted in features:
        return wanted
    found = []
    for name, feature in features.items():
        if type(feature).__name__ == kind:
            found.append(name)
    if wanted is None and len(found) == 1:
        return found[0]
    advice = ""
    if key == "inputs" and not found:
        advice = "; tables are read by dataset=csv dataset.root=FILE.parquet"
    raise ValueError(
        f"dataset.{key} must name a column of dataset.root={root}, got {wanted}; it "
        f"has {', '.join(features)}{advice}"
    )


def _images(
    split: Any, column: str, image_size: int, cache: str | None
) -> torch.Tensor:
    """The images of a split, uint8 ``(N, 3, S, S)``."""
    import datasets

    if type(split.features[column]).__name__ != "Image":
        raise ValueError(
            f"dataset.inputs={column} must be a column of images, it holds "
            f"{split.features[column]}"
        )
    # The package would decode the images itself, and without bounds of their size.
    stored = split.cast_column(column, datasets.Image(decode=False))
    rows = stored.select_columns([column])
    sources = _Sources(rows, column)
    key = _key(rows, column, image_size)
    return decode_sources(sources, image_size, cache, key)


class _Sources:
    """The images of a split, each of which is read when it is decoded."""

    def __init__(self, rows: Any, column: str) -> None:
        self.rows = rows
        self.column = column

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Source:
        row = self.rows[index]
        image = row[self.column] or {}
        name = f"{index} of the column {self.column}"
        content = image.get("bytes")
        if content is not None:
            return Source(name, partial(io.BytesIO, content))
        path = image.get("path")
        if path is not None:
            return Source(path, partial(open_data, Path(path)))
        raise ValueError(f"image {name} is missing; leave the row out")


def _key(rows: Any, column: str, image_size: int) -> str:
    """Digest of the files that hold a split, as they are on disk."""
    state = hashlib.sha256(f"{column}|{image_size}|{len(rows)}|".encode())
    state.update(str(rows._fingerprint).encode())
    for entry in rows.cache_files:
        name = entry["filename"]
        status = Path(name).stat()
        state.update(f"{name}|{status.st_size}|".encode())
        state.update(f"{status.st_mtime_ns}|{status.st_ctime_ns}".encode())
    return state.hexdigest()[:20]
