"""The progress of a sweep: a line for every job that ends, and a bar over all jobs."""

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from rich.progress import TextColumn
from rich.text import Text

from normlab.sweeps.display import SHOWN_METRICS, duration, styled_status
from normlab.sweeps.jobs import EndedJob, format_settings
from normlab.terminal import (
    Bar,
    escaped,
    format_metric,
    in_notebook,
    message_console,
)


class SweepProgress:
    """One line for every job when it ends, and in a terminal a bar over all jobs.

    Args:
        keys: the settings that tell the jobs apart, see `varied_keys`.
        total: number of jobs in the sweep.
        stored: number of jobs whose result is stored already. They take no time.
        count_running: counts the jobs that train, if jobs wait in the queue of a
            scheduler. What they wait is no part of the time that is left.
    """

    def __init__(
        self,
        keys: list[str],
        total: int,
        stored: int,
        count_running: Callable[[], int] | None = None,
    ) -> None:
        self.keys = keys
        self.total = total
        self.to_train = total - stored
        self.ended = 0
        self.trained = 0
        self.failed = 0
        self.count_running = count_running
        self.seconds = 0.0  # that the trained jobs took, without queue and imports
        self.started = time.monotonic()
        self.bar: Bar | None = None
        self.cell: Any = None  # the line in the output of a notebook's cell
        self.failures: list[str] = []  # lines that stay above it

    def __enter__(self) -> "SweepProgress":
        if sys.stderr.isatty():
            self.bar = Bar(TextColumn("[dim]{task.fields[left]}"))
            self.task = self.bar.add_task("sweep", total=self.total, left="")
            self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def end(self, job: EndedJob, was_stored: bool = False) -> None:
        """Count a job that has ended and print its line.

        Args:
            job: the job.
            was_stored: whether its result was stored before the sweep began.
        """
        has_failed = job.result["status"] == "failed"
        self.ended += 1
        self.failed += has_failed
        if not was_stored:
            self.trained += 1
            self.seconds += job.result["seconds"]
        left = self._time_left(job, was_stored)
        line = job_line(job, self.ended, self.total, self.keys)
        if self.bar is None:
            self._print(f"{line}  {left}" if left else line, has_failed)
            return
        self.bar.console.print(line, highlight=False)
        description = "sweep"
        if self.failed:
            description += f", [red]{self.failed} failed[/red]"
        self.bar.update(self.task, advance=1, description=description, left=left)

    def _print(self, line: str, is_failure: bool) -> None:
        """Print a line, which in a notebook the next one replaces unless it failed."""
        if not in_notebook():
            message_console().print(line, soft_wrap=True)
            return
        from IPython.display import display

        plain = Text.from_markup(line).plain
        lines = [*self.failures, plain]
        text = {"text/plain": "\n".join(lines)}
        if self.cell is None:
            self.cell = display(text, raw=True, display_id=True)
        else:
            self.cell.update(text, raw=True)
        if is_failure:
            self.failures.append(plain)

    def _time_left(self, job: EndedJob, was_stored: bool) -> str:
        if self.count_running is not None:
            running = self.count_running()
            left = remaining_seconds(self.seconds, self.trained, self.to_train)
            if left is None:
                return ""
            return _left(left / running)
        now = time.monotonic()
        # The first job that trains also waits for imports, which no other job repeats:
        # the clock starts when its training did.
        if self.trained == 1 and not was_stored:
            training_started = now - job.result["seconds"]
            self.started = max(self.started, training_started)
        elapsed = now - self.started
        left = remaining_seconds(elapsed, self.trained, self.to_train)
        return _left(left)


def _left(seconds: float | None) -> str:
    if seconds is None or seconds < 1:
        return ""
    return f"{duration(seconds)} left"


def remaining_seconds(elapsed: float, done: int, total: int) -> float | None:
    """The time left at the pace so far.

    Args:
        elapsed: seconds in which the first `done` jobs were done.
        done: number of jobs that are done.
        total: number of all jobs.

    Returns:
        seconds, 0 if all jobs are done, or None before the first one has ended.
    """
    if done >= total:
        return 0.0
    if not done:
        return None
    return elapsed / done * (total - done)


def job_line(job: EndedJob, number: int, total: int, keys: Sequence[str]) -> str:
    """The line of a job: `3/24  norm=custom seed=0  finished  test/accuracy 0.9700`.

    Args:
        job: the job.
        number: how many jobs have ended so far.
        total: number of jobs in the sweep.
        keys: the settings that are shown.

    Returns:
        the line with rich's markup.
    """
    metrics = job.result["metrics"]
    digits = len(str(total))
    words = [
        f"{number:>{digits}}/{total}",
        escaped(format_settings(job, keys)),
        styled_status(job.result["status"]),
    ]
    for name in reversed(SHOWN_METRICS):
        value = metrics.get(name)
        if value is not None:
            words.append(f"{name} {format_metric(value)}")
            break
    reason = job.result.get("reason") or ""
    words.append(escaped(reason))
    return "  ".join(filter(None, words))
