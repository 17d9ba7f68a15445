"""Read the files of torchvision's data sets into memory, and download missing ones."""

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from normlab.data.arrays import Arrays
from normlab.data.downloads import (
    FAILURES,
    data_path,
    new_folder,
    refuse_special_files,
)
from normlab.messages import first_line

# What torchvision's data sets raise for damaged files.
DAMAGED = (
    *(RuntimeError, ValueError, AssertionError, OSError, EOFError, LookupError),
    UnpicklingError,
)


# Folders below the root in which the files of a data set lie.
FOLDERS = {
    "CIFAR10": "cifar-10-batches-py",
    "CIFAR100": "cifar-100-python",
    "SVHN": ".",
}
# Downloads of these are unpacked into the root, the others into a folder of their own.
IN_THE_ROOT = tuple(FOLDERS)


def read_torchvision(
    name: str, root: str, needed: str, class_names: tuple[str, ...] | None = None
) -> Arrays:
    """Read both parts of a torchvision data set, which are downloaded if missing.

    Args:
        name: of torchvision's class.
        root: the folder that holds the data set.
        needed: what `root` must hold, for messages.
        class_names: names of the classes; None for those of torchvision.

    Raises:
        ValueError: files are damaged, or the download failed.
    """
    # Imported here: it takes a twentieth of the time to the first training step, which
    # the digits need not spend.
    from torchvision import datasets

    data_path(root, f"the folder that holds {needed}")
    dataset = getattr(datasets, name)
    train = _open(dataset, root, True, needed)
    names = class_names or tuple(train.classes)
    train_inputs, train_targets = _images_and_labels(train, root, "training", names)
    test = _open(dataset, root, False, needed)
    test_inputs, test_targets = _images_and_labels(test, root, "test", names)
    return Arrays(train_inputs, train_targets, test_inputs, test_targets, names)


def _open(dataset: type, root: str, train: bool, needed: str) -> Any:
    """Return one part of a torchvision data set.

    Raises:
        ValueError: the files are damaged, or the download failed.
    """
    name = dataset.__name__
    files = Path(root, FOLDERS.get(name, f"{name}/raw"))
    folder = Path(root) if name in IN_THE_ROOT else files
    part: dict[str, Any] = {"train": train}
    if name == "SVHN":
        part = {"split": "train" if train else "test"}
    refuse_special_files(files)
    try:
        return dataset(root, **part)
    except DAMAGED as error:
        # torchvision reports missing files with these words.
        if "not found" not in str(error):
            raise ValueError(
                f"{name} in dataset.root={root} is damaged ({first_line(error)}); "
                f"replace {needed}"
            ) from error

    try:
        with new_folder(folder):
            return dataset(root, **part, download=True)
    except FAILURES as error:
        raise ValueError(
            f"dataset.root={root} must hold {needed} of {name}, "
            f"and downloading it failed ({first_line(error)}); "
            "put the files there or name the folder that has them"
        ) from error


def _images_and_labels(
    opened: Any, root: str, part: str, class_names: tuple[str, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Images uint8 ``(N, C, H, W)`` and labels int64 ``(N,)`` of one part.

    Raises:
        ValueError: the numbers of images and labels differ, or a label is no class.
    """
    name = type(opened).__name__
    images = torch.as_tensor(opened.data)
    if images.ndim == 3:
        images = images[:, None]
    elif name != "SVHN":
        images = images.permute(0, 3, 1, 2)
    images = images.contiguous()
    stored = opened.labels if name == "SVHN" else opened.targets
    labels = torch.as_tensor(stored, dtype=torch.int64)

    source = f"{name} in dataset.root={root}, {part} part"
    if len(images) != len(labels):
        raise ValueError(
            f"{source}: every image must have a label, "
            f"there are {len(images)} and {len(labels)}"
        )
    num_classes = len(class_names)
    wrong = ((labels < 0) | (labels >= num_classes)).nonzero()
    if len(wrong):
        sample = int(wrong[0])
        raise ValueError(
            f"{source}: labels must lie in 0..{num_classes - 1} "
            f"({num_classes} classes), sample {sample} has {int(labels[sample])}"
        )
    return images, labels
