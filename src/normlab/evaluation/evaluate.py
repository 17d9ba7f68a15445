"""Score a stored run again: on its own data or on others, with chosen statistics."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from normlab.checksums import (
    best_checkpoint,
    changed_events,
    check_best_checkpoint,
    check_file,
    verified,
)
from normlab.config.claim_metrics import PARTS
from normlab.config.rules import check, with_defaults
from normlab.config.targets import check_homes
from normlab.data.classes import match_classes
from normlab.data.parts import Parts
from normlab.data.shifts import NO_SHIFT, parse_shift, shifted_parts
from normlab.device.devices import (
    Device,
    evaluation_context,
    scoring_device,
    set_threads,
)
from normlab.evaluation.rebuilding import norm_here, rebuildable
from normlab.evaluation.scored_data import recalibrating_batches, scored_data
from normlab.evaluation.scoring import Scorer, Statistics, check_parts
from normlab.evaluation.statistics import restored
from normlab.files import read_json, read_yaml
from normlab.terminal import print_once
from normlab.training.checkpoint_files import load
from normlab.training.preparation import Prepared, load_fitting_parts, prepare
from normlab.training.recalibration import recalibrate

OF_STORED_STATE = {"running", "frozen"}  # statistics that evaluation does not change


class Evaluation(NamedTuple):
    """The scores of a stored run under one shift, with one kind of statistics.

    Attributes:
        shift: such as `brightness:3`; `none` for the images as they are.
        statistics: such as `adapted`.
        metrics: values by name, such as `test/accuracy`.
    """

    shift: str
    statistics: str
    metrics: dict[str, float]


def evaluate_run(
    folder: Path,
    dataset: dict | None = None,
    statistics: str = "running",
    num_batches: int = 100,
    trusted: Sequence[str] = (),
    *,
    shift: str | None = None,
    parts: Sequence[str] = PARTS,
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
            the seed of the run. None or `none` leaves the images as they are.
        parts: names of the parts that are scored: train, val and test.
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
        The metrics of the parts by name, such as `test/accuracy`.

    Raises:
        ValueError: the folder holds no run or an unreadable checkpoint, the data do not
            fit the network or cannot be shifted, or the norm keeps no running
            statistics and others were asked for.
    """
    [evaluation] = evaluate_grid(
        folder,
        dataset,
        trusted,
        shifts=[shift or NO_SHIFT],
        statistics=[statistics],
        parts=parts,
        calibration=calibration,
        num_batches=num_batches,
        recalibrate_on=recalibrate_on,
        batch_size=batch_size,
        pseudo_count=pseudo_count,
        lr=lr,
    )
    return evaluation.metrics


def evaluate_grid(
    folder: Path,
    dataset: dict | None = None,
    trusted: Sequence[str] = (),
    *,
    shifts: Sequence[str] = (NO_SHIFT,),
    statistics: Sequence[str] = ("running",),
    parts: Sequence[str] = PARTS,
    calibration: bool = False,
    **details: Any,
) -> list[Evaluation]:
    """Score a stored run under every shift with every kind of statistics.

    Network and data are loaded once. Each evaluation gives the scores that
    `evaluate_run` gives for it alone.

    Args:
        folder: the run folder.
        dataset: as for `evaluate_run`.
        trusted: packages of the user's own that the run may call.
        shifts: such as `brightness:3`; `none` for the images as they are.
        statistics: names, as for `evaluate_run`.
        parts: as for `evaluate_run`.
        calibration: as for `evaluate_run`.
        details: the other arguments of `evaluate_run` about statistics.

    Returns:
        One evaluation for each shift and each kind of statistics, shift by shift.

    Raises:
        ValueError: as for `evaluate_run`.
    """
    kinds = [Statistics(name, **details) for name in statistics]
    corruptions = [parse_shift(shift) for shift in shifts]
    check_parts(parts)
    # Features that were computed once are those of the run's own images and of its
    # stored statistics.
    as_images = dataset is not None or any(corruptions)
    if not {*statistics} <= OF_STORED_STATE:
        as_images = True
    config, prepared = load_run(folder, trusted, as_images)
    network = prepared.task.network
    device = scoring_device(prepared.device.accelerator)
    data = scored_data(config, dataset, prepared.parts).to(device)
    scorer = Scorer(
        prepared.task.to(device),
        prepared.norm_layers,
        config["dataset"]["batch_size"],
        evaluation_context(prepared.device.precision, device),
        calibration,
    )
    evaluations = []
    for shift, corruption in zip(shifts, corruptions, strict=True):
        scored = data
        if corruption is not None:
            scored = shifted_parts(data, corruption, config["seed"])
        for kind in kinds:
            with restored(network):
                if kind.name == "recalibrated":
                    own = prepared.parts.by_name
                    batches = recalibrating_batches(config, own, scored, kind, device)
                    recalibrate(network, batches, scorer.context)
                metrics = scorer.score_parts(scored, parts, kind)
            evaluations.append(Evaluation(shift, kind.name, metrics))
    return evaluations


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
    config = config | {"norm": norm_here(config)}
    parts, _ = load_fitting_parts(config, Device.from_config(config["device"]))
    classes = read_classes(folder, result)
    return parts if classes is None else _with_classes(parts, classes)


def read_run(folder: Path, trusted: Sequence[str]) -> tuple[dict[str, Any], dict]:
    """The result of a run, empty if it has not ended, and its configuration."""
    result = read_stored(folder)
    check_file(folder / "config.yaml", result)
    for line in changed_events(folder, result):
        print_once(line)  # some commands read a run more than once
    return result, read_config(folder, trusted)


def _prepare(folder: Path, result: dict[str, Any], config: dict) -> Prepared:
    classes = read_classes(folder, result)
    prepared = prepare(rebuildable(config))
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
