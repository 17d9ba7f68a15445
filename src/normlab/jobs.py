"""The jobs of a sweep before they run: their combinations, configurations, folders, and what is done already."""

import copy
import statistics
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict

from normlab.config import check, check_hydra, check_trust, run_folder
from normlab.experiment import stored_result
from normlab.results import read_result
from normlab.sweeps import settings_of


@dataclass(frozen=True)
class Plan:
    """A job that nobody has run yet.

    Attributes:
        overrides: `key=value`, as Hydra runs it.
        config: resolved and checked.
    """

    overrides: tuple[str, ...]
    config: dict

    @property
    def settings(self) -> dict[str, str]:
        """The overrides by key."""
        return settings_of(self.overrides)

    @property
    def folder(self) -> Path:
        """Where the run is, or will be."""
        return run_folder(self.config)

    @property
    def stored(self) -> dict | None:
        """The result that the job will return without training, if there is one."""
        return stored_result(self.folder, self.config)

    @property
    def state(self) -> str:
        """`done`, `failed`, `interrupted` or `new`."""
        if (result := stored_result(self.folder, self.config | {"retry": None})) is not None:
            return "failed" if result["status"] == "failed" else "done"
        started = not self.config["rerun"] and any((self.folder / "checkpoints").glob("*.ckpt"))
        return "interrupted" if started else "new"


def combinations(
    overrides: Sequence[Override], together: Sequence[Sequence[str]], excluded: Sequence[Mapping[str, Any]]
) -> tuple[list[list[str]], int]:
    """Every combination of the overrides' values.

    Args:
        overrides: parsed; of two for the same key the later one holds.
        together: groups of keys whose values advance together instead of being combined.
        excluded: partial settings; a combination that has all of one is left out.

    Returns:
        `key=value` of every job, and how many combinations were left out.

    Raises:
        ValueError: a key that the sweep does not set, unequal lengths, or nothing left.
    """
    axes = {override.get_key_element(): _words(override) for override in overrides}
    jobs = [[word for words in job for word in words] for job in product(*_joined(axes, together))]
    patterns = _patterns(excluded, axes)
    kept = [job for job in jobs if not any(_matches(job, pattern) for pattern in patterns)]
    if not kept:
        raise ValueError(f"hydra.sweeper.exclude must leave a job, it leaves none of {len(jobs)}")
    return kept, len(jobs) - len(kept)


def _words(override: Override) -> list[str]:
    if override.is_sweep_override() and not override.is_discrete_sweep():
        raise ValueError(
            f"{override.input_line} has no values to list: name them (0.1,0.01), or search with hydra/sweeper=optuna"
        )
    return [word for (word,) in BasicSweeper.split_arguments([override], None)[0]]


def _joined(axes: Mapping[str, list[str]], together: Sequence[Sequence[str]]) -> list[list[tuple[str, ...]]]:
    """The axes to combine; keys that advance together are one axis, where the first of them stands."""
    group_of: dict[str, Sequence[str]] = {}
    for names in together:
        if isinstance(names, str):
            raise ValueError(f"hydra.sweeper.zip must be a list of lists of keys, got {names!r} in it")
        group = [_axis("hydra.sweeper.zip", name, axes) for name in names]
        for key in group:
            if key in group_of:
                raise ValueError(f"hydra.sweeper.zip must name a key once, {key!r} came twice")
            group_of[key] = group
            if len(axes[key]) != len(axes[group[0]]):
                raise ValueError(
                    f"hydra.sweeper.zip needs lists of equal length: {group[0]} has {len(axes[group[0]])} values, "
                    f"{key} has {len(axes[key])}"
                )
    joined = []
    for key in axes:
        group = group_of.get(key, [key])
        if key == min(group, key=list(axes).index):
            joined.append(list(zip(*(axes[member] for member in group), strict=True)))
    return joined


def _patterns(excluded: Sequence[Mapping[str, Any]], axes: Mapping[str, list[str]]) -> list[dict[str, Any]]:
    for pattern in excluded:
        if not isinstance(pattern, Mapping) or not pattern:
            raise ValueError(f"hydra.sweeper.exclude must be a list of {{key: value}}, got {pattern!r} in it")
    return [
        {_axis("hydra.sweeper.exclude", key, axes): value for key, value in pattern.items()} for pattern in excluded
    ]


def _axis(option: str, key: str, axes: Mapping[str, Any]) -> str:
    """The key as the sweep sets it, be it with Hydra's `+` or without."""
    for name in (key, f"+{key}", f"++{key}"):
        if name in axes:
            return name
    near = get_close_matches(key, axes, n=1)
    hint = f", did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{option} names {key!r}, which this sweep does not set{hint}; it sets {', '.join(axes)}")


def _matches(job: Sequence[str], pattern: Mapping[str, Any]) -> bool:
    words = {word.split("=", 1)[0]: word for word in job}
    return all(_value(words[key]) == value for key, value in pattern.items())


def _value(word: str) -> Any:
    """The value of `key=value` as YAML would have it, so that `1.0` equals `1`."""
    return _parsed(word).value()


@cache
def _parsed(word: str) -> Override:
    return OverridesParser.create().parse_override(word)


class Composer:
    """Overrides to the resolved and checked configuration of a job.

    Jobs that pick the same options share one composition by Hydra, the slow part: only the values differ.

    Args:
        config_loader: Hydra's.
        master: the configuration that the sweep was started with.
    """

    def __init__(self, config_loader: Any, master: DictConfig) -> None:
        self.config_loader, self.master = config_loader, master
        self.bases: dict[tuple[str, ...], DictConfig] = {}

    def __call__(self, overrides: Sequence[str]) -> dict:
        """Raises ValueError or HydraException for the user's mistake."""
        parsed = [_parsed(word) for word in overrides]
        values = [override for override in parsed if self._is_value(override)]
        base = self._base(tuple(override.input_line for override in parsed if override not in values))
        config = copy.deepcopy(base)
        ConfigLoaderImpl._apply_overrides_to_config(values, config)
        config.hydra.overrides.task = list(overrides)
        names = config.hydra.job.config.override_dirname
        config.hydra.job.override_dirname = get_overrides_dirname(parsed, **names)
        plain = _resolved(config)
        check(plain)
        check_trust(plain, self.master.hydra.overrides.task)  # as typed: a file may add overrides too
        return plain

    def _is_value(self, override: Override) -> bool:
        """Whether Hydra would apply it after all options are picked; where in doubt, not."""
        key = override.get_key_element()
        if key[0] in "+~" or "/" in key or "@" in key or key.split(".")[0] == "hydra":
            return False
        return not (key in self.master.hydra.runtime.choices or self.config_loader.repository.group_exists(key))

    def _base(self, picks: tuple[str, ...]) -> DictConfig:
        if picks not in self.bases:
            self.bases[picks] = self.config_loader.load_sweep_config(self.master, list(picks))
        return self.bases[picks]


def composed(config_loader: Any, master: DictConfig, overrides: Sequence[str]) -> dict:
    """One job's resolved and checked configuration, see `Composer`, which is faster for many."""
    return Composer(config_loader, master)(overrides)


def _resolved(config: DictConfig) -> dict:
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(config)  # `choices` interpolates what was picked
    try:
        check_hydra(OmegaConf.to_container(config.hydra, resolve=False))
        with open_dict(config):
            del config["hydra"]
        return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    finally:
        HydraConfig.instance().cfg = before


def seconds_left(plans: Sequence[Plan], workers: int = 1) -> tuple[float | None, list[str]]:
    """What the jobs without a result will take, by the mean of the finished runs of their group.

    Returns:
        seconds for the jobs whose group has a finished run (None where no group has), and the groups that have none.
    """
    waiting = [plan for plan in plans if plan.stored is None]
    folders = {plan.folder.parent for plan in waiting}
    means = {folder: mean for folder in folders if (mean := _mean_seconds(folder)) is not None}
    known = [means[plan.folder.parent] for plan in waiting if plan.folder.parent in means]
    unknown = sorted(folder.name for folder in folders - set(means))
    return (sum(known) / max(1, min(workers, len(known))) if known else None), unknown


def _mean_seconds(folder: Path) -> float | None:
    seconds = []
    for path in folder.glob("*/result.json"):
        with suppress(ValueError):  # a damaged result is none
            result = read_result(path.parent)
            seconds += [result["seconds"]] if result["status"] == "finished" else []
    return statistics.fmean(seconds) if seconds else None
