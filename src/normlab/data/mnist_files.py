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
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from normlab.data.array_files import ArrayFile
from normlab.data.arrays import Arrays
from normlab.data.downloads import data_path, first_line, open_data
from normlab.data.notes import note_once, shortened
from normlab.data.torchvision_files import read_torchvision

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
    files = _entries(folder / name / "raw")
    return any(path.name in TORCHVISION_FILES and not path.is_dir() for path in files)


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder, sorted; nothing if there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(folder.iterdir())


def _folders(name: str, root: Path) -> Iterator[Path]:
    """The root, and the folders in it that may hold the data set."""
    named = [
        path
        for path in _entries(root)
        if path.is_dir() and path.name.lower() in FOLDERS[name]
    ]
    for folder in (root, *named):
        yield folder
        yield folder / "raw"


def _candidates(name: str, root: Path) -> Iterator[Path]:
    """Files that may be part of the data set.

    Programs that unpack archives put some files into folders of their own names.
    """
    if root.is_file():
        yield root
    for folder in _folders(name, root):
        for path in _entries(folder):
            if path.is_file() and path.suffix in (".csv", ".npz"):
                yield path
            elif IDX.fullmatch(path.name.lower()):
                inner = [entry for entry in _entries(path) if entry.is_file()]
                yield from inner if path.is_dir() else [path]


def _idx_files(name: str, root: Path) -> Found:
    found: Found = {}
    for path in _candidates(name, root):
        match = IDX.fullmatch(path.name.lower())
        if match is None:
            continue
        part = "train" if match[1] == "train" else "test"
        found.setdefault(f"{part}_{match[2]}", path)
    return found


def _keras_file(name: str, root: Path) -> Found:
    for path in _candidates(name, root):
        if path.suffix != ".npz" or not (_is_named(name, path) or path == root):
            continue
        if set(KERAS) <= set(ArrayFile(str(path)).names):
            return dict.fromkeys(PARTS, path)
    return {}


def _csv_files(name: str, root: Path) -> Found:
    found: Found = {}
    for path in _candidates(name, root):
        match = re.fullmatch(r"(.*)[-_](train|test)", path.stem.lower())
        if path.suffix == ".csv" and match and match[1] in FOLDERS[name]:
            for kind in ("images", "labels"):
                found.setdefault(f"{match[2]}_{kind}", path)
    return found


def _is_named(name: str, path: Path) -> bool:
    return path.stem.lower() in FOLDERS[name]


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
    note_once(f"{name} is read from {shortened([str(path) for path in files])}")
    try:
        tables = {path: _csv_rows(path) for path in files if path.suffix == ".csv"}
        contents = {part: _content(path, part, tables) for part, path in found.items()}
    except (OSError, EOFError) as error:
        raise ValueError(
            f"{name} in dataset.root={root} is damaged ({first_line(error)}); "
            f"replace {shortened([path.name for path in files])}"
        ) from error
    tensors = []
    for part in ("train", "test"):
        images, labels = contents[f"{part}_images"], contents[f"{part}_labels"]
        place = f"{name} in dataset.root={root}, {found[f'{part}_images']}"
        _check(images, labels, len(names), place)
        tensors += [_tensor(images)[:, None], _tensor(labels).long()]
    digest = hashlib.sha256(contents["train_labels"].astype(np.uint8).tobytes())
    other = LABELS.get(digest.hexdigest(), name)
    if other != name:
        raise ValueError(
            f"dataset.root={root} must hold {name}, the labels are those of {other}; "
            "name the other data set or another folder"
        )
    return Arrays(tensors[0], tensors[1], tensors[2], tensors[3], names)


def _tensor(array: np.ndarray) -> Tensor:
    # A copy: arrays over the bytes of a file are read-only.
    return torch.from_numpy(np.array(array, dtype=np.uint8))


def _check(
    images: np.ndarray, labels: np.ndarray, num_classes: int, place: str
) -> None:
    """Refuse what is no set of images with a label each."""
    if images.shape != (len(labels), SIDE, SIDE) or labels.ndim != 1:
        raise ValueError(
            f"{place}: there must be images of {SIDE} x {SIDE} pixels with a label "
            f"each, they have {images.shape} and {labels.shape}"
        )
    kinds = ((images, 255, "pixels"), (labels, num_classes - 1, "labels"))
    for array, largest, what in kinds:
        wrong = array.size and (array.min() < 0 or array.max() > largest)
        if wrong or array.dtype.kind not in "iu":
            raise ValueError(
                f"{place}: {what} must be whole numbers in 0..{largest} "
                f"({num_classes} classes), they are {array.dtype} from {array.min()} "
                f"to {array.max()}"
            )


def _content(path: Path, part: str, tables: Mapping[Path, np.ndarray]) -> np.ndarray:
    """The images or labels of a part; `tables` has the rows of the CSV files."""
    if path.suffix == ".npz":
        return ArrayFile(str(path)).array(KERAS[PARTS.index(part)])
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
    axes = content[3] if content[:3] == b"\0\0\x08" else 0
    head = 4 + 4 * axes
    shape = tuple(np.frombuffer(content[4:head], ">u4").tolist())
    size = int(np.prod(shape, dtype=np.int64)) if len(shape) == axes else -1
    if not axes or len(content) != head + size:
        raise ValueError(
            f"{path} must be an idx file of bytes, its head and size do not fit; "
            "replace it"
        )
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)


def _csv_rows(path: Path) -> np.ndarray:
    """Label and pixels of each row."""
    import pandas as pd

    columns = 1 + SIDE * SIDE
    with open_data(path) as file:
        first = file.readline(LARGEST_FILE).decode(errors="replace")
        has_names = re.search("[a-zA-Z]", first) is not None
        file.seek(0)
        try:
            table = pd.read_csv(file, header=0 if has_names else None)
        except ValueError as error:
            raise ValueError(f"{path} is no table: {first_line(error)}") from error
    if table.shape[1] != columns or not all(kind.kind in "iu" for kind in table.dtypes):
        raise ValueError(
            f"{path} must have a label and {columns - 1} pixels in every row, all of "
            f"them whole numbers; it has {table.shape[1]} columns"
        )
    return table.to_numpy()
