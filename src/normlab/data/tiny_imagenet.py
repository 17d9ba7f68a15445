"""Tiny-ImageNet in the layouts in which people have it."""

from collections import Counter
from pathlib import Path

from normlab.data.arrays import Arrays
from normlab.data.downloads import data_path, download_archive, open_data
from normlab.data.image_files import (
    LeftOut,
    class_names,
    decode_parts,
    has_classes,
    labelled_files,
)
from normlab.data.notes import note_once, shortened

TINY_IMAGENET = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
TINY_IMAGENET_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
ARCHIVE_FOLDER = "tiny-imagenet-200"  # in the archive
TINY_IMAGENET_SIZE = 64
TINY_IMAGENET_FOLDER = (
    "the unpacked Tiny-ImageNet folder, with wnids.txt, train/ and val/"
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
        root: the folder that holds `train` and `val`, or the one around it. If it does
            not exist, the published archive is downloaded and unpacked there.
        image_size: height and width in pixels to which images are resized; None for 64.
        cache: folder for the decoded images. None decodes them in every run.

    Raises:
        ValueError: names the file that is missing or damaged.
    """
    folder = _inner_folder(data_path(root, TINY_IMAGENET_FOLDER))
    is_empty = folder.is_dir() and not any(folder.iterdir())
    if is_empty or not folder.exists():
        download_archive(
            TINY_IMAGENET,
            TINY_IMAGENET_MD5,
            ARCHIVE_FOLDER,
            folder,
            TINY_IMAGENET_FOLDER,
        )

    ids = _class_ids(folder, root)
    train = _sorted_by_class(folder / "train", ids)
    test_folder = folder / "val"
    if has_classes(test_folder, ids):
        test = _sorted_by_class(test_folder, ids)
    else:
        test = _annotated(test_folder, root, ids)
    words = _words(folder / "words.txt", ids)
    return decode_parts(train, test, image_size or TINY_IMAGENET_SIZE, cache, words)


def _inner_folder(folder: Path) -> Path:
    """The folder of the data, which unpacking may have put inside another one."""
    inner = folder / ARCHIVE_FOLDER
    if (inner / "train").is_dir() and not (folder / "train").is_dir():
        return inner
    return folder


def _class_ids(folder: Path, root: str) -> list[str]:
    """The ids of the classes in the order of their labels.

    Without `wnids.txt`, they are the sorted folders of `train`.

    Raises:
        ValueError: there are fewer than two, or one comes twice.
    """
    ids_file = folder / "wnids.txt"
    if not ids_file.exists() and (folder / "train").is_dir():
        ids = class_names(folder / "train", LeftOut())
        note_once(f"{folder} has no wnids.txt; the folders of train are the classes")
        ids_file = folder / "train"
    else:
        ids = _text(ids_file, root).split()
    if len(ids) < 2:
        raise ValueError(f"{ids_file} must name at least two classes, got {ids}")
    repeated = [name for name, count in Counter(ids).items() if count > 1]
    if repeated:
        raise ValueError(
            f"{ids_file} must name every class once, {repeated[0]} comes twice; "
            "remove one"
        )
    return ids


def _sorted_by_class(folder: Path, ids: list[str]) -> list[tuple[Path, int]]:
    """Images and labels of a part with a folder per class."""
    return labelled_files([_class_folder(folder, class_id) for class_id in ids])


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


def _text(path: Path, root: str) -> str:
    if not path.is_file():
        found = []
        if path.parent.is_dir():
            found = sorted(entry.name for entry in path.parent.iterdir())
        raise ValueError(
            f"dataset.root={root} must be {TINY_IMAGENET_FOLDER}; there is no {path}, "
            f"its folder holds {shortened(found) or 'nothing'}"
        )
    with open_data(path) as file:
        return file.read().decode()


def _annotated(folder: Path, root: str, ids: list[str]) -> list[tuple[Path, int]]:
    """Images and labels that `val_annotations.txt` lists.

    Its lines hold the file, the id of the class and a box, separated by tabs.
    """
    path = folder / "val_annotations.txt"
    label_by_id = {class_id: label for label, class_id in enumerate(ids)}
    lines = _text(path, root).splitlines()
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, _, rest = line.partition("\t")
        class_id = rest.partition("\t")[0]
        if class_id not in label_by_id:
            raise ValueError(
                f"{path}, line {number}: the second entry must be one of the "
                f"{len(label_by_id)} classes of wnids.txt, got {class_id!r}"
            )
        image = folder / "images" / name
        found.append((image, label_by_id[class_id]))
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
    words = {}
    for line in lines:
        class_id, _, text = line.partition("\t")
        if text:
            words[class_id] = text.split(",")[0]
    first_words = [words.get(class_id, class_id) for class_id in ids]
    counts = Counter(first_words)
    names = []
    for class_id, name in zip(ids, first_words, strict=True):
        if counts[name] > 1:
            name += f" ({class_id})"
        names.append(name)
    return tuple(names)
