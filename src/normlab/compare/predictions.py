"""What runs predict for every sample of the test part, as they stored it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from normlab.checksums import PREDICTIONS, check_file
from normlab.compare.runs import read_stored_result
from normlab.files import MEGABYTE, read_bytes
from normlab.npz import read_npz

LARGEST = 256 * MEGABYTE  # 30 million samples


@dataclass(frozen=True)
class Predictions:
    """What the best state of a run predicts for N test samples.

    Attributes:
        target: classes, whole numbers, or values ``(N,)``.
        predicted: the predicted classes or values ``(N,)``.
        rows: which stored samples these are ``(N,)``, in their order.
    """

    target: NDArray
    predicted: NDArray
    rows: NDArray

    @property
    def are_classes(self) -> bool:
        """Whether classes were predicted, and not values."""
        return self.target.dtype.kind == "i"

    def same_samples(self, other: "Predictions") -> bool:
        """Whether two runs were tested on the same samples."""
        same_rows = np.array_equal(self.rows, other.rows)
        same_target = np.array_equal(self.target, other.target)
        return same_rows and same_target


def read_predictions(folder: Path) -> Predictions | None:
    """The test predictions of a run; None if it stored none.

    Args:
        folder: the run folder, which may come from somebody else.

    Raises:
        ValueError: says what is wrong with the file.
    """
    path = folder / PREDICTIONS
    try:
        content = read_bytes(path, LARGEST)
        check_file(path, read_stored_result(folder / "result.json"), content)
        return _predictions(read_npz(content, LARGEST))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(f"{path} is not readable ({error})") from error
    except ValueError as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"{path} is not readable: {error}") from error


def have_predictions(runs: pd.DataFrame) -> bool:
    """Whether at least two runs stored what they predict for the test part."""
    count = 0
    for folder in runs["folder"]:
        path = Path(str(folder)) / PREDICTIONS
        count += path.is_file()
    return count >= 2


def _predictions(arrays: dict[str, NDArray]) -> Predictions:
    if not {"target", "predicted"} <= arrays.keys():
        raise ValueError(f"it must hold target and predicted, it has {sorted(arrays)}")
    target = arrays["target"]
    every_row = np.arange(len(target))
    rows = arrays.get("rows", every_row)
    found = Predictions(target, arrays["predicted"], rows)
    _check(found)
    return found


def _check(found: Predictions) -> None:
    """Refuse arrays that cannot be one prediction per sample."""
    lengths = set()
    kinds = ""
    for values in (found.target, found.predicted, found.rows):
        lengths.add(len(values))
        kinds += values.dtype.kind
    if len(lengths) > 1 or 0 in lengths:
        raise ValueError(f"its arrays must have one value per sample, got {lengths}")
    if kinds not in ("iii", "ffi"):
        raise ValueError(f"it must hold classes or values, got numbers of kind {kinds}")
    for values in (found.target, found.predicted):
        if not np.isfinite(values).all():
            raise ValueError("all values must be finite")
