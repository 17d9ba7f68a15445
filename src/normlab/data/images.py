"""Image data sets as uint8 tensors ``(N, C, H, W)``, one function each."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from normlab.data.arrays import Arrays
from normlab.data.downloads import data_path
from normlab.data.image_files import (
    LeftOut,
    class_names,
    decode_parts,
    has_classes,
    labelled_files,
)
from normlab.data.mnist_files import read_mnist
from normlab.data.notes import note_once
from normlab.data.tiny_imagenet import tiny_imagenet
from normlab.data.torchvision_files import read_torchvision

__all__ = [
    "cifar10",
    "cifar100",
    "digits",
    "fashion_mnist",
    "image_folder",
    "kmnist",
    "mnist",
    "svhn",
    "tiny_imagenet",
]

VALIDATION_FOLDERS = ("val", "valid", "validation")
DIGIT_NAMES = tuple("0123456789")
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
        images[train], targets[train], images[test], targets[test], DIGIT_NAMES
    )


def mnist(root: str) -> Arrays:
    """MNIST: 60,000 + 10,000 handwritten digits of 28 x 28 pixels.

    LeCun, Bottou, Bengio and Haffner (1998).

    Args:
        root: the folder that holds MNIST/raw/, where missing files are downloaded;
            or files in another layout, see `normlab.data.mnist_files`.

    Raises:
        ValueError: files are damaged, or the download failed.
    """
    # torchvision calls the classes "0 - zero" and so on.
    return read_mnist("MNIST", root, class_names=DIGIT_NAMES)


def fashion_mnist(root: str) -> Arrays:
    """Fashion-MNIST: 60,000 + 10,000 articles of clothing, 28 x 28 pixels.

    Xiao, Rasul and Vollgraf (2017), arXiv 1708.07747.

    Args:
        root: the folder that holds FashionMNIST/raw/, where missing files are
            downloaded; or files in another layout, see `normlab.data.mnist_files`.

    Raises:
        ValueError: files are damaged, or the download failed.
    """
    return read_mnist("FashionMNIST", root)


def cifar10(root: str) -> Arrays:
    """CIFAR-10: 50,000 + 10,000 colour photographs of 32 x 32 pixels in ten classes.

    Krizhevsky, "Learning multiple layers of features from tiny images" (2009).

    Args:
        root: the folder that holds cifar-10-batches-py/. Missing files are downloaded
            there.

    Raises:
        ValueError: files are damaged, or the download failed.
    """
    return read_torchvision("CIFAR10", root, "cifar-10-batches-py/ with its batches")


def cifar100(root: str) -> Arrays:
    """CIFAR-100: 50,000 + 10,000 colour photographs, 32 x 32 pixels, 100 classes.

    Krizhevsky, "Learning multiple layers of features from tiny images" (2009).

    Args:
        root: the folder that holds cifar-100-python/. Missing files are downloaded
            there.

    Raises:
        ValueError: files are damaged, or the download failed.
    """
    return read_torchvision("CIFAR100", root, "cifar-100-python/ with its files")


def kmnist(root: str) -> Arrays:
    """Kuzushiji-MNIST: 60,000 + 10,000 Japanese characters of 28 x 28 pixels.

    Clanuwat et al., "Deep learning for classical Japanese literature" (2018), arXiv
    1812.01718.

    Args:
        root: the folder that holds KMNIST/raw/, where missing files are downloaded;
            or files in another layout, see `normlab.data.mnist_files`.

    Raises:
        ValueError: files are damaged, or the download failed.
    """
    return read_mnist("KMNIST", root)


def svhn(root: str) -> Arrays:
    """Street View House Numbers: 73,257 + 26,032 colour images of 32 x 32 pixels.

    Netzer et al., "Reading digits in natural images with unsupervised feature learning"
    (2011), cropped digits. The part `extra` is not used.

    Args:
        root: the folder that holds train_32x32.mat and test_32x32.mat. Missing files
            are downloaded there.

    Raises:
        ValueError: files are damaged, or the download failed.
    """
    needed = "train_32x32.mat and test_32x32.mat"
    return read_torchvision("SVHN", root, needed, class_names=DIGIT_NAMES)


def image_folder(
    root: str, image_size: int, cache: str | None = None, use_val: bool = False
) -> Arrays:
    """Photographs in `train/<class>/` and `test/<class>/`, of any size.

    They are resized to squares. Without `test/`, the test part is `val/<class>/`.

    Args:
        root: the folder that holds `train`.
        image_size: height and width in pixels to which images are resized.
        cache: folder for the decoded images. None decodes them in every run.
        use_val: validate on `val/<class>/`, which lies beside `test`. Otherwise
            validation is taken out of the training images, and a note says that `val`
            is not used.

    Raises:
        ValueError: a folder is missing, the parts have different classes or only one,
            or an image is damaged.
    """
    folder = data_path(root, "the folder that holds train/<class>/ and test/<class>/")
    if not isinstance(image_size, int) or image_size < 1:
        raise ValueError(
            "dataset.stored_size must be a whole number of at least 1, "
            f"got {image_size!r}"
        )
    left_out = LeftOut()
    train_folder = folder / "train"
    classes = _classes(train_folder, root, left_out)
    if len(classes) < 2:
        raise ValueError(
            f"{train_folder} holds one class only, {classes[0]}; "
            "there is nothing to tell apart"
        )
    test_folder, validation_folder = _other_parts(folder, classes, use_val)

    def labelled(part_folder: Path) -> list[tuple[Path, int]]:
        if part_folder != train_folder:
            found = _classes(part_folder, root, left_out)
            _check_same_classes(part_folder, found, train_folder, classes)
        return labelled_files([part_folder / name for name in classes], left_out)

    train = labelled(train_folder)
    validation = []
    if validation_folder is not None:
        validation = labelled(validation_folder)
    test = labelled(test_folder)
    left_out.note(root)
    data = decode_parts(train + validation, test, image_size, cache, tuple(classes))
    return replace(data, num_validation=len(validation))


def _other_parts(
    folder: Path, classes: list[str], use_val: bool
) -> tuple[Path, Path | None]:
    """The folder of the test part, and that of validation if it is to be used.

    A test folder without any of the classes holds images without labels, as in the
    archives of competitions. The labelled validation folder takes its place.

    Args:
        folder: the root.
        classes: names of the classes.
        use_val: as in `image_folder`.
    """
    test = folder / "test"
    validation = None
    for name in VALIDATION_FOLDERS:
        if validation is None and has_classes(folder / name, classes):
            validation = folder / name
    if validation is not None and not has_classes(test, classes):
        if test.is_dir():
            note_once(
                f"{test} holds no folder of a class; {validation.name}/ is the test "
                "part"
            )
        test = validation
        validation = None

    if use_val and validation is None:
        raise ValueError(
            "dataset.use_val=true needs val/<class>/ beside train/<class>/ and "
            f"test/<class>/ in dataset.root={folder}"
        )
    if validation is not None and not use_val:
        note_once(
            f"{validation} is not used: validation is taken out of train/; "
            f"dataset.use_val=true validates on {validation.name}/ instead"
        )
        validation = None
    return test, validation


def _check_same_classes(
    folder: Path, classes: list[str], train_folder: Path, train_classes: list[str]
) -> None:
    if classes != train_classes:
        differing = sorted(set(train_classes) ^ set(classes))
        raise ValueError(
            f"{folder} must hold the classes of {train_folder}; "
            f"they differ in {differing[:5]}"
        )


def _classes(folder: Path, root: str, left_out: LeftOut) -> list[str]:
    """Sorted names of the folders inside a folder."""
    if not folder.is_dir():
        raise ValueError(
            f"dataset.root={root} must hold train/<class>/ and test/<class>/ "
            f"(or val/); no {folder}"
        )
    classes = class_names(folder, left_out)
    if not classes:
        raise ValueError(
            f"{folder} must hold a folder of images for every class; it has none"
        )
    return classes
