"""The jobs of a sweep: those that are to run, and those that have ended."""

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from normlab.config.identity import run_folder
from normlab.results import read_result
from normlab.training import experiment


@dataclass(frozen=True)
class Job:
    """A job that is to run.

    Attributes:
        overrides: `key=value` strings, as Hydra runs the job.
        config: the configuration of the job, resolved and checked.
    """

    overrides: tuple[str, ...]
    config: dict[str, Any]

    @property
    def settings(self) -> dict[str, str]:
        """The values of the overrides by key."""
        return _values_by_key(self.overrides)

    @cached_property
    def folder(self) -> Path:
        """The folder of the run, whether it exists yet or not."""
        return run_folder(self.config)

    @property
    def stored_result(self) -> dict[str, Any] | None:
        """The result that the job returns without training; None if it must train."""
        return experiment.stored_result(self.folder, self.config)

    @property
    def state(self) -> str:
        """One of `done`, `failed`, `interrupted` and `new`."""
        # A failed run counts as failed even if `retry=failed` is about to repeat it.
        config = self.config | {"retry": None}
        result = experiment.stored_result(self.folder, config)
        if result is not None and result["status"] == "failed":
            return "failed"
        if result is not None:
            return "done"
        checkpoints = self.folder / "checkpoints"
        is_begun = any(checkpoints.glob("*.ckpt"))
        if is_begun and not self.config["rerun"]:
            return "interrupted"
        return "new"


@dataclass(frozen=True)
class EndedJob:
    """A job that has ended.

    Attributes:
        overrides: `key=value` strings, as Hydra ran the job.
        result: what `normlab.training.experiment.run` returned, or `failed_result`.
        folder: the folder of the run; None if it is not known.
    """

    overrides: tuple[str, ...]
    result: dict[str, Any]
    folder: Path | None = None

    @property
    def settings(self) -> dict[str, str]:
        """The values of the overrides by key."""
        return _values_by_key(self.overrides)

    def failure(self, keys: Sequence[str]) -> str:
        """Say which job failed, why, and where its traceback is.

        Args:
            keys: the settings that name the job. If it has none of them, all its
                overrides are shown.
        """
        full_names = dict(zip(keys, keys, strict=True))
        named = _overrides_of(self, full_names)
        name = " ".join(named or self.overrides)
        failure = f"{name}: {self.result['reason']}"
        # A result does not name its run if the job failed before it had a folder.
        if self.folder is None or "run" not in self.result:
            return failure
        traceback = self.folder / "traceback.txt"
        return f"{failure}; see {traceback}"


AnyJob = Job | EndedJob


def failed_result(reason: str) -> dict[str, Any]:
    """The result of a job that ended without one.

    Args:
        reason: why it failed, in a line or two.
    """
    return {"status": "failed", "reason": reason, "metrics": {}, "seconds": 0.0}


def refuse_dry_run(config: Mapping[str, Any]) -> None:
    """Refuse `dry_run=true` in a call from Python, which has no run to return.

    Args:
        config: a resolved configuration.

    Raises:
        ValueError: it asks for a dry run.
    """
    if config["dry_run"]:
        raise ValueError("dry_run=true is for the command line; leave it out")


def estimate_seconds(
    jobs: Sequence[Job], workers: int = 1
) -> tuple[float | None, list[str]]:
    """Estimate how long the jobs without a result will take.

    Each is expected to take the mean time of the finished runs of its group.

    Args:
        jobs: all jobs of a sweep.
        workers: how many jobs run at the same time.

    Returns:
        the seconds for the jobs whose group has a finished run (None if no group has
        one), and the names of the groups without a finished run.
    """
    means: dict[Path, float | None] = {}
    unknown = set()
    expected = []
    for job in jobs:
        if job.stored_result is not None:
            continue
        group = job.folder.parent
        if group not in means:
            means[group] = _mean_seconds(group)
        mean = means[group]
        if mean is None:
            unknown.add(group)
        else:
            expected.append(mean)

    names = sorted(group.name for group in unknown)
    if not expected:
        return None, names
    busy_workers = min(workers, len(expected))
    return sum(expected) / busy_workers, names


def _mean_seconds(group: Path) -> float | None:
    """Mean training time of the finished runs in the folder of a group."""
    seconds = []
    for path in group.glob("*/result.json"):
        try:
            result = read_result(path.parent)
        except ValueError:
            continue  # a damaged result is as good as none
        if result is not None and result["status"] == "finished":
            seconds.append(result["seconds"])
    return statistics.fmean(seconds) if seconds else None


def varied_keys(jobs: Sequence[AnyJob]) -> list[str]:
    """The keys whose value differs between jobs, in the order of the overrides."""
    settings = [job.settings for job in jobs]
    values_of: dict[str, set[str | None]] = {}
    for chosen in settings:
        for key in chosen:
            values_of.setdefault(key, set())
    varied = []
    for key, values in values_of.items():
        for chosen in settings:
            values.add(chosen.get(key))
        if len(values) > 1:
            varied.append(key)
    return varied


def arm_keys(jobs: Sequence[AnyJob]) -> list[str]:
    """The keys that tell the arms of a sweep apart: all that vary, except the seed."""
    return [key for key in varied_keys(jobs) if key != "seed"]


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """What each key is called on the screen.

    `optimizer.lr` is called `lr`, unless another key has the same last part.
    """
    last_parts = {}
    for key in keys:
        plain = key.lstrip("+~")
        _, _, last_part = plain.rpartition(".")
        last_parts[key] = last_part
    count = Counter(last_parts.values())
    names = {}
    for key, last_part in last_parts.items():
        names[key] = key
        if count[last_part] == 1:
            names[key] = last_part
    return names


def format_settings(job: AnyJob, keys: Sequence[str]) -> str:
    """The settings of a job that `keys` name: `norm=custom lr=0.1 seed=0`."""
    names = short_names(keys)
    return " ".join(_overrides_of(job, names))


def _overrides_of(job: AnyJob, names: Mapping[str, str]) -> list[str]:
    """`name=value` for every key of `names` that the job sets."""
    settings = job.settings
    overrides = []
    for key, name in names.items():
        if key in settings:
            value = settings[key]
            overrides.append(f"{name}={value}")
    return overrides


def values_by_arm(
    jobs: Sequence[EndedJob], metric: str
) -> list[tuple[dict[str, str], list[float]]]:
    """Gather the values of a metric over the seeds.

    Args:
        jobs: all jobs of a sweep.
        metric: the name of the metric, such as `test/accuracy`.

    Returns:
        one entry per arm: the settings that it does not share with all others, without
        the seed, and the finite values of its finished jobs.
    """
    keys = arm_keys(jobs)
    arms: dict[tuple[str, ...], list[float]] = {}
    for job in jobs:
        chosen = job.settings
        arm = tuple(chosen.get(key, "") for key in keys)
        values = arms.setdefault(arm, [])
        # Of a metric that is not finite, a stored result has None.
        value = job.result["metrics"].get(metric)
        is_finished = job.result["status"] == "finished"
        if is_finished and value is not None and math.isfinite(value):
            values.append(value)
    by_arm = []
    for arm, values in arms.items():
        settings = dict(zip(keys, arm, strict=True))
        by_arm.append((settings, values))
    return by_arm


def _values_by_key(overrides: Sequence[str]) -> dict[str, str]:
    """The values of overrides by key; a deletion (`~key`) has an empty one."""
    values = {}
    for override in overrides:
        key, _, value = override.partition("=")
        values[key] = value
    return values
