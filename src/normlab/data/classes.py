"""The classes of a data set: which parts lack some, and whether two sets share them."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from normlab.data.blocks import Part
from normlab.data.notes import shortened
from normlab.data.parts import Parts

# A classification of a table gets a caution if its classes are real numbers, and more
# than so many.
MOST_NUMBERS = 10
FEWEST_SAMPLES = 10  # of a class on average, if the classes are whole numbers


def class_cautions(parts: Parts, task: str) -> list[str]:
    """Warn about classes that are missing in a part, or that look like measurements.

    Args:
        parts: the parts of a data set.
        task: `classification`, or another task, which has no classes.
    """
    if task != "classification":
        return []
    present = {
        "training": _present(parts.train),
        "validation": _present(parts.validation),
        "test": _present(parts.test),
    }
    everywhere = set().union(*present.values())
    cautions = []
    for name, labels in present.items():
        lacking = [_name(parts, label) for label in sorted(everywhere - labels)]
        if name != "training" and len(labels) < 2:
            cautions.append(
                f"the {name} part holds one class only: "
                "its accuracy does not show that classes are told apart"
            )
        elif lacking and name == "training":
            cautions.append(
                "the training part lacks classes that another part has, so the "
                f"network cannot learn them: {shortened(lacking)}"
            )
        elif lacking:
            cautions.append(
                f"the {name} part lacks classes that another part has, so its scores "
                f"say nothing of them: {shortened(lacking)}"
            )
    if parts.encoder is not None and _look_like_numbers(parts):
        cautions.append(
            f"the {len(parts.class_names)} classes are numbers: each is learned for "
            "itself, and near ones are as wrong as far ones; dataset.task=regression "
            "predicts numbers"
        )
    return cautions


def _present(part: Part) -> set[int]:
    """The classes of which a part has samples."""
    counts = torch.bincount(part.targets[part.rows])
    return set(counts.nonzero()[:, 0].tolist())


def _name(parts: Parts, label: int) -> str:
    """The name of a class, or its number if it has none."""
    if label < len(parts.class_names):
        return parts.class_names[label]
    return str(label)


def _look_like_numbers(parts: Parts) -> bool:
    """Whether the classes of a table are real numbers, or many whole ones."""
    try:
        values = [float(name) for name in parts.class_names]
    except ValueError:
        return False
    if len(values) <= MOST_NUMBERS:
        return False
    if not all(value.is_integer() for value in values):
        return True
    num_samples = len(parts.train) + len(parts.validation) + len(parts.test)
    return num_samples < FEWEST_SAMPLES * len(values)


def _numbers_by_name(parts: Parts, names: Sequence[str], source: str) -> Tensor:
    """The place in `names` of every class of which there are samples, int64; else -1.

    Raises:
        ValueError: a class is not among the names.
    """
    present = {}
    for part in (parts.train, parts.validation, parts.test):
        for label in _present(part):
            present[label] = _name(parts, label)
    unknown = sorted(set(present.values()).difference(names))
    if unknown:
        raise ValueError(
            f"{source} has classes that the run does not know: "
            f"{shortened(unknown)}; it knows {shortened(names)}"
        )
    index = {name: number for number, name in enumerate(names)}
    numbers = torch.full((max(present) + 1,), -1)
    for label, name in present.items():
        numbers[label] = index[name]
    return numbers


def match_classes(parts: Parts, names: Sequence[str], source: str) -> Parts:
    """Number the classes of a data set as another one does, by their names.

    Args:
        parts: the data set.
        names: name of class ``i`` of the other data set at index ``i``.
        source: what the data set is called in messages.

    Raises:
        ValueError: a class of which there are samples is not among the names, or two
            classes share a name.
    """
    if tuple(names) == parts.class_names:
        return parts
    for classes in (names, parts.class_names):
        if len(set(classes)) < len(classes):
            raise ValueError(
                f"{source} and the run must name every class once, so that classes can "
                "be matched by their names"
            )
    numbers = _numbers_by_name(parts, names, source)

    @cache  # parts share tensors, which are hashed by identity
    def renumbered(targets: Tensor) -> Tensor:
        return numbers[targets]

    def matched(part: Part) -> Part:
        return replace(part, targets=renumbered(part.targets))

    return replace(
        parts,
        train=matched(parts.train),
        validation=matched(parts.validation),
        test=matched(parts.test),
        class_names=tuple(names),
        num_outputs=len(names),
    )
