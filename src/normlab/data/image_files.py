"""Find the image files of a data set, and tell which files are left out."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch

from normlab.data.arrays import Arrays
from normlab.data.notes import note_once

# Endings of pixel images. Pillow reads some only with a library or package that may be
# missing, and further formats that hold no photographs, such as drawings.
IMAGE_ENDINGS = (
    *(".apng", ".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".hif", ".j2c"),
    *(".j2k", ".jfif", ".jp2", ".jpc", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx"),
    *(".mpo", ".pbm"),
    *(".pcx", ".pfm", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".sgi", ".tga", ".tif"),
    *(".tiff", ".webp", ".xbm"),
)
HEIF_ENDINGS = (".heic", ".heif", ".hif")
MOST_SHOWN = 5  # endings, in a note


@dataclass
class LeftOut:
    """Counts the files of a data set that are not used.

    Attributes:
        unreadable: by ending, images in formats that Pillow cannot read here.
        others: by ending, files that are not taken for images.
        hidden: images whose names begin with a dot.
        without_class: images that lie beside the folders of the classes.
    """

    unreadable: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    hidden: int = 0
    without_class: int = 0

    def count(self, name: str) -> None:
        """Count a file in the folder of a class that is not used."""
        ending = _ending(name)
        is_image = ending in IMAGE_ENDINGS
        if name.startswith("."):
            self.hidden += is_image
        elif is_image:
            self.unreadable[ending] += 1
        else:
            self.others[ending or "no ending"] += 1

    def note(self, place: str) -> None:
        """Print what was left out, if anything, once per process.

        Args:
            place: where the files lie.
        """
        if self.unreadable:
            advice = "convert them"
            if set(self.unreadable) & set(HEIF_ENDINGS):
                advice += " or install pillow-heif"
            note_once(
                f"{place}: left out images that Pillow cannot read here: "
                f"{_counted(self.unreadable)}; {advice}"
            )
        if self.others:
            note_once(
                f"{place}: left out files of other formats: {_counted(self.others)}"
            )
        if self.hidden:
            note_once(f"{place}: left out hidden images: {self.hidden}")
        if self.without_class:
            note_once(
                f"{place}: left out images that lie in no folder of a class: "
                f"{self.without_class}"
            )


def _counted(endings: Counter[str]) -> str:
    shown = []
    rest = endings.total()
    for ending, count in endings.most_common(MOST_SHOWN):
        shown.append(f"{count} {ending}")
        rest -= count
    if rest:
        shown.append(f"{rest} others")
    return ", ".join(shown)


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def labelled_files(
    folders: Sequence[Path], left_out: LeftOut | None = None
) -> list[tuple[Path, int]]:
    """Image files and labels, given one folder per class.

    Args:
        folders: the folder of class ``i`` at index ``i``.
        left_out: counts the files that are not used; None for no counts.

    Raises:
        ValueError: a folder holds no images.
    """
    left_out = LeftOut() if left_out is None else left_out
    found = []
    for label, folder in enumerate(folders):
        found += [(path, label) for path in image_files(folder, left_out)]
    return found


def image_files(folder: Path, left_out: LeftOut) -> list[Path]:
    """Sorted image files in a folder and all folders inside it.

    Args:
        folder: where to search. Links are followed, and hidden folders left out.
        left_out: counts the files that are not used.

    Raises:
        ValueError: there are none.
    """
    endings = readable_endings()
    files = []
    for path, name in _walk(folder):
        if _ending(name) in endings and not name.startswith("."):
            files.append(Path(path, name))
        else:
            left_out.count(name)
    if not files:
        raise ValueError(
            f"{folder} must hold images (.jpg, .png or another format); it has none"
        )
    return sorted(files)


def _walk(folder: Path) -> Iterable[tuple[str, str]]:
    """The folder and name of every file, except in hidden folders."""
    seen = set()
    for path, subfolders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(path)
        if real in seen:  # links that lead in a circle
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in names:
            yield path, name


def class_names(folder: Path, left_out: LeftOut) -> list[str]:
    """Sorted names of the folders inside a folder; hidden ones are no classes.

    Args:
        folder: where to look.
        left_out: counts images that lie beside the folders.
    """
    names = []
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            names.append(path.name)
        elif _ending(path.name) in IMAGE_ENDINGS:
            left_out.without_class += 1
    return sorted(names)


@cache
def readable_endings() -> frozenset[str]:
    """The `IMAGE_ENDINGS` that Pillow can read with the installed packages."""
    from PIL import Image

    if find_spec("pillow_heif"):
        import_module("pillow_heif").register_heif_opener()
    # Formats are tried in the order in which they were loaded: common ones first.
    Image.preinit()
    Image.init()
    formats = Image.registered_extensions()
    readers = {*Image.OPEN, "MPO"}  # the reader of JPEG opens this one
    return frozenset(
        ending for ending in IMAGE_ENDINGS if formats.get(ending) in readers
    )


def has_classes(folder: Path, classes: Sequence[str]) -> bool:
    """Whether a folder holds a folder of at least one class."""
    return any((folder / name).is_dir() for name in classes)


def decode_parts(
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
        is_mapped=cache is not None,
    )
