"""A sweep as a list of jobs and results, and how it is shown."""

import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from normlab.sweeps.jobs import (
    Job,
    over_seeds,
    short_names,
    shown_settings,
    varied_keys,
)
from normlab.terminal import STATUS_STYLE, print_cautions, some

SHOWN_METRICS = ("val/accuracy", "test/accuracy", "val/rmse", "test/rmse")
STATES = ("done", "interrupted", "failed", "new")
MOST_NAMED = 5  # arms in front of a caution


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
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
            )
            console = Console(stderr=True)
            self.bar = Progress(
                *columns,
                TextColumn("[dim]{task.fields[left]}"),
                console=console,
                transient=True,
            )
            self.line = self.bar.add_task("sweep", total=self.total, left="")
            self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def end(self, job: Job, was_stored: bool = False) -> None:
        """Count a job that has ended and print its line."""
        self.ended += 1
        self.failed += job.result["status"] == "failed"
        left = self._left(job, was_stored)
        line = job_line(job, self.ended, self.total, self.keys)
        if self.bar is None:
            left = f"  {left}" if left else ""
            Console(stderr=True).print(f"{line}{left}", highlight=False, soft_wrap=True)
            return
        self.bar.console.print(line, highlight=False)
        failed = f", [red]{self.failed} failed[/red]" if self.failed else ""
        self.bar.update(self.line, advance=1, description=f"sweep{failed}", left=left)

    def _left(self, job: Job, was_stored: bool) -> str:
        now = time.monotonic()
        self.trained += not was_stored
        if (
            self.trained == 1 and not was_stored
        ):  # the imports before it say nothing of the rest
            self.started = max(self.started, now - job.result["seconds"])
        left = seconds_to_go(now - self.started, self.trained, self.to_train)
        return f"{duration(left)} left" if left and left >= 1 else ""


def seconds_to_go(seconds: float, done: int, total: int) -> float | None:
    """Time left at the pace so far: 0 when all are done, None before the first has ended."""
    if done >= total:
        return 0.0
    return seconds / done * (total - done) if done else None


def job_line(job: Job, number: int, total: int, keys: list[str]) -> str:
    """`3/24  norm=custom seed=0  finished  test/accuracy 0.9700`, with rich's marks."""
    status, metrics = job.result["status"], job.result["metrics"]
    words = [f"{number:>{len(str(total))}}/{total}", escape(shown_settings(job, keys))]
    words.append(f"[{STATUS_STYLE[status]}]{status}[/]")
    shown = [
        f"{name} {metrics[name]:.4f}"
        for name in SHOWN_METRICS
        if metrics.get(name) is not None
    ]
    words += shown[-1:]
    words.append(escape(job.result.get("reason") or ""))
    return "  ".join(word for word in words if word)


def duration(seconds: float) -> str:
    """`45 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes} min {rest} s"
        if minutes < 120
        else f"{minutes // 60} h {minutes % 60} min"
    )


def print_plans(plans: Sequence[Any], workers: int = 1, excluded: int = 0) -> None:
    """What a command would run, what of it is done, where it is, and how long the rest would take."""
    from normlab.sweeps.jobs import seconds_left

    console = _console()
    states = [plan.state for plan in plans]
    counts = ", ".join(
        f"{states.count(state)} {state}" for state in STATES if state in states
    )
    left_out = f"; {excluded} excluded" if excluded else ""
    console.print(
        f"{len(plans)} {'run' if len(plans) == 1 else 'runs'}: {counts}{left_out}"
    )
    keys = varied_keys(plans)
    settings = [shown_settings(plan, keys) for plan in plans]
    width, digits = max(map(len, settings)), len(str(len(plans)))
    for number, (plan, state, text) in enumerate(
        zip(plans, states, settings, strict=True), 1
    ):
        words = [
            f"{number:>{digits}}",
            *([f"{text:<{width}}"] if width else []),
            f"{state:<11}",
            str(plan.folder),
        ]
        console.print("  ".join(words), soft_wrap=True, markup=False)
    seconds, unknown = seconds_left(plans, workers)
    console.print(_estimate(seconds, unknown, workers), soft_wrap=True, markup=False)


def _estimate(seconds: float | None, unknown: list[str], workers: int) -> str:
    where = f" on {workers} workers" if workers > 1 else ""
    missing = (
        f"no estimate for {', '.join(unknown)}, where no run has finished yet"
        if unknown
        else ""
    )
    if seconds is None:
        return missing or "nothing left to train"
    known = f"about {duration(seconds)} left{where}, by the runs that have finished"
    return f"{known}; {missing}" if missing else known


def print_summary(jobs: Sequence[Job]) -> None:
    """Every job in a table, means over seeds where there are several, and the failed ones by name."""
    console = _console()
    metrics = [
        name
        for name in SHOWN_METRICS
        if any(job.result["metrics"].get(name) is not None for job in jobs)
    ]
    console.print()
    console.print(_jobs_table(jobs, metrics))
    if "seed" in varied_keys(jobs):
        for metric in metrics:
            if metric.startswith("test/"):
                console.print(_seeds_table(jobs, metric))
    for job in jobs:
        if job.result["status"] == "failed":
            failure = escape(job.failure(varied_keys(jobs)))
            console.print(
                f"[red]failed[/red]  {failure}", soft_wrap=not console.is_terminal
            )
    print_cautions(console, _cautions(jobs))
    for text in _start_warnings(jobs):
        console.print(
            f"[yellow]warning[/yellow]  {escape(text)}",
            soft_wrap=not console.is_terminal,
        )


def _cautions(jobs: Sequence[Job]) -> list[str]:
    """What runs were cautioned of, each once, behind the arms that it is about where it is not about all."""
    keys = [key for key in varied_keys(jobs) if key != "seed"]
    arms: dict[str, dict[str, None]] = {}
    for job in jobs:
        for text in job.result.get("cautions", []):
            arms.setdefault(text, {})[shown_settings(job, keys)] = None
    every = {shown_settings(job, keys) for job in jobs}
    return [
        text if len(about) == len(every) else f"{some(list(about), MOST_NAMED)}: {text}"
        for text, about in arms.items()
    ]


def _start_warnings(jobs: Sequence[Job]) -> list[str]:
    """Arms that start from other networks outside of the norm."""
    keys = {key: key.lstrip("+~") for key in varied_keys(jobs)}
    results = [job.result for job in jobs]
    starts = {
        (
            job.settings.get("seed"),
            found["initial_weights"],
            found["num_parameters"] - found["num_norm_parameters"],
        )
        for job, found in zip(jobs, results, strict=True)
        if {"initial_weights", "num_parameters", "num_norm_parameters"} <= found.keys()
    }
    alike = len(starts) == len({seed for seed, *_ in starts})
    if alike or not any(key.partition(".")[0] == "norm" for key in keys.values()):
        return []
    from normlab.compare.fairness import start_warnings  # takes pandas, half a second

    settings = [
        {name: job.settings[key] for key, name in keys.items() if key in job.settings}
        for job in jobs
    ]
    return start_warnings(settings, results)


def _console() -> Console:
    """Standard output; what goes into a file is not cut to the width of a terminal."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 1000)


def _table(title: str, keys: Sequence[str]) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold"
    )
    for name in short_names(keys).values():
        table.add_column(name, overflow="fold")
    return table


def _jobs_table(jobs: Sequence[Job], metrics: list[str]) -> Table:
    keys, states = varied_keys(jobs), Counter(job.result["status"] for job in jobs)
    counts = ", ".join(
        f"{states[status]} {status}" for status in STATUS_STYLE if states[status]
    )
    table = _table(f"{len(jobs)} {'run' if len(jobs) == 1 else 'runs'}: {counts}", keys)
    table.add_column("status")
    parameters = [job.result.get("num_parameters") for job in jobs]
    differ = len({number for number in parameters if number is not None}) > 1
    for name in [*metrics, *(["parameters"] if differ else []), "seconds"]:
        table.add_column(name.replace("/", "/\n"), justify="right")
    for job, number in zip(jobs, parameters, strict=True):
        status, values, seconds = (
            job.result["status"],
            job.result["metrics"],
            job.result["seconds"],
        )
        shown = [
            f"{values[name]:.4f}" if values.get(name) is not None else "–"
            for name in metrics
        ]
        shown += ["–" if number is None else f"{number:,}"] if differ else []
        shown.append(f"{seconds:.1f}" if seconds else "–")
        settings = [escape(job.settings.get(key, "")) for key in keys]
        table.add_row(*settings, f"[{STATUS_STYLE[status]}]{status}[/]", *shown)
    return table


def _seeds_table(jobs: Sequence[Job], metric: str) -> Table:
    groups = over_seeds(jobs, metric)
    table = _table(f"{metric} over seeds", list(groups[0][0]))
    for name in ("n", "mean", "SD", "min", "max"):
        table.add_column(name, justify="right")
    for settings, values in groups:
        spread = f"{statistics.stdev(values):.4f}" if len(values) > 1 else "–"
        found = (
            [
                f"{statistics.fmean(values):.4f}",
                spread,
                f"{min(values):.4f}",
                f"{max(values):.4f}",
            ]
            if values
            else []
        )
        table.add_row(
            *map(escape, settings.values()), str(len(values)), *(found or ["–"] * 4)
        )
    return table
