"""Fewer training samples, for studies of how much data a network needs."""

from typing import Any

import numpy as np
import torch

from normlab.streams import numpy_generator


def training_subset(
    rows: torch.Tensor, targets: torch.Tensor, config: dict[str, Any]
) -> torch.Tensor:
    """Draw `dataset.train_size` samples out of the training part.

    The draw depends on the seed and the data alone, so that runs that differ in the
    norm train on the same samples. For one seed, a smaller draw is part of each larger
    one.

    Args:
        rows: int64 ``(N,)``, the samples of the training part.
        targets: ``(N,)``, their classes or numbers.
        config: a resolved configuration; `dataset` and `seed` are read.

    Returns:
        Some of the rows in their order; all of them if the size is null.

    Raises:
        ValueError: the training part has fewer samples, or more classes, than that.
    """
    options = config["dataset"]
    wanted = options.get("train_size")
    if wanted is None:
        return rows
    is_classification = options["task"] == "classification"
    num_samples = len(rows)
    size = wanted
    if not isinstance(wanted, int):
        size = round(wanted * num_samples)
    smallest = 2
    why = "two samples, of which to learn"
    if is_classification:
        smallest = len(targets.unique())
        why = "a sample of every class"
    if not smallest <= size <= num_samples:
        raise ValueError(
            f"dataset.train_size must lie in {smallest}..{num_samples} ({why}, and at "
            f"most the training part), got {wanted}, that is {size}"
        )
    generator = numpy_generator(config["seed"], "train size")
    order = generator.permutation(num_samples)
    if is_classification:
        classes = targets.numpy()[order]
        order = order[_interleaved(classes)]
    chosen = np.sort(order[:size])
    return rows[torch.from_numpy(chosen)]


def _interleaved(classes: np.ndarray) -> np.ndarray:
    """An order in which every beginning has the classes in proportion.

    Sample r of the n of a class, counted from 0, comes at the place r / n. The number
    of each class in the first samples is then the one of Adams' method of
    apportionment: in proportion up to rounding, which is upwards, so that no class is
    left out.
    """
    places = np.empty(len(classes))
    for one in np.unique(classes):
        members = classes == one
        count = members.sum()
        places[members] = np.arange(count) / count
    return np.argsort(places, kind="stable")
