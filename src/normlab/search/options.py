"""What `hydra.sweeper` says about a search: checked, with its sampler and pruner."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from hydra.utils import instantiate
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler

from normlab.metrics import METRICS, higher_is_better
from normlab.spelling import did_you_mean

EXHAUSTIVE = ("GridSampler", "BruteForceSampler")


@dataclass(frozen=True)
class Options:
    """`hydra.sweeper` of a search, see conf/hydra/sweeper/optuna.yaml.

    Raises:
        ValueError: names the option, what it must be and what it is.
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
            _whole(self.n_trials, 1),
            "a whole number of at least 1",
            self.n_trials,
        )
        _check(
            "n_jobs",
            self.n_jobs is None or _whole(self.n_jobs, 1),
            "null or at least 1",
            self.n_jobs,
        )
        seeds = self.seeds if isinstance(self.seeds, list) else []
        distinct = len(set(map(repr, seeds))) == len(seeds) > 0
        _check(
            "seeds",
            distinct and all(_whole(seed, 0) for seed in seeds),
            "a list of different seeds such as [0,1,2]",
            self.seeds,
        )
        known = (None, "maximize", "minimize")
        _check(
            "direction",
            self.direction in known,
            "null, maximize or minimize",
            self.direction,
        )
        named = self.study_name is None or (
            isinstance(self.study_name, str) and self.study_name.strip(".")
        )
        _check(
            "study_name",
            named and "/" not in (self.study_name or ""),
            "null or a file name",
            self.study_name,
        )
        storage = self.storage in ("journal", "sqlite") or "://" in str(self.storage)
        _check("storage", storage, "journal, sqlite or an SQLAlchemy URL", self.storage)
        build_sampler(self.sampler, 0)
        build_pruner(self.pruner)


def _whole(value: Any, minimum: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= minimum


def _check(option: str, holds: Any, requirement: str, value: Any) -> None:
    if not holds:
        raise ValueError(f"hydra.sweeper.{option} must be {requirement}, got {value!r}")


def build_sampler(options: Mapping[str, Any], number: int) -> BaseSampler:
    """The sampler for one trial. Its seed follows from `seed` and the trial's number.

    A sampler is built anew for every trial: what it knows is in the study. One that was built once would repeat its
    first values in every process that joins or resumes a search.

    Raises:
        ValueError, InstantiationException: no sampler, or not with these options.
    """
    name = (
        options.get("_target_", "").rpartition(".")[2]
        if isinstance(options, Mapping)
        else ""
    )
    if name in EXHAUSTIVE:
        raise ValueError(
            f"hydra.sweeper.sampler: {name} tries every combination once, as hydra/sweeper=grid does"
        )
    arguments: dict[str, Any] = {}
    if isinstance(options, Mapping) and options.get("seed") is not None:
        seed = int(
            np.random.SeedSequence([options["seed"], number]).generate_state(1)[0]
        )
        # All points of a quasi-random sequence come from one seed; only its choices are drawn one by one.
        arguments = (
            {"independent_sampler": RandomSampler(seed=seed)}
            if name == "QMCSampler"
            else {"seed": seed}
        )
    return _build("sampler", options, optuna.samplers, BaseSampler, arguments)


def build_pruner(options: Mapping[str, Any] | None) -> BasePruner:
    """The pruner; one that never prunes for None."""
    return (
        NopPruner()
        if options is None
        else _build("pruner", options, optuna.pruners, BasePruner, {})
    )


def _build(
    option: str, options: Any, module: Any, base: type, arguments: dict[str, Any]
) -> Any:
    """An object of one of the classes that `module` offers, and of no other."""
    _check(
        option,
        isinstance(options, Mapping),
        f"a mapping with _target_: {module.__name__}.NAME",
        options,
    )
    _check_targets(option, options, module, base)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return instantiate(dict(options), **arguments, _convert_="all")


def _check_targets(option: str, options: Any, module: Any, base: type) -> None:
    offered = [getattr(module, name) for name in module.__all__]
    known = [
        f"{module.__name__}.{one.__name__}"
        for one in offered
        if isinstance(one, type) and issubclass(one, base)
    ]
    target = options.get("_target_")
    if target not in known:
        hint = did_you_mean(target, known) or f"; there are {', '.join(known)}"
        raise ValueError(
            f"hydra.sweeper.{option}._target_ must be a class of {module.__name__}, got {target!r}{hint}"
        )
    for value in options.values():
        if (
            isinstance(value, Mapping) and "_target_" in value
        ):  # one that wraps another, such as PatientPruner
            _check_targets(option, value, module, base)


def resolve_metric(options: Options, config: Mapping[str, Any]) -> tuple[str, str]:
    """The validation metric of a search and its direction.

    Args:
        options: may leave both open: the metric is then the one that picks the best epoch, the direction its own.
        config: resolved.

    Raises:
        ValueError: a metric that no run has, or one that must not be tuned on.
    """
    known = [f"val/{name}" for name in METRICS[config["dataset"]["task"]]]
    metric = options.metric or config["trainer"]["monitor"] or known[0]
    if str(metric).startswith("test/"):
        raise ValueError(
            f"hydra.sweeper.metric must be a validation metric, got {metric!r}: "
            f"test data that chose the settings could not judge them any more; use one of {', '.join(known)}"
        )
    if metric not in known:
        key = "hydra.sweeper.metric" if options.metric else "trainer.monitor"
        raise ValueError(
            f"{key} must be null or one of {', '.join(known)}, got {metric!r}"
        )
    natural = "maximize" if higher_is_better(metric) else "minimize"
    return metric, options.direction or natural


def worst_value(metric: str, direction: str) -> float:
    """What a diverged run counts as: an accuracy of 0, else infinity on the wrong side."""
    if direction == "minimize":
        return math.inf
    return 0.0 if metric.endswith("accuracy") else -math.inf
