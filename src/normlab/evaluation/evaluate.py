"""Score a stored run again: on its own data or on others, with chosen statistics."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from normlab.checksums import (
    best_checkpoint,
    check_best_checkpoint,
    check_file,
    verified,
)
from normlab.config.claim_metrics import SCORED
from normlab.config.rules import check, with_defaults
from normlab.config.targets import check_homes
from normlab.data.blocks import Block, Part
from normlab.data.classes import match_classes
from normlab.data.notes import note_once
from normlab.data.parts import Parts, load_parts, stored_shape
from normlab.data.shifts import Shift, parse_shift, shifted_parts
from normlab.device.devices import (
    Device,
    evaluation_context,
    scoring_device,
    set_threads,
)
from normlab.evaluation.scoring import Scorer, Statistics
from normlab.evaluation.statistics import ShuffledBatches
from normlab.files import read_json, read_yaml
from normlab.training.checkpoint_files import load
from normlab.training.preparation import Prepared, load_fitting_parts, prepare
from normlab.training.recalibration import recalibrate, training_batches


def evaluate_run(
    folder: Path,
    dataset: dict | None = None,
    statistics: str = "running",
    num_batches: int = 100,
    trusted: Sequence[str] = (),
    *,
    shift: str | None = None,
    calibration: bool = False,
    recalibrate_on: str = "train",
    batch_size: int | None = None,
    pseudo_count: float = 16,
    lr: float = 1e-3,
) -> dict[str, float]:
    """Score the best state of a stored run, which stays as it is.

    Args:
        folder: the run folder.
        dataset: configuration of another data set, whose three parts are scored
            instead. Its classes are matched by their names. Its inputs are normalized
            as in training, by the statistics of the run's own training part.
        statistics: by which statistics norms with running statistics normalize:
            `running` (stored in training), `batch` (of the batch that is scored),
            `recalibrated` (recomputed with the final weights, see `recalibrate`),
            `adapted` (recomputed for each scored part from its own samples: Li et al.,
            2016, arXiv 1603.04779), `mixed` (running and batch together, see
            `mixed_statistics`), `tent` (of the batch, while scale and shift of every
            norm learn to be sure, see `EntropyMinimizer`), or `frozen` (the stored ones
            as constants, as in `FrozenBatchNorm`: the same numbers as `running`, since
            evaluation updates nothing).
        num_batches: number of batches for `recalibrated`, at most one epoch.
        trusted: packages of the user's own that the run may call.
        shift: a corruption of the scored images and its severity, such as
            `brightness:3`, see `normlab.data.corruptions`; its random numbers depend on
            the seed of the run.
        calibration: whether the scores `ece`, `brier` and `nll` of the probabilities
            are among the metrics of a classification.
        recalibrate_on: the part whose batches recalibrate: train (with the batches of
            training), val or test of the run's own data, or one of the data that are
            scored, shifted and of another data set as they may be: scored/train,
            scored/val or scored/test.
        batch_size: samples of a batch for `batch`, `adapted`, `mixed` and `tent`; None
            takes that of training.
        pseudo_count: the number of samples that the running statistics weigh as much
            as, for `mixed`.
        lr: learning rate for `tent`.

    Returns:
        The metrics of all parts by name, such as `test/accuracy`.

    Raises:
        ValueError: the folder holds no run or an unreadable checkpoint, the data do not
            fit the network or cannot be shifted, or the norm keeps no running
            statistics and others were asked for.
    """
    chosen = Statistics(
        statistics, num_batches, recalibrate_on, batch_size, pseudo_count, lr
    )
    corruption = None if shift is None else parse_shift(shift)
    config, prepared = load_run(folder, trusted, as_images=shift is not None)
    parts = _scored_parts(config, dataset, corruption, prepared.parts)
    device = scoring_device(prepared.device.accelerator)
    scorer = Scorer(
        prepared.task.to(device),
        prepared.norm_layers,
        chosen,
        batch_size or config["dataset"]["batch_size"],
        evaluation_context(prepared.device.precision, device),
        calibration,
    )
    if statistics == "recalibrated":
        own = prepared.parts.by_name
        batches = _recalibrating_batches(config, own, parts, scorer, device)
        recalibrate(prepared.task.network, batches, scorer.context)

    metrics: dict[str, float] = {}
    for name, part in parts.to(device).by_name.items():
        scores = scorer.score(part)
        metrics |= {f"{name}/{key}": value for key, value in scores.items()}
    return metrics


def load_run(
    folder: Path, trusted: Sequence[str] = (), as_images: bool = False
) -> tuple[dict, Prepared]:
    """Load the configuration, the data and the best network of a stored run.

    The number of CPU threads is set as for the run.

    Args:
        folder: the run folder.
        trusted: packages of the user's own that the run may call.
        as_images: keep the images of a run that trained on cached features.

    Returns:
        The configuration, and what `prepare` builds from it with the best weights and
        buffers.

    Raises:
        ValueError: the folder holds no run, an unreadable checkpoint, or a run that
            calls other packages, or its data have other classes by now.
    """
    result, config = read_run(folder, trusted)
    state = load_best(folder, result)
    if as_images:
        config = config | {"cache_features": False}
    prepared = _prepare(folder, result, config)
    prepared.task.network.load_state_dict(state["network"])
    return config, prepared


def prepare_stored(folder: Path, trusted: Sequence[str] = ()) -> tuple[dict, Prepared]:
    """Load the configuration and the data of a run, and build its untrained network.

    The number of CPU threads is set as for the run.

    Args:
        folder: the run folder.
        trusted: packages of the user's own that the run may call.

    Returns:
        The configuration, and what `prepare` builds from it.

    Raises:
        ValueError: the folder holds no run, or one that calls other packages, or its
            data have other classes by now.
    """
    result, config = read_run(folder, trusted)
    return config, _prepare(folder, result, config)


def stored_parts(folder: Path, trusted: Sequence[str] = ()) -> Parts:
    """Load the data of a run, as its data set stores them.

    Args:
        folder: the run folder.
        trusted: packages of the user's own that the run may call.

    Raises:
        ValueError: the folder holds no run, or one that calls other packages, or its
            data are gone or have other classes by now.
    """
    result, config = read_run(folder, trusted)
    check_homes(config)
    parts, _ = load_fitting_parts(config, Device.from_config(config["device"]))
    classes = read_classes(folder, result)
    return parts if classes is None else _with_classes(parts, classes)


def read_run(folder: Path, trusted: Sequence[str]) -> tuple[dict[str, Any], dict]:
    """The result of a run, empty if it has not ended, and its configuration."""
    result = read_stored(folder)
    check_file(folder / "config.yaml", result)
    return result, read_config(folder, trusted)


def _prepare(folder: Path, result: dict[str, Any], config: dict) -> Prepared:
    classes = read_classes(folder, result)
    # Callbacks act in training only, and may be of packages that are not trusted here.
    prepared = prepare(config | {"callbacks": {}})
    if classes is not None:
        prepared = replace(prepared, parts=_with_classes(prepared.parts, classes))
    set_threads(prepared.device.threads, prepared.flops)
    return prepared


def read_config(folder: Path, trusted: Sequence[str] = ()) -> dict:
    """Read the configuration of a stored run.

    Args:
        folder: the run folder.
        trusted: packages of the user's own that the run may call.

    Raises:
        ValueError: the folder holds no run, or one that calls other packages.
    """
    path = folder / "config.yaml"
    try:
        config = read_yaml(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ValueError(
            f"{folder} must be the folder of a run, it has no config.yaml"
        ) from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} must hold the configuration of a run")
    packages = config.get("trusted_packages")
    named = packages if isinstance(packages, list) else []
    others = [str(name) for name in named if name not in trusted]
    if others:
        raise ValueError(
            f"trusted must name {', '.join(others)}, since the run calls code there; "
            f"add only packages of your own"
        )
    config = with_defaults(config)
    try:
        check(config)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return config


def read_stored(folder: Path) -> dict[str, Any]:
    """The content of `result.json`; empty if the run has not ended.

    Raises:
        ValueError: the file is damaged, or was changed.
    """
    path = folder / "result.json"
    try:
        result = read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    if not isinstance(result, dict):
        raise ValueError(f"{path} must hold the result of a run")
    try:
        return verified(result, str(path))
    except ValueError as error:
        raise ValueError(f"{error}; the command of the run makes it again") from error


def load_best(folder: Path, result: dict[str, Any]) -> dict[str, Any]:
    """Read the best state of a run.

    Args:
        folder: the run folder.
        result: the result that lies in it; empty if there is none.

    Raises:
        ValueError: the checkpoint is damaged, or of another run.
    """
    path = best_checkpoint(folder)
    state = load(path)
    if not isinstance(state, dict) or not isinstance(state.get("network"), dict):
        raise ValueError(f"{path} must hold the best state of a run")
    # A folder may have been renamed; its result still has the name of the run.
    recorded = str(result.get("run")).rpartition("/")[2]
    run = state.get("run", recorded)
    if run not in (folder.resolve().name, recorded):
        raise ValueError(
            f"{path} is of the run {run}; put that of {folder.name} back, or train it "
            f"again with rerun=true"
        )
    check_best_checkpoint(folder, result)
    return state


def read_classes(folder: Path, result: dict[str, Any]) -> list[str] | None:
    """The names of the classes with which a run was trained, in their order.

    None if the run has no classes, or was stored before their names were.

    Args:
        folder: the run folder.
        result: the result that lies in it.

    Raises:
        ValueError: they are no names.
    """
    path = folder / "result.json"
    classes = result.get("classes")
    if classes is None:
        return None
    if not isinstance(classes, list) or not all(isinstance(n, str) for n in classes):
        raise ValueError(f"{path}: classes must be a list of names, got {classes!r}")
    return classes


def _with_classes(own: Parts, classes: list[str]) -> Parts:
    """A run's own data, their classes numbered as when the run was trained."""
    if sorted(own.class_names) != sorted(classes):
        differing = sorted(set(own.class_names) ^ set(classes))
        raise ValueError(
            f"the data of the run must have the {len(classes)} classes with which it "
            f"was trained, they differ in {', '.join(differing[:5])}; restore the data"
        )
    return replace(
        match_classes(own, classes, "the data of the run"), num_outputs=own.num_outputs
    )


def _scored_parts(
    config: dict, dataset: dict | None, corruption: Shift | None, own: Parts
) -> Parts:
    """The data that are scored: the run's own unless others were asked for."""
    parts = own
    if dataset is not None:
        parts = _load_other_parts(config, dataset, own)
    if corruption is not None:
        parts = shifted_parts(parts, corruption, config["seed"])
    return parts


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


def _recalibrating_batches(
    config: dict,
    own: Mapping[str, Part],
    scored: Parts,
    scorer: Scorer,
    device: torch.device,
) -> Iterator[Block]:
    """The batches by which statistics are computed again.

    Args:
        config: the configuration of the run.
        own: the parts of its own data by name.
        scored: the data that are scored.
        scorer: with the statistics that are chosen.
        device: where the network is.
    """
    source = scorer.statistics.recalibrate_on
    num_batches = scorer.statistics.num_batches
    if source == "train":
        return training_batches(config, own["train"].to(device), num_batches)
    parts = scored.by_name if source.startswith(SCORED) else own
    part = parts[source.removeprefix(SCORED)].to(device)
    return islice(ShuffledBatches(part, scorer.batch_size), num_batches)
