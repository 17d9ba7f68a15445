"""Image data sets as uint8 tensors ``(N, C, H, W)``, one function each."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from normlab.data.arrays import Arrays
from normlab.data.downloads import data_path, download_archive, open_data
from normlab.data.image_files import LeftOut, class_names, labelled_files
from normlab.data.notes import note_once
from normlab.data.torchvision_files import read_torchvision

TINY_IMAGENET = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
TINY_IMAGENET_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
TINY_IMAGENET_SIZE = 64
TINY_IMAGENET_FOLDER = (
    "the unpacked Tiny-ImageNet folder, with wnids.txt, train/ and val/"
)
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
        root: the folder that holds MNIST/raw/. Missing files are downloaded there.

    Raises:
        ValueError: files are damaged, or the download failed.
    """
    needed = "MNIST/raw/ with the four idx files"
    # torchvision calls the classes "0 - zero" and so on.
    return read_torchvision("MNIST", root, needed, class_names=DIGIT_NAMES)


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
    return read_torchvision("FashionMNIST", root, needed)


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
        root: the folder that holds KMNIST/raw/. Missing files are downloaded there.

    Raises:
        ValueError: files are damaged, or the download failed.
    """
    return read_torchvision("KMNIST", root, "KMNIST/raw/ with the four idx files")


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
    data = _decoded(train + validation, test, image_size, cache, tuple(classes))
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
        if validation is None and _has_classes(folder / name, classes):
            validation = folder / name
    if validation is not None and not _has_classes(test, classes):
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


def _has_classes(folder: Path, classes: list[str]) -> bool:
    return any((folder / name).is_dir() for name in classes)


def _check_same_classes(
    folder: Path, classes: list[str], train_folder: Path, train_classes: list[str]
) -> None:
    if classes != train_classes:
        differing = sorted(set(train_classes) ^ set(classes))
        raise ValueError(
            f"{folder} must hold the classes of {train_folder}; "
            f"they differ in {differing[:5]}"
        )


def tiny_imagenet(
    root: str, image_size: int | None = None, cache: str | None = None
) -> Arrays:
    """Tiny-ImageNet: colour photographs of 64 x 64 pixels in 200 classes.

    Stanford University, course CS231n. The labels of its `test` are not published, so
    the labelled `val` is the test part here, and validation is taken out of `train`.
    Classes are the lines of `wnids.txt`, in that order. Grayscale files become colour
    images. The images of `val` may also have been sorted into `val/<class>/`, and the
    folders `images` inside those of the classes may be missing.

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

    train = labelled_files([_class_folder(folder / "train", name) for name in ids])
    test_folder = folder / "val"
    if _has_classes(test_folder, ids):
        test = labelled_files([_class_folder(test_folder, name) for name in ids])
    else:
        test = _annotated(test_folder, root, label_by_id)
    words = _words(folder / "words.txt", ids)
    return _decoded(train, test, image_size or TINY_IMAGENET_SIZE, cache, words)


def _class_folder(folder: Path, class_id: str) -> Path:
    """Where the images of a class of Tiny-ImageNet lie.

    As published, that is `<class>/images/`. Some programs that sort them leave out the
    inner folder.
    """
    outer = folder / class_id
    inner = outer / "images"
    if inner.is_dir() or not outer.is_dir():
        return inner
    return outer


def _decoded(
    train: list[tuple[Path, int]],
    test: list[tuple[Path, int]],
    image_size: int,
    cache: str | None,
    names: tuple[str, ...],
) -> Arrays:
    """Decode the images of both parts, each given with its label."""
    from normlab.data.decoding import decode

    return Arrays(
        train_inputs=decode([path for path, _ in train], image_size, cache),
        train_targets=torch.tensor([label for _, label in train]),
        test_inputs=decode([path for path, _ in test], image_size, cache),
        test_targets=torch.tensor([label for _, label in test]),
        class_names=names,
    )


def _text(path: Path, root: str) -> str:
    if not path.is_file():
        raise ValueError(
            f"dataset.root={root} must be {TINY_IMAGENET_FOLDER}; there is no {path}"
        )
    with open_data(path) as file:
        return file.read().decode()


def _annotated(
    folder: Path, root: str, label_by_id: dict[str, int]
) -> list[tuple[Path, int]]:
    """Images and labels that `val_annotations.txt` lists.

    Its lines hold the file, the id of the class and a box, separated by tabs.
    """
    path = folder / "val_annotations.txt"
    found = []
    for number, line in enumerate(_text(path, root).splitlines(), start=1):
        if not line.strip():
            continue
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
    """The first word of each class in `words.txt`; the ids if the file is missing.

    Classes that share their first word are told apart by their ids.
    """
    if not path.is_file():
        return tuple(ids)
    with open_data(path) as file:
        lines = file.read().decode().splitlines()
    words = dict(line.split("\t", 1) for line in lines if "\t" in line)
    first_words = [words.get(name, name).split(",")[0] for name in ids]
    counts = Counter(first_words)
    names = []
    for name, word in zip(ids, first_words, strict=True):
        names.append(word if counts[word] == 1 else f"{word} ({name})")
    return tuple(names)


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
