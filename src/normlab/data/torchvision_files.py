"""Read the files of torchvision's data sets into memory, and download missing ones."""

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch

from normlab.data.arrays import Arrays
from normlab.data.downloads import (
    FAILURES,
    data_path,
    first_line,
    new_folder,
    refuse_special_files,
)

# What torchvision's data sets raise for damaged files.
DAMAGED = (
    *(RuntimeError, ValueError, AssertionError, OSError, EOFError, LookupError),
    UnpicklingError,
)


def read_torchvision(name: str, root: str, needed: str) -> Arrays:
    """Read both parts of a torchvision data set, which are downloaded if missing.

    Args:
        name: of torchvision's class.
        root: the folder that holds the data set.
        needed: what `root` must hold, for messages.
    """
    # Imported here: it takes a twentieth of the time to the first training step, which
    # the digits need not spend.
    from torchvision import datasets

    data_path(root, f"the folder that holds {needed}")
    dataset = getattr(datasets, name)
    train = _open(dataset, root, True, needed)
    train_inputs, train_targets = _images_and_labels(train, root, "training")
    test = _open(dataset, root, False, needed)
    test_inputs, test_targets = _images_and_labels(test, root, "test")
    return Arrays(
        train_inputs, train_targets, test_inputs, test_targets, tuple(test.classes)
    )


def _open(dataset: type, root: str, train: bool, needed: str) -> Any:
    """Return one part of a torchvision data set.

    Raises:
        ValueError: the files are damaged, or the download failed.
    """
    name = dataset.__name__
    # CIFAR10 is unpacked into the root, the others into a folder of their own.
    folder = Path(root)
    files = folder / "cifar-10-batches-py"
    if name != "CIFAR10":
        folder = files = Path(root, name, "raw")
    refuse_special_files(files)
    try:
        return dataset(root, train=train)
    except DAMAGED as error:
        # torchvision reports missing files with these words.
        if "not found" not in str(error):
            raise ValueError(
                f"{name} in dataset.root={root} is damaged ({first_line(error)}); "
                f"replace {needed}"
            ) from error

    try:
        with new_folder(folder):
            return dataset(root, train=train, download=True)
    except FAILURES as error:
        raise ValueError(
            f"dataset.root={root} must hold {needed} of {name}, "
            f"and downloading it failed ({first_line(error)}); "
            "put the files there or name the folder that has them"
        ) from error


def _images_and_labels(
    opened: Any, root: str, part: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Images uint8 ``(N, C, H, W)`` and labels int64 ``(N,)`` of one part.

    Raises:
        ValueError: the numbers of images and labels differ, or a label is no class.
    """
    images = opened.data
    if isinstance(images, np.ndarray):
        images = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    else:
        images = images[:, None]
    labels = torch.as_tensor(opened.targets, dtype=torch.int64)

    source = f"{type(opened).__name__} in dataset.root={root}, {part} part"
    if len(images) != len(labels):
        raise ValueError(
            f"{source}: every image must have a label, "
            f"there are {len(images)} and {len(labels)}"
        )
    num_classes = len(opened.classes)
    wrong = ((labels < 0) | (labels >= num_classes)).nonzero()
    if len(wrong):
        sample = int(wrong[0])
        raise ValueError(
            f"{source}: labels must lie in 0..{num_classes - 1} "
            f"({num_classes} classes), sample {sample} has {int(labels[sample])}"
        )
    return images, labels
