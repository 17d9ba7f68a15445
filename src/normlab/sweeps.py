"""A sweep as a list of jobs and results, and how it is shown."""

import math
import statistics
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

from normlab.terminal import STATUS_STYLE

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


def print_job(job: Job, number: int, total: int, seconds: float, keys: list[str]) -> None:
    """One line when a job ends: the settings that vary, and the time that the rest will take at this pace."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    status, metrics = job.result["status"], job.result["metrics"]
    shown = "  ".join(f"{name} {metrics[name]:.4f}" for name in SHOWN_METRICS if metrics.get(name) is not None)
    left = seconds / number * (total - number)
    settings = " ".join(f"{key}={job.settings[key]}" for key in keys if key in job.settings)
    text = f"{number:>{len(str(total))}}/{total}  {settings}  [{STATUS_STYLE[status]}]{status}[/]  {shown}"
    reason = f"  {job.result['reason']}" if job.result.get("reason") else ""
    console.print(f"{text}{reason}  [dim]{left:.0f} s left[/dim]" if number < total else f"{text}{reason}")


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
            console.print(f"[red]failed[/red]  {' '.join(job.overrides)}: {job.result['reason']}", soft_wrap=True)


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
