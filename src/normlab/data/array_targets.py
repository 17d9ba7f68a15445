"""The targets of a file of arrays: classes, or numbers."""

from collections.abc import Sequence

import numpy as np

from normlab.data.notes import note_once, shortened


def class_indices(
    targets: list[np.ndarray],
    class_names: Sequence[str] | None,
    num_classes: int | None,
    root: str,
) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """Class indices int64 ``(N,)`` of each part, and the names of the classes.

    Args:
        targets: those of each part, whole numbers or texts ``(N,)``, or rows ``(N, K)``
            with a single 1.
        class_names: names of the classes 0, 1, 2 and so on; None for the values.
        num_classes: the declared number of classes, or None.
        root: what the data set is called in messages.

    Raises:
        ValueError: the targets are no classes, or too large for the names.
    """
    columns = [_class_column(array, root) for array in targets]
    values_of_parts = list(map(np.unique, columns))
    values = np.unique(np.concatenate(values_of_parts))
    count = num_classes or len(values)
    if class_names:
        count = len(class_names)
    is_whole = values.dtype.kind in "iu"
    if is_whole and values[0] >= 0 and values[-1] < count:
        names = class_names or range(count)
        indices = [column.astype(np.int64) for column in columns]
        return indices, tuple(map(str, names))
    found = tuple(values.astype(str).tolist())
    if class_names:
        raise ValueError(
            f"{root}: dataset.class_names has {len(class_names)} names, so the targets "
            f"must be 0..{len(class_names) - 1}, they are {shortened(found)}"
        )
    note_once(f"{root}: the classes are {shortened(found)}, in this order")
    return [np.searchsorted(values, column) for column in columns], found


def number_targets(targets: np.ndarray, root: str) -> np.ndarray:
    """Targets of a regression, float64 ``(N,)``.

    Args:
        targets: finite numbers ``(N,)`` or ``(N, 1)``.
        root: what the data set is called in messages.

    Raises:
        ValueError: they are no numbers, or several per sample.
    """
    targets = _without_single_axis(targets)
    if targets.ndim != 1 or targets.dtype.kind not in "iuf":
        raise ValueError(
            f"{root}: the targets of a regression must be one number per sample, they "
            f"are {targets.dtype} of the shape {targets.shape}"
        )
    if not np.isfinite(targets).all():
        raise ValueError(f"{root}: the targets of a regression must be finite numbers")
    return targets.astype(np.float64)


def _class_column(targets: np.ndarray, root: str) -> np.ndarray:
    """Targets ``(N,)``: whole numbers or texts.

    Raises:
        ValueError: they are real numbers, or have too many axes.
    """
    targets = _without_single_axis(targets)
    if targets.ndim == 2 and _is_one_hot(targets):
        return targets.argmax(1)
    if targets.ndim != 1:
        raise ValueError(
            f"{root}: the targets of a classification must have the shape (N,), or "
            f"(N, K) with a single 1 in every row, they have {targets.shape}"
        )
    if targets.dtype.kind == "b":
        return targets.astype(np.int64)
    if targets.dtype.kind == "f":
        # Larger numbers, infinities and NaN do not fit into 64 bits.
        is_whole = (targets == np.round(targets)) & (np.abs(targets) < 2.0**63)
        if not is_whole.all():
            raise ValueError(
                f"{root}: the targets of a classification must be whole numbers or "
                f"texts, there are others such as {targets[~is_whole][0]:g}; "
                "dataset.task=regression predicts finite numbers"
            )
        return targets.astype(np.int64)
    return targets


def _without_single_axis(targets: np.ndarray) -> np.ndarray:
    """Targets ``(N, 1)`` as ``(N,)``; others stay."""
    if targets.shape[1:] == (1,):
        return targets[:, 0]
    return targets


def _is_one_hot(targets: np.ndarray) -> bool:
    if not np.isin(targets, (0, 1)).all():
        return False
    return bool((targets.sum(1) == 1).all())
