"""Read what is to be predicted: images, arrays and tables, a batch at a time."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from normlab.data.cell_values import numbers_of, one_spelling
from normlab.data.column_encoding import encode_columns
from normlab.data.image_files import IMAGE_ENDINGS, LeftOut, image_files
from normlab.data.missing_values import MISSING
from normlab.data.notes import note_once, shortened
from normlab.messages import first_line
from normlab.predict.bounds import samples_per_batch
from normlab.predict.predictor import Predictor

# Weights of red, green and blue in a gray value, as Pillow has them, in 65536ths.
GRAY = (19595, 38470, 7471)


class Batch(NamedTuple):
    """Some samples of a source.

    Attributes:
        names: what each is called in the output: a file, or the number of a row.
        samples: ``(N, ...)``, as the data set of the run stores them.
        truth: the class or the value that each is known to have; None if unknown.
    """

    names: list[str]
    samples: Tensor
    truth: list[Any] | None


@dataclass(frozen=True)
class Source:
    """What is to be predicted.

    Attributes:
        unit: what one sample is: `file` or `row`.
        has_truth: whether the batches say what the samples are.
        batches: yields all samples.
    """

    unit: str
    has_truth: bool
    batches: Callable[[], Iterator[Batch]]


def open_source(path: Path, predictor: Predictor, unlabelled: bool = False) -> Source:
    """Find out what a path holds, and check that it fits a run.

    Args:
        path: a folder of images, an image, a table or a `.npy` file.
        predictor: the run.
        unlabelled: ignore the classes that the names of folders, or the column of the
            target, say.

    Raises:
        ValueError: there is nothing at the path, or the run takes other samples.
    """
    if not path.exists():
        raise ValueError(f"input must be a file or a folder, there is no {path}")
    inputs = predictor.inputs
    ending = path.suffix.lower()
    is_image = path.is_dir() or ending in IMAGE_ENDINGS
    if inputs.columns is not None:
        if ending == ".npy" and _are_numbered(predictor):
            return _numbered_table(path, predictor)
        if is_image or ending == ".npy":
            raise ValueError(
                f"input must be a table for this run, such as a CSV file with the "
                f"columns {_columns(predictor)}, got {path}"
            )
        return _table(path, predictor, unlabelled)
    if ending == ".npy" and not path.is_dir():
        return _array(path, predictor)
    if inputs.transform is None or not is_image:
        kinds = "a .npy file"
        if inputs.transform is not None:
            kinds = "a folder of images, an image or a .npy file"
        raise ValueError(
            f"input must be {kinds} of samples of shape {inputs.sample_shape} for this "
            f"run, got {path}"
        )
    return _images(path, predictor, unlabelled)


def _columns(predictor: Predictor) -> str:
    columns = predictor.inputs.columns or []
    return shortened([column["name"] for column in columns])


def _array(path: Path, predictor: Predictor) -> Source:
    """The samples of a `.npy` file, which is mapped into memory and runs nothing."""
    sample_shape = predictor.inputs.sample_shape
    array = _loaded(path)
    if array.shape[1:] != sample_shape or array.ndim < 2 or len(array) == 0:
        shape = ", ".join(map(str, sample_shape))
        raise ValueError(
            f"{path} must hold samples of shape (N, {shape}), as the data set of the "
            f"run stores them, got {array.shape}"
        )
    is_bytes = predictor.inputs.is_bytes
    if is_bytes and array.dtype != np.uint8:
        raise ValueError(
            f"{path} must hold pixels from 0 to 255 as uint8, got {array.dtype}"
        )

    def batches() -> Iterator[Batch]:
        count = _batch_size(predictor)
        for start in range(0, len(array), count):
            rows = np.array(array[start : start + count])
            samples = torch.from_numpy(rows if is_bytes else rows.astype(np.float32))
            yield Batch(_numbers(start, len(rows)), samples, None)

    return Source("row", False, batches)


def _loaded(path: Path) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(
            f"{path} must be a .npy file of numbers: {first_line(error)}"
        ) from error
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{path} must hold numbers, got {array.dtype}")
    return array


def _are_numbered(predictor: Predictor) -> bool:
    """Whether columns have numbers for names, as those of vectors have."""
    columns = predictor.inputs.columns or []
    return all(column["name"].isdigit() for column in columns)


def _numbered_table(path: Path, predictor: Predictor) -> Source:
    """Vectors, whose columns are named 0, 1, 2 and so on."""
    columns = predictor.inputs.columns
    assert columns is not None  # the caller has looked
    array = _loaded(path)
    if array.ndim != 2 or len(array) == 0:
        raise ValueError(f"{path} must hold vectors (N, F), got {array.shape}")
    names = [str(number) for number in range(array.shape[1])]
    needed = max(int(column["name"]) for column in columns)
    if needed >= len(names):
        raise ValueError(
            f"{path} must hold at least {needed + 1} columns, as the data set of the "
            f"run does, got {array.shape}"
        )

    def batches() -> Iterator[Batch]:
        count = _batch_size(predictor)
        for start in range(0, len(array), count):
            rows = pd.DataFrame(array[start : start + count], columns=names)
            text = rows.astype(str)
            samples = torch.from_numpy(encode_columns(columns, text, str(path)))
            yield Batch(_numbers(start, len(rows)), samples, None)

    return Source("row", False, batches)


def _images(path: Path, predictor: Predictor, unlabelled: bool) -> Source:
    """Image files, resized to the size in which the data set stores them."""
    channels, height, width = predictor.inputs.sample_shape
    is_square = channels in (1, 3) and height == width
    if not is_square or not predictor.inputs.is_bytes:
        raise ValueError(
            f"input must be a .npy file for this run, whose samples have the shape "
            f"{predictor.inputs.sample_shape} and are no square images of bytes in "
            f"colour or gray; got {path}"
        )
    files, labels = [path], None
    root = path.parent
    if path.is_dir():
        root = path
        left_out = LeftOut()
        files = image_files(path, left_out)
        left_out.note(str(path))
        if not unlabelled:
            labels = _folders(path, files, predictor.classes)
    colour = " and turned gray" if channels == 1 else ""
    note_once(
        f"images are resized to {height} x {width} pixels{colour}, as the data set of "
        f"the run stores them"
    )

    def batches() -> Iterator[Batch]:
        count = _batch_size(predictor)
        for start in range(0, len(files), count):
            group = files[start : start + count]
            truth = None if labels is None else labels[start : start + count]
            names = [str(file.relative_to(root)) for file in group]
            yield Batch(names, _decoded(group, height, channels), truth)

    return Source("file", labels is not None, batches)


def _decoded(files: Sequence[Path], size: int, channels: int) -> Tensor:
    from normlab.data.decoding import decode

    images = decode(list(files), size)
    if channels == 3:
        return images
    weights = torch.tensor(GRAY)[:, None, None]
    gray = (images.int() * weights).sum(1, keepdim=True) + 2**15
    return (gray >> 16).to(torch.uint8)


def _folders(
    root: Path, files: Sequence[Path], classes: Sequence[str]
) -> list[str] | None:
    """The class of each image, if they lie in folders that are named after classes.

    Raises:
        ValueError: a folder is no class of the run, or some images lie in none.
    """
    names = [file.relative_to(root).parts[:-1] for file in files]
    if not any(names):
        return None
    advice = (
        "add --unlabelled to predict them without asking what they are, or name a "
        "folder inside"
    )
    folders = [parts[0] for parts in names if parts]
    unknown = sorted(set(folders) - set(classes))
    if unknown:
        raise ValueError(
            f"{root} has folders that are no classes of the run: {shortened(unknown)}; "
            f"the classes are {shortened(classes)}; {advice}"
        )
    if not all(names):
        raise ValueError(
            f"{root} has images beside its folders of classes, such as "
            f"{files[names.index(())].name}; {advice}"
        )
    return folders


def _table(path: Path, predictor: Predictor, unlabelled: bool) -> Source:
    """The rows of a text file, whose columns are found by their names."""
    from normlab.data.columns import read_text

    options = predictor.config["dataset"]["load"]
    text = read_text(
        str(path),
        options.get("separator", ","),
        options.get("missing", MISSING),
        options.get("encoding"),
    )
    columns = predictor.inputs.columns
    assert columns is not None  # the caller has looked
    encode_columns(columns, text[:1], str(path))  # are all of them there?
    truth = None
    target = _target_column(text, options.get("target"))
    if target is not None and not unlabelled:
        truth = _truth(text[target], path, predictor.classes)
    used = {column["name"] for column in columns} | {target}
    dropped = {str(name) for name in options.get("drop") or []}
    others = [str(name) for name in text if name not in used | dropped]
    if others:
        note_once(f"{path}: the run does not know these columns: {shortened(others)}")

    def batches() -> Iterator[Batch]:
        count = _batch_size(predictor)
        for start in range(0, len(text), count):
            rows = text[start : start + count]
            samples = torch.from_numpy(encode_columns(columns, rows, str(path)))
            known = None if truth is None else truth[start : start + count]
            yield Batch(_numbers(start, len(rows)), samples, known)

    return Source("row", truth is not None, batches)


def _target_column(text: Any, target: Any) -> str | None:
    """The column that the run predicts, if the table has it."""
    for name in text.columns:
        if target is not None and name == str(target):
            return str(name)
    return None


def _truth(text: Any, path: Path, classes: Sequence[str]) -> list[Any]:
    """The target of each row; None where it is missing.

    Raises:
        ValueError: a class is none of the run.
    """
    if not classes:
        return [None if np.isnan(v) else v for v in numbers_of(text, str(path), None)]
    names = one_spelling(text, str(path), "one class")
    unknown = sorted(set(names.dropna()) - set(classes))
    if unknown:
        raise ValueError(
            f"{path}: column {text.name} names classes that the run does not know: "
            f"{shortened(unknown)}; it knows {shortened(classes)}; correct them, or "
            f"add --unlabelled to leave the column out"
        )
    return [name if isinstance(name, str) else None for name in names]


def _batch_size(predictor: Predictor) -> int:
    inputs = predictor.inputs
    return samples_per_batch(
        math.prod(inputs.input_shape) + math.prod(inputs.sample_shape),
        inputs.num_outputs,
    )


def _numbers(start: int, count: int) -> list[str]:
    """Numbers of rows, counted from 1 as in messages about tables."""
    return [str(number) for number in range(start + 1, start + count + 1)]
