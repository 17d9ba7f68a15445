"""How samples become the inputs of a run's network, as plain data in `inputs.json`.

With it new samples are predicted without the data set of the run. The file may come
from somebody else: it is read within bounds, and nothing in it is called.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from normlab.data.encoding import MOST_QUANTILES
from normlab.data.parts import Parts
from normlab.data.stored_columns import Column, describe_columns, width
from normlab.data.transforms import ImageTransform
from normlab.files import read_json

INPUTS = "inputs.json"  # in the folder of a run
SCHEMA = 1
LARGEST_SIDE = 4096  # pixels
LARGEST_SAMPLE = 2**26  # values in one sample
MOST_OUTPUTS = 10**6


@dataclass(frozen=True)
class StoredInputs:
    """What must be known of a run's data to predict other samples.

    Attributes:
        input_shape: shape of one sample as the network gets it.
        num_outputs: number of classes, or of values.
        sample_shape: shape of one sample as the data set stores it.
        transform: of images; None for samples that the network gets as they are.
        is_bytes: whether the data set stores images as bytes, 0 to 255.
        columns: of a table, see `normlab.data.stored_columns`; None for other data.
        target: mean, standard deviation and offset of the targets of a regression;
            None for classes.
    """

    input_shape: tuple[int, ...]
    num_outputs: int
    sample_shape: tuple[int, ...]
    transform: ImageTransform | None = None
    is_bytes: bool = False
    columns: list[Column] | None = None
    target: dict[str, float] | None = None

    def prepared(self, samples: Tensor) -> Tensor:
        """Turn samples as stored ``(N, ...)`` into inputs of the network.

        Raises:
            ValueError: the samples have another shape.
        """
        found = tuple(samples.shape)
        if found[1:] != self.sample_shape or len(found) < 2:
            shape = ", ".join(map(str, self.sample_shape))
            raise ValueError(
                f"inputs must be samples as stored, of shape (N, {shape}), got {found}"
            )
        if self.transform is None:
            return samples
        return self.transform.evaluate(samples)


def describe_inputs(parts: Parts) -> dict[str, Any]:
    """The content of `inputs.json` for the data of a run, without its target.

    Args:
        parts: the data, before the outputs of frozen layers took the place of images.
    """
    transform = parts.validation.transform
    sample_shape = list(parts.train.inputs.shape[1:])
    images = None
    if isinstance(transform, ImageTransform):
        images = {
            "mean": list(transform.mean),
            "std": list(transform.std),
            "size": transform.size,
            "bytes": parts.train.inputs.dtype == torch.uint8,
        }
    columns = None
    if parts.encoder is not None:
        columns = describe_columns(parts.encoder)
    return {
        "schema": SCHEMA,
        "input_shape": list(parts.input_shape),
        "num_outputs": parts.num_outputs,
        "sample_shape": sample_shape,
        "images": images,
        "columns": columns,
        "target": None,
    }


def read_inputs(path: Path) -> StoredInputs:
    """Read `inputs.json`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or a value is not what it must be.
    """
    content = read_json(path)
    try:
        return inputs_from(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def inputs_from(content: Any) -> StoredInputs:
    """The content of `inputs.json`, checked.

    Raises:
        ValueError: a value is not what it must be.
    """
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise ValueError(f"schema must be {SCHEMA}, the file is of another version")
    num_outputs = _count(content.get("num_outputs"), "num_outputs", MOST_OUTPUTS)
    inputs = StoredInputs(
        input_shape=_shape(content, "input_shape"),
        num_outputs=num_outputs,
        sample_shape=_shape(content, "sample_shape"),
        transform=_optional(content, "images", _transform),
        is_bytes=_optional(content, "images", _is_bytes) or False,
        columns=_optional(content, "columns", _columns),
        target=_optional(content, "target", _target),
    )
    _check_consistency(inputs)
    return inputs


def _check_consistency(inputs: StoredInputs) -> None:
    expected = inputs.sample_shape
    transform = inputs.transform
    if inputs.columns is not None:
        expected = (width(inputs.columns),)
    elif transform is not None:
        channels = len(transform.mean)
        if len(expected) != 3 or expected[0] != channels:
            raise ValueError(
                f"sample_shape must be that of an image with {channels} channels, got "
                f"{list(expected)}"
            )
        expected = (channels, transform.size, transform.size)
    if inputs.input_shape != expected:
        raise ValueError(
            f"input_shape must be {list(expected)}, got {list(inputs.input_shape)}"
        )


def _optional(content: dict, key: str, convert: Callable[[Any], Any]) -> Any:
    value = content.get(key)
    if value is None:
        return None
    return convert(value)


def _shape(content: dict, key: str) -> tuple[int, ...]:
    sizes: Any = content.get(key)
    if not _is_list_of(sizes, _is_size) or len(sizes) > 4:
        raise ValueError(f"{key} must be a list of sizes, got {_short(sizes)}")
    if math.prod(sizes) > LARGEST_SAMPLE:
        raise ValueError(
            f"{key} must be that of at most {LARGEST_SAMPLE} values, got {sizes}"
        )
    return tuple(sizes)


def _count(value: Any, key: str, most: int) -> int:
    if not _is_count(value, most):
        raise ValueError(
            f"{key} must be a whole number from 1 to {most}, got {_short(value)}"
        )
    return int(value)


def _transform(images: Any) -> ImageTransform:
    if not isinstance(images, dict):
        raise ValueError(f"images must be a mapping, got {_short(images)}")
    size = _count(images.get("size"), "images.size", LARGEST_SIDE)
    mean = _numbers(images, "images.mean")
    std = _numbers(images, "images.std")
    if len(mean) != len(std):
        raise ValueError("images.mean and images.std must have one number per channel")
    return ImageTransform(mean, std, size)


def _is_bytes(images: dict) -> bool:
    is_bytes = images.get("bytes")
    if not isinstance(is_bytes, bool):
        raise ValueError(f"images.bytes must be true or false, got {_short(is_bytes)}")
    return is_bytes


def _numbers(values: dict, name: str) -> tuple[float, ...]:
    numbers: Any = values.get(name.rpartition(".")[2])
    if not _is_list_of(numbers, _finite):
        raise ValueError(f"{name} must be a list of numbers, got {_short(numbers)}")
    return tuple(map(float, numbers))


# The numbers that every kind of column has.
NUMBERS = {
    "number": ("fill", "subtract", "divide"),
    "quantile": ("fill",),
    "constant": ("value",),
    "category": (),
}


def _columns(columns: Any) -> list[Column]:
    if not isinstance(columns, list) or not columns:
        raise ValueError(f"columns must be a list, got {_short(columns)}")
    names = set()
    for index, column in enumerate(columns):
        _check_column(column, f"columns[{index}]")
        names.add(column["name"])
    if len(names) < len(columns):
        raise ValueError("columns must name every column once")
    return columns


def _check_column(column: Any, place: str) -> None:
    if not isinstance(column, dict) or not isinstance(column.get("name"), str):
        raise ValueError(f"{place} must be a mapping with a name, got {_short(column)}")
    kind = column.get("kind")
    if not isinstance(kind, str) or kind not in NUMBERS:
        raise ValueError(
            f"{place}.kind must be one of {', '.join(NUMBERS)}, got {_short(kind)}"
        )
    for key in NUMBERS[kind]:
        _number(column, key, place)
    if column.get("divide") == 0:
        raise ValueError(f"{place}.divide must not be 0")
    if kind == "quantile":
        _check_quantiles(column.get("quantiles"), place)
    if kind == "category":
        _check_categories(column.get("categories"), place)
    elif "categories" in column:
        raise ValueError(f"{place} must have no categories, it is a {kind}")


def _check_quantiles(quantiles: Any, place: str) -> None:
    is_known = (
        _is_list_of(quantiles, _finite)
        and len(quantiles) <= MOST_QUANTILES
        and quantiles == sorted(quantiles)
    )
    if not is_known:
        raise ValueError(
            f"{place}.quantiles must be a list of numbers in ascending order, got "
            f"{_short(quantiles)}"
        )


def _check_categories(categories: Any, place: str) -> None:
    if not _is_list_of(categories, _is_text):
        raise ValueError(
            f"{place}.categories must be a list of names, got {_short(categories)}"
        )


def _target(target: Any) -> dict[str, float]:
    if not isinstance(target, dict):
        raise ValueError(f"target must be a mapping, got {_short(target)}")
    return {key: _number(target, key, "target") for key in ("mean", "std", "offset")}


def _number(values: dict, key: str, place: str) -> float:
    value: Any = values.get(key)
    if not _finite(value):
        raise ValueError(f"{place}.{key} must be a number, got {_short(value)}")
    return float(value)


def _is_list_of(values: Any, is_valid: Callable[[Any], bool]) -> bool:
    """Whether a value is a list that is not empty, all of whose items are valid."""
    if not isinstance(values, list) or not values:
        return False
    return all(map(is_valid, values))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_size(value: Any) -> bool:
    return _is_count(value, LARGEST_SAMPLE)


def _is_count(value: Any, largest: int) -> bool:
    return type(value) is int and 1 <= value <= largest


def _finite(value: Any) -> bool:
    if type(value) not in (int, float):
        return False
    return abs(value) <= torch.finfo(torch.float64).max


def _short(value: Any) -> str:
    """A value of a message, which must not fill the screen."""
    text = repr(value)
    if len(text) <= 40:
        return text
    return f"{text[:37]}..."


def class_names(classes: Sequence[str] | None, num_outputs: int) -> tuple[str, ...]:
    """The name of every output; the number of the class if the data have no names.

    Args:
        classes: the names that the run stored, or None.
        num_outputs: number of outputs.
    """
    names = list(classes or [])
    names += [str(number) for number in range(len(names), num_outputs)]
    return tuple(names)
