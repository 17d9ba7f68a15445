"""Image data sets as uint8 tensors ``(N, C, H, W)``, one function each."""

from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch

from normlab.data.arrays import Arrays
from normlab.data.downloads import (
    FAILURES,
    data_path,
    download_archive,
    first_line,
    new_folder,
)

# What torchvision's data sets raise for damaged files.
DAMAGED = (
    *(RuntimeError, ValueError, AssertionError, OSError, EOFError, LookupError),
    UnpicklingError,
)
TINY_IMAGENET = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
TINY_IMAGENET_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
TINY_IMAGENET_SIZE = 64
TINY_IMAGENET_FOLDER = (
    "the unpacked Tiny-ImageNet folder, with wnids.txt, train/ and val/"
)
DIGITS_LEVELS = 16  # scikit-learn stores pixels as 0..16


def digits() -> Arrays:
    """1,797 handwritten digits of 8 x 8 pixels (Alpaydin and Kaynak, 1998).

    The data are part of scikit-learn, which has no official test part. Here it is a
    fixed stratified fifth, the same for every seed.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    pixels = np.round(data.images * (255 / DIGITS_LEVELS)).astype(np.uint8)
    images = torch.from_numpy(pixels)[:, None]
    targets = torch.from_numpy(data.target.astype(np.int64))
    train, test = train_test_split(
        np.arange(len(targets)), test_size=0.2, stratify=data.target, random_state=0
    )
    train = np.sort(train)
    test = np.sort(test)
    return Arrays(
        images[train], targets[train], images[test], targets[test], tuple("0123456789")
    )


def mnist(root: str) -> Arrays:
    """MNIST: 60,000 + 10,000 handwritten digits of 28 x 28 pixels.

    LeCun, Bottou, Bengio and Haffner (1998).

    Args:
        root: the folder that holds MNIST/raw/. Missing files are downloaded there.

    Raises:
        ValueError: files are damaged, or the download failed.
    """
    return _torchvision("MNIST", root, "MNIST/raw/ with the four idx files")


def fashion_mnist(root: str) -> Arrays:
    """Fashion-MNIST: 60,000 + 10,000 articles of clothing, 28 x 28 pixels.

    Xiao, Rasul and Vollgraf (2017), arXiv 1708.07747.

    Args:
        root: the folder that holds FashionMNIST/raw/. Missing files are downloaded
            there.

    Raises:
        ValueError: files are damaged, or the download failed.
    """
    needed = "FashionMNIST/raw/ with the four idx files"
    return _torchvision("FashionMNIST", root, needed)


def cifar10(root: str) -> Arrays:
    """CIFAR-10: 50,000 + 10,000 colour photographs of 32 x 32 pixels in ten classes.

    Krizhevsky, "Learning multiple layers of features from tiny images" (2009).

    Args:
        root: the folder that holds cifar-10-batches-py/. Missing files are downloaded
            there.

    Raises:
        ValueError: files are damaged, or the download failed.
    """
    return _torchvision("CIFAR10", root, "cifar-10-batches-py/ with its batches")


def _torchvision(name: str, root: str, needed: str) -> Arrays:
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
    try:
        return dataset(root, train=train)
    except DAMAGED as error:
        # torchvision reports missing files with these words.
        if "not found" not in str(error):
            raise ValueError(
                f"{name} in dataset.root={root} is damaged ({first_line(error)}); "
                f"replace {needed}"
            ) from error

    # CIFAR10 is unpacked into the root, the others into a folder of their own.
    folder = Path(root)
    if name != "CIFAR10":
        folder = Path(root, name, "raw")
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


def image_folder(root: str, image_size: int, cache: str | None = None) -> Arrays:
    """Photographs in `train/<class>/` and `test/<class>/` (or `val/<class>/`).

    They may have any size and are resized to squares.

    Args:
        root: the folder that holds `train`.
        image_size: height and width in pixels to which images are resized.
        cache: folder for the decoded images. None decodes them in every run.

    Raises:
        ValueError: a folder is missing, the parts have different classes or only one,
            or an image is damaged.
    """
    needed = "the folder that holds train/<class>/ and test/<class>/ (or val/)"
    folder = data_path(root, needed)
    train_folder = folder / "train"
    test_folder = folder / "test"
    if not test_folder.is_dir():
        test_folder = folder / "val"

    classes = _classes(train_folder, root)
    test_classes = _classes(test_folder, root)
    if test_classes != classes:
        differing = sorted(set(classes) ^ set(test_classes))
        raise ValueError(
            f"{test_folder} must hold the classes of {train_folder}; "
            f"they differ in {differing[:5]}"
        )
    if len(classes) < 2:
        raise ValueError(
            f"{train_folder} holds one class only, {classes[0]}; "
            "there is nothing to tell apart"
        )
    if not isinstance(image_size, int) or image_size < 1:
        raise ValueError(
            "dataset.stored_size must be a whole number of at least 1, "
            f"got {image_size!r}"
        )

    train = _labelled([train_folder / name for name in classes])
    test = _labelled([test_folder / name for name in classes])
    return _decoded(train, test, image_size, cache, tuple(classes))


def tiny_imagenet(
    root: str, image_size: int | None = None, cache: str | None = None
) -> Arrays:
    """Tiny-ImageNet: colour photographs of 64 x 64 pixels in 200 classes.

    Stanford University, course CS231n. The labels of its `test` are not published, so
    the labelled `val` is the test part here, and validation is taken out of `train`.
    Classes are the lines of `wnids.txt`, in that order. Grayscale files become colour
    images.

    Args:
        root: the folder that holds `wnids.txt`. If it does not exist, the published
            archive is downloaded and unpacked there.
        image_size: height and width in pixels to which images are resized; None for 64.
        cache: folder for the decoded images. None decodes them in every run.

    Raises:
        ValueError: names the file that is missing or damaged.
    """
    folder = data_path(root, TINY_IMAGENET_FOLDER)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        download_archive(
            TINY_IMAGENET,
            TINY_IMAGENET_MD5,
            "tiny-imagenet-200",
            folder,
            TINY_IMAGENET_FOLDER,
        )

    ids_file = folder / "wnids.txt"
    ids = _text(ids_file, root).split()
    if len(ids) < 2:
        raise ValueError(f"{ids_file} must name at least two classes, got {ids}")
    label_by_id = {name: label for label, name in enumerate(ids)}
    repeated = [name for label, name in enumerate(ids) if label_by_id[name] != label]
    if repeated:
        raise ValueError(
            f"{ids_file} must name every class once, {repeated[0]} comes twice; "
            "remove one"
        )

    train = _labelled([folder / "train" / name / "images" for name in ids])
    test = _annotated(folder / "val", root, label_by_id)
    class_names = _words(folder / "words.txt", ids)
    return _decoded(train, test, image_size or TINY_IMAGENET_SIZE, cache, class_names)


def _decoded(
    train: list[tuple[Path, int]],
    test: list[tuple[Path, int]],
    image_size: int,
    cache: str | None,
    class_names: tuple[str, ...],
) -> Arrays:
    """Decode the images of both parts, each given with its label."""
    from normlab.data.decoding import decode

    return Arrays(
        train_inputs=decode([path for path, _ in train], image_size, cache),
        train_targets=torch.tensor([label for _, label in train]),
        test_inputs=decode([path for path, _ in test], image_size, cache),
        test_targets=torch.tensor([label for _, label in test]),
        class_names=class_names,
    )


def _text(path: Path, root: str) -> str:
    if not path.is_file():
        raise ValueError(
            f"dataset.root={root} must be {TINY_IMAGENET_FOLDER}; there is no {path}"
        )
    return path.read_text()


def _annotated(
    folder: Path, root: str, label_by_id: dict[str, int]
) -> list[tuple[Path, int]]:
    """Images and labels that `val_annotations.txt` lists.

    Its lines hold the file, the id of the class and a box, separated by tabs.
    """
    path = folder / "val_annotations.txt"
    found = []
    for number, line in enumerate(_text(path, root).splitlines(), start=1):
        name, _, rest = line.partition("\t")
        class_id = rest.partition("\t")[0]
        if class_id not in label_by_id:
            raise ValueError(
                f"{path}, line {number}: the second entry must be one of the "
                f"{len(label_by_id)} classes of wnids.txt, got {class_id!r}"
            )
        found.append((folder / "images" / name, label_by_id[class_id]))
    if not found:
        raise ValueError(f"{path} must list the labelled images, it is empty")
    return found


def _words(path: Path, ids: list[str]) -> tuple[str, ...]:
    """The first word of each class in `words.txt`; the ids if the file is missing."""
    if not path.is_file():
        return tuple(ids)
    lines = path.read_text().splitlines()
    words = dict(line.split("\t", 1) for line in lines if "\t" in line)
    return tuple(words.get(name, name).split(",")[0] for name in ids)


def _classes(folder: Path, root: str) -> list[str]:
    """Sorted names of the folders inside a folder."""
    if not folder.is_dir():
        raise ValueError(
            f"dataset.root={root} must hold train/<class>/ and test/<class>/ "
            f"(or val/); no {folder}"
        )
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if not classes:
        raise ValueError(
            f"{folder} must hold a folder of images for every class; it has none"
        )
    return classes


def _labelled(folders: Sequence[Path]) -> list[tuple[Path, int]]:
    """Images and labels, given one folder per class."""
    found = []
    for label, folder in enumerate(folders):
        found += [(path, label) for path in _files(folder)]
    return found


def _files(folder: Path) -> list[Path]:
    """Sorted image files of a folder."""
    from torchvision.datasets.folder import IMG_EXTENSIONS

    endings = {extension.lower() for extension in IMG_EXTENSIONS}
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in endings)
    if not files:
        raise ValueError(
            f"{folder} must hold images ({', '.join(sorted(endings))}); it has none"
        )
    return files
