"""Run a sweep as jobs of SLURM: submit what is not submitted yet, and wait for results.

What was submitted is in a ledger, see `normlab.sweeps.slurm_ledger`. Repeating the
command therefore attaches to the jobs that are queued or run. Whatever ends this
process, the jobs stay.
"""

import shlex
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from normlab.config.identity import run_folder, run_name
from normlab.endings import Left, Stopped
from normlab.sweeps import slurm
from normlab.sweeps.clusters import NotedSignal
from normlab.sweeps.jobs import failed_result
from normlab.sweeps.json_lines import JsonLines
from normlab.sweeps.slurm import Cluster, JobState, SlurmRefusal
from normlab.sweeps.slurm_ledger import (
    Entry,
    Ledger,
    ended_runs,
    read_submission,
    write_submission,
)
from normlab.sweeps.slurm_options import SlurmOptions
from normlab.terminal import print_line, shorten
from normlab.training.experiment import stored_result

# SLURM is asked less and less often while nothing changes, and seldom about many jobs.
FEWEST_SECONDS = 2.0
MOST_SECONDS = 60.0
SLOWER = 1.5
JOBS_PER_SECOND = 200
SECONDS_BETWEEN_SIGNAL_CHECKS = 0.2
MOST_JOBS_NAMED = 5


class SlurmSweep:
    """The runs of a sweep, from their submission to their results.

    Args:
        configs: checked configurations, none of which has a stored result.
        options: of the launcher.

    Attributes:
        running: how many runs train at the moment, by what SLURM said last.
    """

    def __init__(
        self, configs: Sequence[dict[str, Any]], options: SlurmOptions
    ) -> None:
        self.options = options
        self.ledger = Ledger(options.folder)
        self.running = 0
        self.configs: dict[str, dict[str, Any]] = {}
        self.indices: dict[str, list[int]] = {}
        for index, config in enumerate(configs):
            run = run_name(config)
            self.configs[run] = config
            self.indices.setdefault(run, []).append(index)
        self.waiting: dict[str, Entry] = {}
        self.journals: dict[str, JsonLines] = {}
        self.states: dict[str, JobState] = {}
        self.noted: set[tuple[str, str, int]] = set()

    def results(self) -> Generator[tuple[int, dict[str, Any] | Stopped]]:
        """Submit the runs that SLURM does not have yet, and yield results.

        Yields:
            the index of a configuration, and its result, or `Stopped` if no other run
            could succeed; in the order in which they end.

        Raises:
            ValueError: SLURM is not installed, does not answer, or refuses the jobs.
            normlab.endings.Left: the jobs are submitted, and nothing waits for them.
            Stopped: a signal came; the jobs stay in SLURM.
        """
        with NotedSignal() as noted:
            try:
                cluster = slurm.read_cluster()
                self._submit_the_rest(cluster, noted)
                if not self.options.wait:
                    raise Left(self._left_jobs())
                yield from self._wait(cluster, noted)
            except Stopped as stopped:
                if self.waiting:
                    reason = f"{stopped}; {self._left_jobs()}"
                    raise Stopped(reason, stopped.exit_code) from None
                raise

    def _left_jobs(self) -> str:
        """Which jobs stay in SLURM, how to see them, and how to cancel them."""
        numbers = " ".join(_arrays(self.waiting.values()))
        outputs = shlex.quote(str(self.options.folder.parent))
        count = len(self.waiting)
        runs = "1 run is" if count == 1 else f"{count} runs are"
        return (
            f"{runs} with SLURM; `normlab jobs {outputs}` shows the jobs, "
            f"`scancel {numbers}` cancels them"
        )

    def _submit_the_rest(self, cluster: Cluster, noted: NotedSignal) -> None:
        """Attach to the jobs that are queued or run, and submit the other runs.

        Raises:
            ValueError: SLURM refuses the jobs.
        """
        with self.ledger.locked() as lock:
            _recover(self.ledger, cluster)
            self.waiting = self._find_alive(cluster)
            attached = len(self.waiting)
            missing = [run for run in self.configs if run not in self.waiting]
            size = self._size(cluster, missing)
            for first in range(0, len(missing), size):
                noted.check()
                batch = missing[first : first + size]
                self._submit(batch, cluster, lock)
        if attached:
            print_line(f"attached to the jobs of {_runs(attached)} that SLURM has")
        if missing:
            submitted = [self.waiting[run] for run in missing]
            arrays = _arrays(submitted)
            named = shorten(arrays, MOST_JOBS_NAMED)
            print_line(f"submitted {_runs(len(missing))} to SLURM: job {named}")

    def _size(self, cluster: Cluster, runs: Sequence[str]) -> int:
        """How many runs are submitted together."""
        if self.options.workers is not None:
            return max(1, len(runs))
        return max(1, cluster.most_tasks)

    def _find_alive(self, cluster: Cluster) -> dict[str, Entry]:
        """The entries of the runs whose jobs wait or run."""
        entries = {}
        for run, entry in self.ledger.entries().items():
            if run in self.configs and entry.cluster == cluster.name:
                entries[run] = entry
        self.states = _states(entries.values(), cluster)
        ended: dict[str, Mapping[int, Any]] = {}
        alive = {}
        for run, entry in entries.items():
            if entry.key not in ended:
                journal = self.ledger.journal(entry.key)
                ended[entry.key] = ended_runs(journal.read_new())
            is_over = all(self.states[job].has_ended for job in entry.jobs)
            if not is_over and entry.index not in ended[entry.key]:
                alive[run] = entry
        return alive

    def _submit(self, runs: Sequence[str], cluster: Cluster, lock: int) -> None:
        """Submit runs as one job or one array of jobs.

        Raises:
            ValueError: SLURM refuses them.
        """
        options = self.options
        workers = 0
        if options.workers is not None:
            workers = max(1, min(options.workers, len(runs), cluster.most_tasks))
        submission = write_submission(
            options.folder,
            {run: self.configs[run] for run in runs},
            cluster.name,
            options.name,
            options.setup,
            workers=workers,
            timeout_min=options.timeout_min,
            signal_delay_s=options.signal_delay_s,
            max_num_timeout=options.max_num_timeout,
        )
        try:
            number = slurm.submit(options.sbatch_arguments(submission), lock)
        except SlurmRefusal as refusal:
            # It may have taken the jobs although its answer was lost.
            found = slurm.find_jobs([submission.job_name], cluster)
            if submission.job_name not in found:
                self.ledger.remove(submission)
                raise ValueError(self._explain(refusal)) from None
            number = found[submission.job_name]
        self.ledger.add(submission, number)
        for entry in submission.entries(number):
            self.waiting[entry.run] = entry

    def _explain(self, refusal: SlurmRefusal) -> str:
        if not self.waiting:
            return f"SLURM did not take the jobs: {refusal}"
        missing = len(self.configs) - len(self.waiting)
        return (
            f"SLURM did not take the jobs of {_runs(missing)}: {refusal}\n"
            f"{self._left_jobs()}; the same command submits the rest"
        )

    def _wait(
        self, cluster: Cluster, noted: NotedSignal
    ) -> Generator[tuple[int, dict[str, Any] | Stopped]]:
        seconds = 0.0
        ended_before: set[str] = set()
        while self.waiting:
            self._pause(seconds, noted)
            changed = self._ask(cluster)
            for run, result in [*self._noted_ends(), *self._lost(ended_before)]:
                changed = True
                del self.waiting[run]
                for index in self.indices[run]:
                    yield index, result
            ended_before = {
                job for job, state in self.states.items() if state.has_ended
            }
            fewest = max(FEWEST_SECONDS, len(self.states) / JOBS_PER_SECOND)
            seconds = max(fewest, 0.0 if changed else seconds * SLOWER)
            seconds = min(MOST_SECONDS, seconds)

    def _pause(self, seconds: float, noted: NotedSignal) -> None:
        end = time.monotonic() + seconds
        noted.check()
        while time.monotonic() < end:
            time.sleep(SECONDS_BETWEEN_SIGNAL_CHECKS)
            noted.check()

    def _ask(self, cluster: Cluster) -> bool:
        """Ask SLURM for the states of all jobs; returns whether any has changed."""
        try:
            states = _states(self.waiting.values(), cluster)
        except SlurmRefusal as refusal:
            self._print_once("", f"{refusal}; it is asked again", 0)
            self.states = {}
            return False
        for job, state in states.items():
            if state.restarts and not state.has_ended:
                self._print_once(job, "was queued again", state.restarts)
            if state.is_held:
                advice = f"is held ({state.reason}), see `scontrol show job {job}`"
                self._print_once(job, advice, 0)
        changed = states != self.states
        self.states = states
        self.running = self._count_running()
        return changed

    def _count_running(self) -> int:
        """How many of the runs train, if every running job trains one."""
        jobs: set[str] = set()
        for entry in self.waiting.values():
            jobs.update(entry.jobs)
        return sum(self.states[job].state == "RUNNING" for job in jobs)

    def _print_once(self, job: str, what: str, number: int) -> None:
        note = (job, what, number)
        if note in self.noted:
            return
        self.noted.add(note)
        named = f"job {job} " if job else ""
        print_line(f"{named}{what}")

    def _noted_ends(self) -> list[tuple[str, dict[str, Any] | Stopped]]:
        """The runs whose jobs have noted their end since the last call."""
        found = []
        ended: dict[str, Mapping[int, Mapping[str, Any]]] = {}
        for run, entry in self.waiting.items():
            if entry.key not in self.journals:
                self.journals[entry.key] = self.ledger.journal(entry.key)
            if entry.key not in ended:
                journal = self.journals[entry.key]
                ended[entry.key] = ended_runs(journal.read_new())
            line = ended[entry.key].get(entry.index)
            if line is not None:
                result = self._noted_result(run, line)
                found.append((run, result))
        return found

    def _noted_result(
        self, run: str, line: Mapping[str, Any]
    ) -> dict[str, Any] | Stopped:
        """The result that a line of a journal stands for."""
        if "stopped" in line:
            return Stopped(line["stopped"], line["exit_code"])
        if "result" in line:
            return line["result"]
        result = self._stored(run)
        if result is None:
            return failed_result(
                "its result was removed after it had ended; "
                "the same command trains it again"
            )
        return result

    def _stored(self, run: str) -> dict[str, Any] | None:
        config = self.configs[run] | {"rerun": False, "retry": None}
        return stored_result(run_folder(config), config)

    def _lost(self, ended_before: set[str]) -> list[tuple[str, dict[str, Any]]]:
        """The runs whose jobs have ended without noting their end.

        SLURM may show a job as ended for a moment before it queues it again, so that
        only a job that had ended before counts.
        """
        found = []
        for run, entry in self.waiting.items():
            states = {}
            for job in entry.jobs:
                state = self.states.get(job)
                if state is not None and state.has_ended and job in ended_before:
                    states[job] = state
            if len(states) < len(entry.jobs):
                continue
            # It may have been killed between its result and the note about it.
            config = self.configs[run]
            result = stored_result(run_folder(config), config)
            if result is None:
                result = self._explain_loss(entry, states)
            found.append((run, result))
        return found

    def _explain_loss(
        self, entry: Entry, states: Mapping[str, JobState]
    ) -> dict[str, Any]:
        job = entry.job
        for candidate, state in states.items():
            if state.state != "COMPLETED":
                job = candidate
                break
        else:
            job = entry.jobs[0]
        folder = self.options.folder / entry.key
        minutes = self.options.timeout_min
        with suppress(OSError, ValueError):  # the folder may be gone
            minutes = read_submission(folder).timeout_min
        reason = slurm.explain_end(job, states[job], minutes)
        log = folder / f"{job}.err"
        if not log.exists():
            log = folder / f"{job}.out"  # with stderr_to_stdout
        if log.is_file() and log.stat().st_size:
            reason = f"{reason}; see {log}"
        return failed_result(reason)


def _arrays(entries: Iterable[Entry]) -> list[str]:
    """The numbers of the jobs and arrays of entries, in order."""
    numbers = {entry.job.partition("_")[0] for entry in entries}
    return sorted(numbers, key=int)


def _states(entries: Iterable[Entry], cluster: Cluster) -> dict[str, JobState]:
    """The states of all jobs of entries, with one call of SLURM."""
    jobs = set()
    for entry in entries:
        jobs.update(entry.jobs)
    return slurm.job_states(jobs, cluster)


def _recover(ledger: Ledger, cluster: Cluster) -> None:
    """Complete the ledger after a command that was killed while it submitted jobs."""
    unconfirmed = []
    for submission in ledger.unconfirmed():
        if submission.cluster == cluster.name:
            unconfirmed.append(submission)
    names = [submission.job_name for submission in unconfirmed]
    found = slurm.find_jobs(names, cluster)
    for submission in unconfirmed:
        number = found.get(submission.job_name)
        if number is None:
            ledger.remove(submission)
        else:
            ledger.add(submission, number)


def _runs(number: int) -> str:
    return "1 run" if number == 1 else f"{number} runs"
