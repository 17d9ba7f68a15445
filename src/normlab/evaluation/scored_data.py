"""The data with which a stored run is scored again, and those that recalibrate it."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice

import torch

from normlab.config.claim_metrics import SCORED
from normlab.data.blocks import Block, Part
from normlab.data.classes import match_classes
from normlab.data.notes import note_once
from normlab.data.parts import Parts, load_parts, stored_shape
from normlab.evaluation.scoring import Statistics
from normlab.evaluation.statistics import ShuffledBatches
from normlab.training.recalibration import training_batches


def scored_data(config: dict, dataset: dict | None, own: Parts) -> Parts:
    """The data that are scored: the run's own unless others were asked for.

    Args:
        config: the configuration of the run.
        dataset: the configuration of another data set, or None.
        own: the parts of the run.

    Raises:
        ValueError: the other data do not fit the network.
    """
    return own if dataset is None else _load_other_parts(config, dataset, own)


def recalibrating_batches(
    config: dict,
    own: Mapping[str, Part],
    scored: Parts,
    statistics: Statistics,
    device: torch.device,
) -> Iterator[Block]:
    """The batches by which statistics are computed again.

    Args:
        config: the configuration of the run.
        own: the parts of its own data by name.
        scored: the data that are scored.
        statistics: those that are chosen.
        device: where the network is.
    """
    source = statistics.recalibrate_on
    num_batches = statistics.num_batches
    if source == "train":
        return training_batches(config, own["train"].to(device), num_batches)
    parts = scored.by_name if source.startswith(SCORED) else own
    part = parts[source.removeprefix(SCORED)].to(device)
    batch_size = statistics.batch_size or config["dataset"]["batch_size"]
    return islice(ShuffledBatches(part, batch_size), num_batches)


def _load_other_parts(config: dict, dataset: dict, own: Parts) -> Parts:
    """The parts of another data set, prepared as those of the run.

    Classes have the numbers that the run gave to these names.

    Args:
        config: the configuration of the run.
        dataset: the configuration of the other data set.
        own: the parts of the run.
    """
    shape = stored_shape(dataset)
    holds_images = shape is not None and len(shape) == 3
    image_size = None
    if holds_images and len(own.input_shape) == 3:
        image_size = own.input_shape[-1]
    other = load_parts(config | {"dataset": dataset}, image_size, own.encoder)
    name = f"dataset={dataset.get('name')}"
    if other.input_shape == own.input_shape and other.class_names and own.class_names:
        other = match_classes(other, own.class_names, name)
        other = replace(other, num_outputs=own.num_outputs)
    elif dataset["task"] == "classification":
        note_once(f"{name} or the run names no classes; they are matched by number")
    if (other.input_shape, other.num_outputs) != (own.input_shape, own.num_outputs):
        raise ValueError(
            f"the run takes inputs {own.input_shape} and has {own.num_outputs} "
            f"outputs, {name} has {other.input_shape} and "
            f"{other.num_outputs}; name one that fits"
        )
    transform = own.validation.transform
    return Parts(
        train=replace(other.train, transform=transform),
        validation=replace(other.validation, transform=transform),
        test=replace(other.test, transform=transform),
        input_shape=own.input_shape,
        num_outputs=own.num_outputs,
        class_names=own.class_names,
    )
