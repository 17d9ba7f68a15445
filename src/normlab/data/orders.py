"""The order in which an epoch of training goes through its samples."""

from typing import Any

import torch
from torch import Tensor

SHUFFLED, BLOCKED = "shuffled", "blocked"
CLASSES_PER_BATCH = 2  # of a blocked order


def check_order(options: dict[str, Any]) -> None:
    """Refuse an order of classes for data without classes, or for odd batches.

    Args:
        options: the `dataset` section of a configuration.

    Raises:
        ValueError: says what the order needs.
    """
    if options.get("order", SHUFFLED) != BLOCKED:
        return
    if options["task"] != "classification":
        raise ValueError(
            f"dataset.order={BLOCKED} must have classes, of which it makes batches; "
            f"got dataset.task={options['task']}"
        )
    batch_size = options["batch_size"]
    if batch_size % CLASSES_PER_BATCH:
        raise ValueError(
            f"dataset.order={BLOCKED} needs an even dataset.batch_size, of which each "
            f"class fills a half; got {batch_size}"
        )


def blocked_order(
    classes: Tensor, batch_size: int, generator: torch.Generator
) -> Tensor:
    """Draw an order in which every batch has samples of at most two classes.

    The samples of each class are shuffled and divided into halves of a batch. All
    halves are shuffled, and two neighbours form a batch, so that one batch in C has a
    single class if C classes are of equal size. What remains of each class, less than
    half a batch, comes last, and its batches may have more classes.

    Args:
        classes: int64 ``(N,)``, the class of each sample, on the CPU.
        batch_size: B, an even number.
        generator: on the CPU.

    Returns:
        int64 ``(N,)``, each index of a sample once.
    """
    half = batch_size // CLASSES_PER_BATCH
    shuffled = torch.randperm(len(classes), generator=generator)
    sorted_by_class = shuffled[classes[shuffled].argsort(stable=True)]
    counts = classes.bincount().tolist()
    halves = []
    remainders = []
    for members in sorted_by_class.split(counts):
        end = len(members) // half * half
        halves.append(members[:end].view(-1, half))
        remainders.append(members[end:])
    blocks = torch.cat(halves)
    blocks = blocks[torch.randperm(len(blocks), generator=generator)]
    return torch.cat([blocks.flatten(), *remainders])
