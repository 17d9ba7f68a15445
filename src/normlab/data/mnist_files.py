"""MNIST and data sets of its form, in the layouts in which people have them.

- torchvision's: `MNIST/raw/` with four idx files;
- idx files of other names, gzipped or not, in the root or in a folder of the data set,
  such as `train-images.idx3-ubyte` or `train-images-idx3-ubyte.gz`;
- an `.npz` file with x_train, y_train, x_test and y_test, as Keras has it;
- two CSV files, such as `mnist_train.csv` and `mnist_test.csv`, whose rows have the
  label and 784 pixels, below a line of names or without one.
"""

import gzip
import hashlib
import math
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from normlab.data.array_files import ArrayFile
from normlab.data.arrays import Arrays
from normlab.data.downloads import data_path, open_data
from normlab.data.notes import note_once, shortened
from normlab.data.torchvision_files import read_torchvision
from normlab.messages import first_line

SIDE = 28
LARGEST_FILE = 2**30  # bytes, unpacked
# By torchvision's name: other names of the folder of a data set, in lower case.
FOLDERS = {
    "MNIST": ("mnist",),
    "FashionMNIST": ("fashionmnist", "fashion-mnist", "fashion_mnist", "fashion"),
    "KMNIST": ("kmnist", "kuzushiji-mnist", "kuzushiji_mnist"),
}
IDX = re.compile(
    r"(train|t10k|test)[-_.]?(images|labels)[-_.]?(?:idx[13])?[-_.]?(?:ubyte)?(?:\.gz)?"
)
TORCHVISION_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
PARTS = ("train_images", "train_labels", "test_images", "test_labels")
KERAS = ("x_train", "y_train", "x_test", "y_test")
# SHA-256 of the labels of the training parts: the layouts are alike, the images not.
LABELS = {
    "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13": "MNIST",
    "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7": "FashionMNIST",
}

Found = dict[str, Path]


def read_mnist(
    name: str, root: str, class_names: tuple[str, ...] | None = None
) -> Arrays:
    """Read MNIST or a data set of its form; torchvision's files are downloaded.

    Args:
        name: torchvision's name of the data set.
        root: the folder that holds the data, or an `.npz` file.
        class_names: names of the classes; None for those of torchvision.

    Raises:
        ValueError: files are damaged or of another data set, or the download failed.
    """
    needed = f"{name}/raw/ with the four idx files"
    folder = data_path(root, f"the folder that holds {needed}")
    if folder.is_file() or not _has_torchvisions(folder, name):
        for layout in LAYOUTS:
            found = layout(name, folder)
            if len(found) == len(PARTS):
                return _read_layout(name, root, found, class_names)
    try:
        return read_torchvision(name, root, needed, class_names)
    except ValueError as error:
        names = sorted({path.name for path in _candidates(name, folder)})
        if not names or "downloading it failed" not in str(error):
            raise
        raise ValueError(
            f"{error}; found {shortened(names)}, which is not the whole of a known form"
        ) from error


def _has_torchvisions(folder: Path, name: str) -> bool:
    for path in _entries(folder / name / "raw"):
        if path.name in TORCHVISION_FILES and not path.is_dir():
            return True
    return False


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder, sorted; nothing if there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(folder.iterdir())


def _folders(name: str, root: Path) -> Iterator[Path]:
    """The root, and the folders in it that may hold the data set."""
    yield root
    yield root / "raw"
    for path in _entries(root):
        if path.is_dir() and path.name.lower() in FOLDERS[name]:
            yield path
            yield path / "raw"


def _candidates(name: str, root: Path) -> Iterator[Path]:
    """Files that may be part of the data set.

    Programs that unpack archives put some files into folders of their own names.
    """
    if root.is_file():
        yield root
    for folder in _folders(name, root):
        for path in _entries(folder):
            is_idx = IDX.fullmatch(path.name.lower()) is not None
            is_other = path.suffix in (".csv", ".npz") and path.is_file()
            if is_idx and path.is_dir():
                yield from filter(Path.is_file, _entries(path))
            elif is_idx or is_other:
                yield path


def _idx_files(name: str, root: Path) -> Found:
    found: Found = {}
    for path in _candidates(name, root):
        match = IDX.fullmatch(path.name.lower())
        if match is None:
            continue
        part, kind = match.groups()
        if part != "train":
            part = "test"  # also called t10k
        found.setdefault(f"{part}_{kind}", path)
    return found


def _keras_file(name: str, root: Path) -> Found:
    for path in _candidates(name, root):
        is_named = path.stem.lower() in FOLDERS[name]
        if path.suffix != ".npz" or not (is_named or path == root):
            continue
        names = ArrayFile(str(path)).names
        if set(KERAS) <= set(names):
            return dict.fromkeys(PARTS, path)
    return {}


def _csv_files(name: str, root: Path) -> Found:
    found: Found = {}
    for path in _candidates(name, root):
        match = re.fullmatch(r"(.*)[-_](train|test)", path.stem.lower())
        if path.suffix != ".csv" or match is None:
            continue
        stem, part = match.groups()
        if stem in FOLDERS[name]:
            for kind in ("images", "labels"):
                found.setdefault(f"{part}_{kind}", path)
    return found


LAYOUTS: tuple[Callable[[str, Path], Found], ...] = (
    _idx_files,
    _keras_file,
    _csv_files,
)


def _read_layout(
    name: str, root: str, found: Found, class_names: tuple[str, ...] | None
) -> Arrays:
    """Read the files of a layout.

    Raises:
        ValueError: a file is damaged, or holds something else.
    """
    from torchvision import datasets

    names = class_names or tuple(getattr(datasets, name).classes)
    files = list(dict.fromkeys(found.values()))
    note_once(f"{name} is read from {shortened(list(map(str, files)))}")
    try:
        contents = _contents(found)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(
            f"{name} in dataset.root={root} is damaged ({first_line(error)}); "
            f"replace {shortened([path.name for path in files])}"
        ) from error
    for part in ("train", "test"):
        images_path = found[f"{part}_images"]
        place = f"{name} in dataset.root={root}, {images_path}"
        images = contents[f"{part}_images"]
        labels = contents[f"{part}_labels"]
        _check(images, labels, len(names), place)
    labels = contents["train_labels"].astype(np.uint8)
    digest = hashlib.sha256(labels.tobytes()).hexdigest()
    other = LABELS.get(digest, name)
    if other != name:
        raise ValueError(
            f"dataset.root={root} must hold {name}, the labels are those of {other}; "
            "name the other data set or another folder"
        )
    return Arrays(
        train_inputs=_tensor(contents["train_images"])[:, None],
        train_targets=_tensor(contents["train_labels"]).long(),
        test_inputs=_tensor(contents["test_images"])[:, None],
        test_targets=_tensor(contents["test_labels"]).long(),
        class_names=names,
    )


def _contents(found: Found) -> dict[str, np.ndarray]:
    """The images and labels of each part."""
    tables = {}
    for path in found.values():
        if path.suffix == ".csv" and path not in tables:
            tables[path] = _csv_rows(path)
    contents = {}
    for part, path in found.items():
        contents[part] = _content(path, part, tables)
    return contents


def _tensor(array: np.ndarray) -> Tensor:
    # A copy: arrays over the bytes of a file are read-only.
    return torch.from_numpy(np.array(array, dtype=np.uint8))


def _check(
    images: np.ndarray, labels: np.ndarray, num_classes: int, place: str
) -> None:
    """Refuse what is no set of images with a label each."""
    expected = (labels.size, SIDE, SIDE)
    if images.shape != expected or labels.ndim != 1 or not labels.size:
        raise ValueError(
            f"{place}: there must be images of {SIDE} x {SIDE} pixels with a label "
            f"each, they have the shapes {images.shape} and {labels.shape}"
        )
    kinds = ((images, 255, "pixels"), (labels, num_classes - 1, "labels"))
    for array, largest, what in kinds:
        if array.dtype.kind not in "iu":
            raise ValueError(
                f"{place}: {what} must be whole numbers, they are {array.dtype}"
            )
        low = array.min()
        high = array.max()
        if low < 0 or high > largest:
            raise ValueError(
                f"{place}: {what} must be whole numbers in 0..{largest} "
                f"({num_classes} classes), they are {array.dtype} from {low} to {high}"
            )


def _content(path: Path, part: str, tables: Mapping[Path, np.ndarray]) -> np.ndarray:
    """The images or labels of a part; `tables` has the rows of the CSV files."""
    if path.suffix == ".npz":
        name = KERAS[PARTS.index(part)]
        return ArrayFile(str(path)).array(name)
    if path.suffix == ".csv":
        rows = tables[path]
        if part.endswith("labels"):
            return rows[:, 0]
        return rows[:, 1:].reshape(len(rows), SIDE, SIDE)
    return _idx_content(path)


def _idx_content(path: Path) -> np.ndarray:
    """An idx file: two zeros, type, number of axes, sizes, and bytes."""
    with open_data(path) as file:
        if path.suffix == ".gz":
            with gzip.open(file) as unpacked:
                content = unpacked.read(LARGEST_FILE + 1)
        else:
            content = file.read(LARGEST_FILE + 1)
    shape = _idx_shape(content)
    head = 4 + 4 * len(shape)
    if not shape or len(content) != head + math.prod(shape):
        raise ValueError(
            f"{path} must be an idx file of bytes, its head and size do not fit; "
            "replace it"
        )
    values = np.frombuffer(content, np.uint8, offset=head)
    return values.reshape(shape)


def _idx_shape(content: bytes) -> tuple[int, ...]:
    """The shape in the head of an idx file; empty if the head is damaged."""
    if len(content) < 4 or not content.startswith(b"\0\0\x08"):
        return ()
    axes = content[3]
    sizes = content[4 : 4 + 4 * axes]
    if len(sizes) < 4 * axes:
        return ()
    return tuple(np.frombuffer(sizes, ">u4").tolist())


def _csv_rows(path: Path) -> np.ndarray:
    """Label and pixels of each row."""
    import pandas as pd

    columns = 1 + SIDE * SIDE
    with open_data(path) as file:
        first = file.readline(LARGEST_FILE).decode(errors="replace")
        header = None
        if re.search("[a-zA-Z]", first):  # a line of names
            header = 0
        file.seek(0)
        try:
            table = pd.read_csv(file, header=header)
        except ValueError as error:
            raise ValueError(f"{path} is no table: {first_line(error)}") from error
    are_whole = all(kind.kind in "iu" for kind in table.dtypes)
    if table.shape[1] != columns or not are_whole:
        raise ValueError(
            f"{path} must have a label and {columns - 1} pixels in every row, all of "
            f"them whole numbers; it has {table.shape[1]} columns"
        )
    return table.to_numpy()
