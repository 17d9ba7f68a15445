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
        self.ended += 1
        self.trained += not was_stored
        self.seconds += 0.0 if was_stored else job.result["seconds"]
        self.failed += job.result["status"] == "failed"
        left = self._time_left(job, was_stored)
        line = job_line(job, self.ended, self.total, self.keys)
        if self.bar is None:
            words = [line, left] if left else [line]
            self._print("  ".join(words), job.result["status"] == "failed")
            return
        self.bar.console.print(line, highlight=False)
        failed = f", [red]{self.failed} failed[/red]" if self.failed else ""
        self.bar.update(self.task, advance=1, description=f"sweep{failed}", left=left)

    def _print(self, line: str, is_failure: bool) -> None:
        """Print a line, which in a notebook the next one replaces unless it failed."""
        if not in_notebook():
            message_console().print(line, soft_wrap=True)
            return
        from IPython.display import display

        text = {"text/plain": "\n".join([*self.failures, Text.from_markup(line).plain])}
        if self.cell is None:
            self.cell = display(text, raw=True, display_id=True)
        else:
            self.cell.update(text, raw=True)
        if is_failure:
            self.failures.append(Text.from_markup(line).plain)

    def _time_left(self, job: EndedJob, was_stored: bool) -> str:
        if self.count_running is not None:
            running = self.count_running()
            left = remaining_seconds(self.seconds, self.trained, self.to_train)
            return _left(left and left / running)
        now = time.monotonic()
        # The first job that trains also waits for imports, which no other job repeats:
        # the clock starts when its training did.
        if self.trained == 1 and not was_stored:
            self.started = max(self.started, now - job.result["seconds"])
        left = remaining_seconds(now - self.started, self.trained, self.to_train)
        return _left(left)


def _left(seconds: float | None) -> str:
    return f"{duration(seconds)} left" if seconds and seconds >= 1 else ""


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
    words = [
        f"{number:>{len(str(total))}}/{total}",
        escaped(format_settings(job, keys)),
        styled_status(job.result["status"]),
    ]
    for name in reversed(SHOWN_METRICS):
        if metrics.get(name) is not None:
            words.append(f"{name} {format_metric(metrics[name])}")
            break
    words.append(escaped(job.result.get("reason") or ""))
    return "  ".join(filter(None, words))
