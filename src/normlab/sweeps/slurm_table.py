"""The table of the runs that were submitted to SLURM: `normlab jobs`."""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from normlab.config.identity import run_name
from normlab.sweeps.slurm import JobState, job_states, read_cluster
from normlab.sweeps.slurm_ledger import Entry, Ledger, ended_runs
from normlab.terminal import escaped, print_line

USER_MISTAKE = 2  # exit code
WIDTH_OF_FILES = 1000
# Of the tasks that share runs, the state that is shown is the first one that any has.
ORDER = ("running", "completing", "pending", "requeued")


@dataclass(frozen=True)
class Row:
    """A run that was submitted.

    Attributes:
        run: `GROUP/NAME`.
        job: number of its job.
        state: how the run has ended, or the state of its job.
        since: when that began, in ISO 8601; empty if it is not known.
        reason: why; empty if nothing says so.
        has_ended: whether nothing more will happen to it.
    """

    run: str
    job: str
    state: str
    since: str
    reason: str
    has_ended: bool


def rows(folder: Path, runs: Iterable[str] | None = None) -> list[Row]:
    """What the ledger, the jobs and SLURM say about runs.

    Args:
        folder: of the ledger.
        runs: names of the runs; None for all that were submitted.

    Raises:
        ValueError: a file is none of ours, SLURM is not installed or does not answer.
    """
    ledger = Ledger(folder)
    entries = ledger.entries()
    if runs is not None:
        entries = {run: entries[run] for run in runs if run in entries}
    ends: dict[str, Mapping[str, Any] | None] = {}
    ended: dict[str, Mapping[int, Mapping[str, Any]]] = {}
    for run, entry in entries.items():
        if entry.key not in ended:
            journal = ledger.journal(entry.key)
            ended[entry.key] = ended_runs(journal.read_new())
        ends[run] = ended[entry.key].get(entry.index)
    open_entries = [entry for run, entry in entries.items() if ends[run] is None]
    states = _ask(open_entries)

    found = []
    for run, entry in entries.items():
        end = ends[run]
        if end is None:
            row = _row_of_job(run, entry, states)
        else:
            row = _row_of_end(run, entry, end)
        found.append(row)
    return found


def _ask(entries: Sequence[Entry]) -> dict[str, JobState]:
    """The states of the jobs of entries on the cluster that this machine belongs to."""
    if not entries:
        return {}
    cluster = read_cluster()
    jobs = set()
    for entry in entries:
        if entry.cluster == cluster.name:
            jobs.update(entry.jobs)
    return job_states(jobs, cluster)


def _row_of_end(run: str, entry: Entry, end: Mapping[str, Any]) -> Row:
    result = end.get("result", {})
    reason = end.get("stopped") or result.get("reason") or ""
    return Row(
        run=run,
        job=entry.job,
        state=str(end["status"]),
        since=str(end["time"]),
        reason=str(reason),
        has_ended=True,
    )


def _row_of_job(run: str, entry: Entry, states: Mapping[str, JobState]) -> Row:
    known = [states[job] for job in entry.jobs if job in states]
    if not known:
        elsewhere = f"on cluster {entry.cluster}"
        return Row(run, entry.job, "unknown", "", elsewhere, has_ended=False)
    state = min(known, key=_rank)
    return Row(
        run=run,
        job=entry.job,
        state=state.name,
        since=state.since,
        reason=state.reason,
        has_ended=state.has_ended,
    )


def _rank(state: JobState) -> int:
    if state.name not in ORDER:
        return len(ORDER)
    return ORDER.index(state.name)


def print_table(
    folder: Path, configs: Sequence[dict[str, Any]] | None, shows_ended: bool = False
) -> None:
    """Print the runs that were submitted to SLURM.

    Args:
        folder: of the ledger.
        configs: the runs; None for all that were submitted.
        shows_ended: also list the runs that have ended as they should.

    Raises:
        ValueError: a file is none of ours, SLURM is not installed or does not answer.
    """
    runs = None
    if configs is not None:
        runs = [run_name(config) for config in configs]
    found = rows(folder, runs)
    width = None if sys.stdout.isatty() else WIDTH_OF_FILES
    console = Console(highlight=False, width=width, emoji=False)
    if not found:
        of_these = "" if configs is None else " of these runs"
        console.print(f"no jobs{of_these} were submitted to SLURM")
        return
    summary = _count_states(found)
    console.print(f"{len(found)} submitted to SLURM: {summary}", markup=False)
    shown = []
    for row in found:
        if shows_ended or row.state != "finished":
            shown.append(row)
    if shown:
        console.print(_table(shown))


def _count_states(found: Iterable[Row]) -> str:
    """How many runs are in each state: `3 running, 1 pending`."""
    counts = Counter(row.state for row in found)
    words = []
    for state, number in counts.items():
        words.append(f"{number} {state}")
    return ", ".join(words)


def _table(found: Iterable[Row]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("run", "job", "state", "since", "reason"):
        table.add_column(name, overflow="fold")
    for row in found:
        cells = (row.run, row.job, row.state, row.since, row.reason)
        table.add_row(*map(escaped, cells))
    return table


def jobs_main(arguments: Sequence[str] | None = None) -> None:
    """Print the state of every run that was submitted to SLURM.

    Exits with code 2 and one line for the user's mistakes.

    Args:
        arguments: what follows the name of the command; None takes it from the command
            line.
    """
    options = jobs_parser().parse_args(arguments)
    from normlab.terminal import output_may_end

    with output_may_end():
        try:
            if not options.outputs.is_dir():
                raise ValueError(f"{options.outputs} must be a folder of runs")
            print_table(options.outputs / ".slurm", None, options.all)
        except ValueError as error:
            print_line(f"error: {error}")
            sys.exit(USER_MISTAKE)


def jobs_parser() -> argparse.ArgumentParser:
    """The options of `jobs`."""
    parser = argparse.ArgumentParser(
        description="Print the state of every run that was submitted to SLURM: its "
        "job, its state, since when, and why.",
        epilog="example: %(prog)s outputs",
    )
    parser.add_argument(
        "outputs",
        type=Path,
        nargs="?",
        default=Path("outputs"),
        metavar="OUTPUTS",
        help="folder of all runs, paths.outputs (default: %(default)s)",
    )
    parser.add_argument(
        "--all", action="store_true", help="also list the runs that have finished"
    )
    return parser
