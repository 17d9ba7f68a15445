"""Image data sets as uint8 tensors ``(N, C, H, W)``, one function each."""

from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError

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

TINY_IMAGENET = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
TINY_IMAGENET_SIZE = 64
TINY_IMAGENET_FOLDER = (
    "the unpacked Tiny-ImageNet folder, with wnids.txt, train/ and val/"
)
TINY_IMAGENET_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
DIGITS_LEVELS = 16  # scikit-learn stores them as 0..16


def digits() -> Arrays:
    """1,797 handwritten digits, 8 x 8 (Alpaydin and Kaynak, 1998), embedded in scikit-learn.

    scikit-learn has no official test part; a fixed stratified fifth is ours, the same for every seed.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    images = torch.from_numpy(
        np.round(data.images * (255 / DIGITS_LEVELS)).astype(np.uint8)
    )[:, None]
    targets = torch.from_numpy(data.target.astype(np.int64))
    train, test = train_test_split(
        np.arange(len(targets)), test_size=0.2, stratify=data.target, random_state=0
    )
    train, test = np.sort(train), np.sort(test)
    return Arrays(
        images[train], targets[train], images[test], targets[test], tuple("0123456789")
    )


def mnist(root: str) -> Arrays:
    """MNIST (LeCun et al., 1998): 60,000 + 10,000 handwritten digits, 28 x 28."""
    return _torchvision("MNIST", root, "MNIST/raw/ with the four idx files")


def fashion_mnist(root: str) -> Arrays:
    """Fashion-MNIST (Xiao et al., 2017, arXiv 1708.07747): 60,000 + 10,000 articles of clothing, 28 x 28."""
    return _torchvision(
        "FashionMNIST", root, "FashionMNIST/raw/ with the four idx files"
    )


def cifar10(root: str) -> Arrays:
    """CIFAR-10 (Krizhevsky, 2009): 50,000 + 10,000 photographs of ten things, 32 x 32, colour."""
    return _torchvision("CIFAR10", root, "cifar-10-batches-py/ with its batches")


def _torchvision(name: str, root: str, needed: str) -> Arrays:
    """Both parts of a torchvision data set, from `root`, or downloaded there by torchvision."""
    from torchvision import (
        datasets,  # a twentieth of the time to a first step, which digits do not need
    )

    data_path(root, f"the folder that holds {needed}")
    dataset, parts = getattr(datasets, name), []
    for part in ("training", "test"):
        opened = _open(dataset, root, part == "training", needed)
        images, labels = (
            _images(opened.data),
            torch.as_tensor(opened.targets, dtype=torch.int64),
        )
        _check_part(
            images,
            labels,
            opened.classes,
            f"{dataset.__name__} in dataset.root={root}, {part} part",
        )
        parts += [images, labels]
    return Arrays(*parts, tuple(opened.classes))


def _open(dataset: type, root: str, train: bool, needed: str):
    try:
        return dataset(root, train=train)
    except (
        RuntimeError,
        ValueError,
        AssertionError,
        OSError,
        EOFError,
        LookupError,
        UnpicklingError,
    ) as error:
        if "not found" not in str(error):  # torchvision's own words for no local copy
            raise ValueError(
                f"{dataset.__name__} in dataset.root={root} is damaged ({first_line(error)}); replace {needed}"
            ) from error
    # CIFAR10 unpacks beside itself, the MNISTs in a folder of their own.
    folder = (
        Path(root)
        if dataset.__name__ == "CIFAR10"
        else Path(root, dataset.__name__, "raw")
    )
    try:
        with new_folder(folder):
            return dataset(root, train=train, download=True)
    except FAILURES as error:
        raise ValueError(
            f"dataset.root={root} must hold {needed} of {dataset.__name__}, and downloading it failed "
            f"({first_line(error)}); put the files there or name the folder that has them"
        ) from error


def _images(data: torch.Tensor | np.ndarray) -> torch.Tensor:
    if isinstance(data, np.ndarray):
        return torch.from_numpy(data).permute(0, 3, 1, 2).contiguous()
    return data[:, None]


def _check_part(
    images: torch.Tensor, labels: torch.Tensor, classes: Sequence[str], where: str
) -> None:
    if len(images) != len(labels):
        raise ValueError(
            f"{where}: every image must have a label, there are {len(images)} and {len(labels)}"
        )
    wrong = ((labels < 0) | (labels >= len(classes))).nonzero()
    if len(wrong):
        sample = int(wrong[0])
        raise ValueError(
            f"{where}: labels must lie in 0..{len(classes) - 1} ({len(classes)} classes), "
            f"sample {sample} has {int(labels[sample])}"
        )


def image_folder(root: str, image_size: int, cache: str | None = None) -> Arrays:
    """Photographs in `train/<class>/` and `test/<class>/` (or `val/<class>/`), any size, resized to a square.

    Args:
        root: the folder that holds `train`.
        image_size: pixels a side.
        cache: folder for the decoded images, or None to keep them in memory only.

    Raises:
        ValueError: missing folders, classes that differ between the parts, one class only, or a damaged image.
    """
    from normlab.data.decoding import decode

    folder = data_path(
        root, "the folder that holds train/<class>/ and test/<class>/ (or val/)"
    )
    test_folder = folder / ("test" if (folder / "test").is_dir() else "val")
    classes = _classes(folder / "train", root)
    if (found := _classes(test_folder, root)) != classes:
        differing = sorted(set(classes) ^ set(found))
        raise ValueError(
            f"{test_folder} must hold the classes of {folder / 'train'}; they differ in {differing[:5]}"
        )
    if len(classes) < 2:
        raise ValueError(
            f"{folder / 'train'} holds one class only, {classes[0]}; there is nothing to tell apart"
        )
    if not isinstance(image_size, int) or image_size < 1:
        raise ValueError(
            f"dataset.stored_size must be a whole number of at least 1, got {image_size!r}"
        )
    parts = []
    for part in (folder / "train", test_folder):
        files = [
            (path, label)
            for label, name in enumerate(classes)
            for path in _files(part / name)
        ]
        parts += [
            decode([path for path, _ in files], image_size, cache),
            torch.tensor([label for _, label in files]),
        ]
    return Arrays(*parts, tuple(classes))


def tiny_imagenet(
    root: str, image_size: int | None = None, cache: str | None = None
) -> Arrays:
    """Tiny-ImageNet (Stanford CS231n) in its original layout: 64 x 64, colour, 200 classes.

    Its `test` has no labels, so the labelled `val` is the test part here and validation comes out of `train`.
    Classes are the lines of `wnids.txt`, in that order; grayscale files become colour.

    Args:
        root: the folder that holds `wnids.txt`; the published archive is downloaded there if it does not exist.
        image_size: pixels a side as stored; None keeps 64.
        cache: folder for the decoded images, or None to keep them in memory only.

    Raises:
        ValueError: a missing or damaged file, by name.
    """
    from normlab.data.decoding import decode

    folder = data_path(root, TINY_IMAGENET_FOLDER)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        download_archive(
            TINY_IMAGENET,
            TINY_IMAGENET_MD5,
            "tiny-imagenet-200",
            folder,
            TINY_IMAGENET_FOLDER,
        )
    ids = _text(folder / "wnids.txt", root).split()
    if len(ids) < 2:
        raise ValueError(
            f"{folder / 'wnids.txt'} must name at least two classes, got {ids}"
        )
    label = {name: index for index, name in enumerate(ids)}
    if repeated := [name for number, name in enumerate(ids) if label[name] != number]:
        raise ValueError(
            f"{folder / 'wnids.txt'} must name every class once, {repeated[0]} comes twice; remove one"
        )
    train = [
        (path, label[name])
        for name in ids
        for path in _files(folder / "train" / name / "images")
    ]
    test = _annotated(folder / "val", root, label)
    parts = []
    for files in (train, test):
        images = decode(
            [path for path, _ in files], image_size or TINY_IMAGENET_SIZE, cache
        )
        parts += [images, torch.tensor([index for _, index in files])]
    return Arrays(*parts, _words(folder / "words.txt", ids))


def _text(path: Path, root: str) -> str:
    if not path.is_file():
        raise ValueError(
            f"dataset.root={root} must be {TINY_IMAGENET_FOLDER}; there is no {path}"
        )
    return path.read_text()


def _annotated(
    folder: Path, root: str, label: dict[str, int]
) -> list[tuple[Path, int]]:
    """Files and classes that `val_annotations.txt` lists: file, class and box, separated by tabs."""
    path, found = folder / "val_annotations.txt", []
    for number, line in enumerate(_text(path, root).splitlines(), start=1):
        name, _, rest = line.partition("\t")
        wnid = rest.partition("\t")[0]
        if wnid not in label:
            raise ValueError(
                f"{path}, line {number}: the second entry must be one of the {len(label)} classes of wnids.txt, "
                f"got {wnid!r}"
            )
        found.append((folder / "images" / name, label[wnid]))
    if not found:
        raise ValueError(f"{path} must list the labelled images, it is empty")
    return found


def _words(path: Path, ids: list[str]) -> tuple[str, ...]:
    if not path.is_file():
        return tuple(ids)
    words = dict(
        line.split("\t", 1) for line in path.read_text().splitlines() if "\t" in line
    )
    return tuple(words.get(name, name).split(",")[0] for name in ids)


def _classes(folder: Path, root: str) -> list[str]:
    if not folder.is_dir():
        raise ValueError(
            f"dataset.root={root} must hold train/<class>/ and test/<class>/ (or val/); no {folder}"
        )
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if not classes:
        raise ValueError(
            f"{folder} must hold a folder of images for every class; it has none"
        )
    return classes


def _files(folder: Path) -> list[Path]:
    from torchvision.datasets.folder import IMG_EXTENSIONS

    endings = {extension.lower() for extension in IMG_EXTENSIONS}
    files = (
        sorted(path for path in folder.glob("*") if path.suffix.lower() in endings)
        if folder.is_dir()
        else []
    )
    if not files:
        raise ValueError(
            f"{folder} must hold images ({', '.join(sorted(endings))}); it has none"
        )
    return files
