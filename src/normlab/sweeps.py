"""A sweep as a list of jobs and results, and how it is shown."""

import math
import statistics
import sys
import time
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from normlab.terminal import STATUS_STYLE, progress_bar

SHOWN_METRICS = ("val/accuracy", "test/accuracy", "val/rmse", "test/rmse")


@dataclass(frozen=True)
class Job:
    """One job of a sweep.

    Attributes:
        overrides: `key=value`, as Hydra ran it.
        result: what `normlab.experiment.run` returned.
    """

    overrides: tuple[str, ...]
    result: dict

    @property
    def settings(self) -> dict[str, str]:
        """The overrides by key."""
        return dict(override.split("=", 1) for override in self.overrides)


def failed_result(reason: str) -> dict:
    """A result for a job that ended without one."""
    return {"status": "failed", "reason": reason, "metrics": {}, "seconds": 0.0}


def varied_keys(jobs: list[Job]) -> list[str]:
    """Keys that do not have the same value in all jobs: all that tells them apart."""
    keys = list(dict.fromkeys(key for job in jobs for key in job.settings))
    return [key for key in keys if len({job.settings.get(key) for job in jobs}) > 1]


def over_seeds(jobs: list[Job], metric: str) -> list[tuple[dict[str, str], list[float]]]:
    """The finished jobs' metric, grouped by everything that varies except the seed."""
    keys = [key for key in varied_keys(jobs) if key != "seed"]
    groups: dict[tuple, list[float]] = {}
    for job in jobs:
        values = groups.setdefault(tuple(job.settings.get(key, "") for key in keys), [])
        if job.result["status"] == "finished" and metric in job.result["metrics"]:
            values.append(job.result["metrics"][metric])
    return [(dict(zip(keys, group, strict=True)), values) for group, values in groups.items()]


class SweepProgress:
    """A line for every job when it ends, and on a terminal a bar over all of them.

    Args:
        keys: settings that vary, see `varied_keys`.
        total: jobs of the sweep.
        stored: how many of them have a result already; they cost no time.
    """

    def __init__(self, keys: list[str], total: int, stored: int) -> None:
        self.keys, self.total, self.to_train = keys, total, total - stored
        self.ended = self.trained = self.failed = 0
        self.started = time.monotonic()
        self.bar = None

    def __enter__(self) -> "SweepProgress":
        if sys.stderr.isatty():
            self.bar = progress_bar()
            self.line = self.bar.add_task("sweep", total=self.total)
            self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def end(self, job: Job, was_stored: bool = False) -> None:
        """Count a job that has ended and print its line."""
        self.ended += 1
        self.trained += not was_stored
        self.failed += job.result["status"] == "failed"
        console = self.bar.console if self.bar else Console(stderr=True)
        left = seconds_to_go(time.monotonic() - self.started, self.trained, self.to_train)
        console.print(job_line(job, self.ended, self.total, left, self.keys), highlight=False, soft_wrap=True)
        if self.bar is not None:
            failed = f", {self.failed} failed" if self.failed else ""
            self.bar.update(self.line, advance=1, description=f"sweep{failed}")


def seconds_to_go(seconds: float, done: int, total: int) -> float | None:
    """Time left at the pace so far: 0 when all are done, None before the first has ended."""
    if done >= total:
        return 0.0
    return seconds / done * (total - done) if done else None


def job_line(job: Job, number: int, total: int, left: float | None, keys: list[str]) -> str:
    """`3/24  norm=custom seed=0  finished  test/accuracy 0.9700  40 s left`, with rich's marks."""
    status, metrics = job.result["status"], job.result["metrics"]
    words = [f"{number:>{len(str(total))}}/{total}"]
    words.append(escape(" ".join(f"{key}={job.settings[key]}" for key in keys if key in job.settings)))
    words.append(f"[{STATUS_STYLE[status]}]{status}[/]")
    words += [f"{name} {metrics[name]:.4f}" for name in SHOWN_METRICS if metrics.get(name) is not None]
    if job.result.get("reason"):
        words.append(escape(job.result["reason"]))
    if number < total and left:
        words.append(f"[dim]{duration(left)} left[/dim]")
    return "  ".join(word for word in words if word)


def duration(seconds: float) -> str:
    """`45 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


STATES = ("done", "interrupted", "failed", "new")


def print_plans(plans: list, workers: int = 1, excluded: int = 0) -> None:
    """What a command would run, what of it is done, where it is, and how long the rest would take."""
    from normlab.jobs import seconds_left

    console = Console(highlight=False)
    states = [plan.state for plan in plans]
    counts = ", ".join(f"{states.count(state)} {state}" for state in STATES if state in states)
    left_out = f"; {excluded} excluded" if excluded else ""
    console.print(f"{len(plans)} {'run' if len(plans) == 1 else 'runs'}: {counts}{left_out}")
    keys = varied_keys(plans)
    settings = [" ".join(f"{key}={plan.settings[key]}" for key in keys if key in plan.settings) for plan in plans]
    width = max(len(text) for text in settings)
    for number, (plan, state, text) in enumerate(zip(plans, states, settings, strict=True), 1):
        line = f"{number:>{len(str(len(plans)))}}  {text:<{width}}  {state:<11}  {plan.folder}"
        console.print(line, soft_wrap=True, markup=False)
    seconds, unknown = seconds_left(plans, workers)
    console.print(_estimate(seconds, unknown, workers), soft_wrap=True, markup=False)


def _estimate(seconds: float | None, unknown: list[str], workers: int) -> str:
    where = f" on {workers} workers" if workers > 1 else ""
    missing = f"no estimate yet for {', '.join(unknown)}, where no run has finished" if unknown else ""
    if seconds is None:
        return missing or "nothing left to train"
    known = f"about {duration(seconds)} left{where}, by the runs that have finished"
    return f"{known}; {missing}" if missing else known


def print_summary(jobs: list[Job]) -> None:
    """Every job in a table, means over seeds where there are several, and the failed ones by name."""
    console = Console(highlight=False)
    metrics = [name for name in SHOWN_METRICS if any(job.result["metrics"].get(name) is not None for job in jobs)]
    console.print()
    console.print(_jobs_table(jobs, metrics))
    if "seed" in varied_keys(jobs) and metrics:
        console.print(_seeds_table(jobs, metrics[-1]))
    for job in jobs:
        if job.result["status"] == "failed":
            text = escape(f"{' '.join(job.overrides)}: {job.result['reason']}")
            console.print(f"[red]failed[/red]  {text}", soft_wrap=True)


def _jobs_table(jobs: list[Job], metrics: list[str]) -> Table:
    keys = varied_keys(jobs)
    table = Table(box=box.SIMPLE_HEAD, title=f"{len(jobs)} runs", title_justify="left", title_style="bold")
    for key in keys:
        table.add_column(key)
    table.add_column("status")
    for metric in metrics:
        table.add_column(metric, justify="right")
    table.add_column("seconds", justify="right")
    for job in jobs:
        status, values = job.result["status"], job.result["metrics"]
        shown = [f"{values[name]:.4f}" if values.get(name) is not None else "–" for name in metrics]
        settings = [job.settings.get(key, "") for key in keys]
        table.add_row(*settings, f"[{STATUS_STYLE[status]}]{status}[/]", *shown, f"{job.result['seconds']:.1f}")
    return table


def _seeds_table(jobs: list[Job], metric: str) -> Table:
    groups = over_seeds(jobs, metric)
    table = Table(box=box.SIMPLE_HEAD, title=f"{metric} over seeds", title_justify="left", title_style="bold")
    for key in groups[0][0]:
        table.add_column(key)
    for name in ("n", "mean", "SD", "min", "max"):
        table.add_column(name, justify="right")
    for settings, values in groups:
        mean = statistics.fmean(values) if values else math.nan
        spread = f"{statistics.stdev(values):.4f}" if len(values) > 1 else "–"
        numbers = [f"{mean:.4f}", spread, f"{min(values):.4f}", f"{max(values):.4f}"] if values else ["–"] * 4
        table.add_row(*settings.values(), str(len(values)), *numbers)
    return table
