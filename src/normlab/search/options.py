"""The options of a search, `hydra.sweeper`: checks, the sampler, pruner and metric."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import optuna
from hydra.utils import instantiate
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler

from normlab.config.types import is_whole
from normlab.metrics import METRICS, SCORES, higher_is_better
from normlab.spelling import did_you_mean

# Samplers that try every combination once, which is what the grid sweeper does.
EXHAUSTIVE = ("GridSampler", "BruteForceSampler")


@dataclass(frozen=True)
class Options:
    """`hydra.sweeper` of a search; conf/hydra/sweeper/optuna.yaml explains the options.

    Raises:
        ValueError: names an option, what it must be, and what it is.
        InstantiationException: the sampler or pruner does not take its options.
    """

    n_trials: int
    n_jobs: int | None
    seeds: list[int]
    metric: str | None
    direction: str | None
    study_name: str | None
    storage: str
    sampler: dict[str, Any]
    pruner: dict[str, Any] | None

    def __post_init__(self) -> None:
        _check(
            "n_trials",
            is_whole(self.n_trials) and self.n_trials >= 1,
            "a whole number of at least 1",
            self.n_trials,
        )
        _check(
            "n_jobs",
            self.n_jobs is None or (is_whole(self.n_jobs) and self.n_jobs >= 1),
            "null or at least 1",
            self.n_jobs,
        )
        _check(
            "seeds",
            _are_seeds(self.seeds),
            "a list of different seeds such as [0,1,2]",
            self.seeds,
        )
        _check(
            "direction",
            self.direction in (None, "maximize", "minimize"),
            "null, maximize or minimize",
            self.direction,
        )
        _check(
            "study_name",
            self.study_name is None or _is_file_name(self.study_name),
            "null or a file name",
            self.study_name,
        )
        _check(
            "storage",
            self.storage in ("journal", "sqlite") or "://" in str(self.storage),
            "journal, sqlite or an SQLAlchemy URL",
            self.storage,
        )
        build_sampler(self.sampler, 0)
        build_pruner(self.pruner)


def _check(option: str, holds: bool, requirement: str, value: Any) -> None:
    if not holds:
        raise ValueError(f"hydra.sweeper.{option} must be {requirement}, got {value!r}")


def _are_seeds(value: Any) -> bool:
    """Whether a value is a list of different whole numbers that are not negative."""
    if not isinstance(value, list) or not value:
        return False
    for seed in value:
        if not is_whole(seed) or seed < 0:
            return False
    return len(set(value)) == len(value)


def _is_file_name(value: Any) -> bool:
    """Whether a value is a string that can name a folder within another folder."""
    return isinstance(value, str) and value.strip(".") != "" and "/" not in value


def build_sampler(options: Mapping[str, Any], number: int) -> BaseSampler:
    """Build the sampler for one trial.

    Every trial gets a sampler of its own, which finds in the storage all that it needs
    to know. One sampler for all trials would repeat its first values in every process
    that joins or resumes a search.

    Args:
        options: `_target_`, a class of `optuna.samplers`, and its arguments. The seed
            of the sampler follows from `seed` and the number of the trial.
        number: the number of the trial.

    Raises:
        ValueError: `_target_` is not a sampler that can be used here.
        InstantiationException: the sampler does not take these arguments.
    """
    _check_mapping("sampler", options, optuna.samplers)
    name = options.get("_target_", "").rpartition(".")[2]
    if name in EXHAUSTIVE:
        raise ValueError(
            f"hydra.sweeper.sampler: {name} tries every combination once, "
            f"as hydra/sweeper=grid does"
        )
    arguments: dict[str, Any] = {}
    if options.get("seed") is not None:
        sequence = np.random.SeedSequence([options["seed"], number])
        seed = int(sequence.generate_state(1)[0])
        if name == "QMCSampler":
            # All points of a quasi-random sequence share one seed. Only what is not
            # part of the sequence, such as choices, is drawn with this one.
            arguments["independent_sampler"] = RandomSampler(seed=seed)
        else:
            arguments["seed"] = seed
    return _build("sampler", options, optuna.samplers, BaseSampler, arguments)


def build_pruner(options: Mapping[str, Any] | None) -> BasePruner:
    """Build the pruner.

    Args:
        options: `_target_`, a class of `optuna.pruners`, and its arguments; None is a
            pruner that never prunes.

    Raises:
        ValueError: `_target_` is not a pruner.
        InstantiationException: the pruner does not take these arguments.
    """
    if options is None:
        return NopPruner()
    _check_mapping("pruner", options, optuna.pruners)
    return _build("pruner", options, optuna.pruners, BasePruner, {})


def _check_mapping(option: str, value: Any, module: ModuleType) -> None:
    is_mapping = isinstance(value, Mapping)
    _check(
        option, is_mapping, f"a mapping with _target_: {module.__name__}.NAME", value
    )


def _build(
    option: str,
    options: Mapping[str, Any],
    module: ModuleType,
    base: type,
    arguments: dict[str, Any],
) -> Any:
    """Build an object of a class that Optuna offers, and of no other class."""
    _check_targets(option, options, module, base)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return instantiate(dict(options), **arguments, _convert_="all")


def _check_targets(
    option: str,
    options: Mapping[str, Any],
    module: ModuleType,
    base: type,
) -> None:
    """Refuse a `_target_` that is not a class derived from `base` in the module."""
    known = []
    for name in module.__all__:
        offered = getattr(module, name)
        if isinstance(offered, type) and issubclass(offered, base):
            known.append(f"{module.__name__}.{offered.__name__}")
    target = options.get("_target_")
    if target not in known:
        hint = did_you_mean(target, known) or f"; there are {', '.join(known)}"
        raise ValueError(
            f"hydra.sweeper.{option}._target_ must be a class of {module.__name__}, "
            f"got {target!r}{hint}"
        )
    for value in options.values():
        # Some wrap another of their kind, such as PatientPruner.
        if isinstance(value, Mapping) and "_target_" in value:
            _check_targets(option, value, module, base)


def resolve_metric(options: Options, config: Mapping[str, Any]) -> tuple[str, str]:
    """The metric of the objective and its direction.

    Args:
        options: the options of the search. Without a metric it is the one that picks
            the best epoch, without a direction it is the metric's own.
        config: a resolved configuration.

    Returns:
        the name of a validation metric, and `maximize` or `minimize`.

    Raises:
        ValueError: a metric that no run has, or one that must not be tuned on.
    """
    task = config["dataset"]["task"]
    known = [f"val/{name}" for name in METRICS[task]]
    monitor = config["trainer"]["monitor"]
    scores = [f"val/{name}" for name in SCORES]
    if monitor in scores:  # then a run has all of them after every epoch
        known += scores
    _refuse_stop_at_test(config["trainer"].get("stop_at"))
    metric = options.metric or monitor or known[0]
    if str(metric).startswith("test/"):
        raise ValueError(
            f"hydra.sweeper.metric must be a validation metric, got {metric!r}: "
            f"test data that chose the settings could not judge them any more; "
            f"use one of {', '.join(known)}"
        )
    if metric not in known:
        option = "hydra.sweeper.metric" if options.metric else "trainer.monitor"
        raise ValueError(
            f"{option} must be null or one of {', '.join(known)}, got {metric!r}"
        )
    if options.direction is not None:
        return metric, options.direction
    mode = config["trainer"].get("monitor_mode")
    if mode is not None and metric == monitor:
        return metric, f"{mode}imize"
    return metric, "maximize" if higher_is_better(metric) else "minimize"


def _refuse_stop_at_test(stop_at: str | None) -> None:
    """Refuse trials that end by the test part."""
    if stop_at is not None and stop_at.startswith("test/"):
        raise ValueError(
            f"trainer.stop_at must have a metric of train or val in a search, got "
            f"{stop_at!r}: test data that chose the length of trials could not judge "
            "the best one any more"
        )


def worst_value(metric: str, direction: str) -> float:
    """The value of a run that diverged.

    Args:
        metric: the metric of the objective.
        direction: `maximize` or `minimize`.

    Returns:
        0 for an accuracy that is maximized, otherwise the infinity on the wrong side.
    """
    if direction == "minimize":
        return math.inf
    return 0.0 if metric.endswith("accuracy") else -math.inf
