"""The jobs of a sweep before they run: their combinations, configurations, folders, and what is done already."""

import statistics
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from normlab.config.identity import run_folder
from normlab.results import read_result
from normlab.training.experiment import stored_result


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
        if (
            result := stored_result(self.folder, self.config | {"retry": None})
        ) is not None:
            return "failed" if result["status"] == "failed" else "done"
        started = not self.config["rerun"] and any(
            (self.folder / "checkpoints").glob("*.ckpt")
        )
        return "interrupted" if started else "new"


def seconds_left(
    plans: Sequence[Plan], workers: int = 1
) -> tuple[float | None, list[str]]:
    """What the jobs without a result will take, by the mean of the finished runs of their group.

    Returns:
        seconds for the jobs whose group has a finished run (None where no group has), and the groups that have none.
    """
    waiting = [plan for plan in plans if plan.stored is None]
    folders = {plan.folder.parent for plan in waiting}
    means = {
        folder: mean
        for folder in folders
        if (mean := _mean_seconds(folder)) is not None
    }
    known = [
        means[plan.folder.parent] for plan in waiting if plan.folder.parent in means
    ]
    unknown = sorted(folder.name for folder in folders - set(means))
    return (sum(known) / max(1, min(workers, len(known))) if known else None), unknown


def _mean_seconds(folder: Path) -> float | None:
    seconds = []
    for path in folder.glob("*/result.json"):
        with suppress(ValueError):  # a damaged result is none
            result = read_result(path.parent)
            seconds += [result["seconds"]] if result["status"] == "finished" else []
    return statistics.fmean(seconds) if seconds else None


@dataclass(frozen=True)
class Job:
    """One job of a sweep.

    Attributes:
        overrides: `key=value`, as Hydra ran it.
        result: what `normlab.training.experiment.run` returned.
        folder: of the run.
    """

    overrides: tuple[str, ...]
    result: dict
    folder: Path | None = None

    @property
    def settings(self) -> dict[str, str]:
        """The overrides by key."""
        return settings_of(self.overrides)

    def failure(self, keys: Sequence[str]) -> str:
        """Which job it is among those that differ in `keys`, why it failed, and where its traceback is."""
        settings = " ".join(
            f"{key}={self.settings[key]}" for key in keys if key in self.settings
        )
        stored = (
            self.folder is not None and "run" in self.result
        )  # others have not got as far as to have a folder
        where = f"; see {self.folder / 'traceback.txt'}" if stored else ""
        return f"{settings or ' '.join(self.overrides)}: {self.result['reason']}{where}"


def settings_of(overrides: Sequence[str]) -> dict[str, str]:
    """Values by key; a deletion (`~key`) has none."""
    return {
        key: value
        for key, _, value in (override.partition("=") for override in overrides)
    }


def failed_result(reason: str) -> dict:
    """A result for a job that ended without one."""
    return {"status": "failed", "reason": reason, "metrics": {}, "seconds": 0.0}


def varied_keys(jobs: Sequence[Any]) -> list[str]:
    """Keys that do not have the same value in all jobs (or plans): all that tells them apart."""
    keys = list(dict.fromkeys(key for job in jobs for key in job.settings))
    return [key for key in keys if len({job.settings.get(key) for job in jobs}) > 1]


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """What a key is called on the screen: `lr` for `optimizer.lr`, unless another key ends alike."""
    last = {key: key.lstrip("+~").rpartition(".")[2] for key in keys}
    count = Counter(last.values())
    return {key: name if count[name] == 1 else key for key, name in last.items()}


def shown_settings(job: Any, keys: Sequence[str]) -> str:
    """`norm=custom lr=0.1 seed=0`: the settings of a job, or plan, that `keys` name."""
    names = short_names(keys)
    return " ".join(
        f"{names[key]}={job.settings[key]}" for key in keys if key in job.settings
    )


def over_seeds(
    jobs: Sequence[Job], metric: str
) -> list[tuple[dict[str, str], list[float]]]:
    """The finished jobs' metric, grouped by everything that varies except the seed."""
    keys = [key for key in varied_keys(jobs) if key != "seed"]
    groups: dict[tuple, list[float]] = {}
    for job in jobs:
        values = groups.setdefault(tuple(job.settings.get(key, "") for key in keys), [])
        if job.result["status"] == "finished" and metric in job.result["metrics"]:
            values.append(job.result["metrics"][metric])
    return [
        (dict(zip(keys, group, strict=True)), values)
        for group, values in groups.items()
    ]
