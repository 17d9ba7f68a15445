"""Which runs were submitted to SLURM, in which jobs: what a sweep leaves behind.

The folder, `.slurm` below `paths.outputs`, holds

* ``ledger.jsonl``: one line per submitted run, with cluster, job, run and time.
* ``KEY/``: one submission, which is one job or one array of jobs. It is written before
  SLURM is asked, and SLURM knows the job by a name that ends in the key. A process that
  was killed after SLURM had taken the job, and before the ledger had its lines, is
  therefore found out by the next command.
"""

import fcntl
import hashlib
import json
import os
import re
import secrets
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from normlab.files import (
    LARGEST_TABLE,
    open_regular,
    open_to_append,
    read_json,
    refuse_link,
)
from normlab.locks import WITHOUT_LOCKS, Lock
from normlab.results import write_atomically
from normlab.sweeps.json_lines import JsonLines
from normlab.sweeps.origin import Origin
from normlab.sweeps.slurm import JOB_ID

LEDGER = "ledger.jsonl"
SUBMISSION = "submission.json"
RUNS = "runs.jsonl"
JOURNAL = "journal.jsonl"
SCRIPT = "script.sh"
KEY = re.compile(r"[0-9a-f]{12}")

STARTED = "NORMLAB_JOB_STARTED"  # when a job began, in seconds since 1970

# Options of sbatch count above the first command only. A signal that comes before
# Python can handle it is ignored: SLURM then stops the job, and queues it again if it
# was preempted. With `exec`, Python itself gets the signals. With `-P`, it imports
# nothing from the folder in which the job was submitted.
SCRIPT_TEXT = """\
#!/bin/bash
{directives}
export {started}=$(date +%s)
{setup}
trap '' USR1 USR2
exec {python} -P -m normlab.sweeps.slurm_task {folder}
"""


@dataclass(frozen=True)
class Entry:
    """A line of the ledger: a run that was submitted.

    Attributes:
        cluster: name of the cluster.
        job: number of the job, `12`, of a task of an array, `12_3`, or of the array
            whose tasks share the runs.
        run: `GROUP/NAME`, below `paths.outputs`.
        time: of the submission, in ISO 8601.
        workers: how many tasks share the runs of the submission; 0 if every run has a
            job of its own.
        key: of the submission.
        index: number of the run in the submission.
    """

    cluster: str
    job: str
    run: str
    time: str
    workers: int
    key: str
    index: int

    @property
    def jobs(self) -> list[str]:
        """The jobs that may train the run."""
        if self.workers < 2:
            return [self.job]
        return [f"{self.job}_{task}" for task in range(self.workers)]

    @classmethod
    def from_line(cls, line: Mapping[str, Any]) -> "Entry":
        """Read a line of the ledger.

        Raises:
            ValueError: it is none.
        """
        values: dict[str, Any] = {}
        for field in fields(cls):
            value = line.get(field.name)
            if type(value) is not field.type:
                raise ValueError(f"{field.name} must be {field.type}, got {value!r}")
            values[field.name] = value
        entry = cls(**values)
        if not JOB_ID.fullmatch(entry.job) or not KEY.fullmatch(entry.key):
            raise ValueError(f"job and key must be those of a job, got {entry.job!r}")
        return entry


@dataclass(frozen=True)
class Submission:
    """Runs that are submitted to SLURM together, as one job or one array of jobs.

    Attributes:
        key: names the submission, and its folder.
        cluster: name of the cluster.
        job_name: the name of its jobs, which ends in the key.
        time: in ISO 8601.
        workers: how many tasks share the runs; 0 if every run has a task of its own.
        timeout_min: minutes that a job may take.
        signal_delay_s: seconds before their end at which SLURM announces it.
        max_num_timeout: how often a job that ran out of time is queued again.
        runs: `GROUP/NAME` of every run.
        offsets: where the configuration of each run begins in `RUNS`, in bytes.
        path: where Python looks for modules.
        own_norms: lines of the environment variable `NORMLAB_OWN_NORMS`.
        digests: SHA-256, in hexadecimal, of the line of each run in `RUNS`. Earlier
            versions stored none.
    """

    key: str
    cluster: str
    job_name: str
    time: str
    workers: int
    timeout_min: int
    signal_delay_s: int
    max_num_timeout: int
    runs: list[str]
    offsets: list[int]
    path: list[str]
    own_norms: Sequence[str] = ()
    digests: Sequence[str] = ()

    @property
    def tasks(self) -> int:
        """How many jobs of SLURM it is."""
        return self.workers or len(self.runs)

    def entries(self, number: str) -> list[Entry]:
        """Its lines of the ledger.

        Args:
            number: of the job, or of the array.
        """
        has_tasks = self.tasks > 1 and not self.workers
        return [
            Entry(
                cluster=self.cluster,
                job=f"{number}_{index}" if has_tasks else number,
                run=run,
                time=self.time,
                workers=self.workers,
                key=self.key,
                index=index,
            )
            for index, run in enumerate(self.runs)
        ]


def write_submission(
    folder: Path,
    configs: Mapping[str, dict[str, Any]],
    cluster: str,
    name: str,
    setup: Sequence[str],
    **options: int,
) -> Submission:
    """Write all that the jobs of a submission need.

    Args:
        folder: of the ledger.
        configs: the configuration of every run, by `GROUP/NAME`.
        cluster: name of the cluster.
        name: first part of the name of the jobs.
        setup: shell commands that a job runs first.
        options: `workers`, `timeout_min`, `signal_delay_s` and `max_num_timeout`.
    """
    key = secrets.token_hex(6)
    target = (folder / key).absolute()
    target.mkdir(parents=True)
    lines = [(json.dumps(config) + "\n").encode() for config in configs.values()]
    offsets = [0]
    for line in lines[:-1]:
        offsets.append(offsets[-1] + len(line))
    submission = Submission(
        key=key,
        cluster=cluster,
        job_name=f"{name}-{key}",
        time=datetime.now().astimezone().isoformat(timespec="seconds"),
        runs=list(configs),
        offsets=offsets,
        path=[os.path.abspath(entry) for entry in sys.path],
        own_norms=_write_norms(target),
        digests=[hashlib.sha256(line).hexdigest() for line in lines],
        **options,
    )
    directives = [line for line in setup if line.startswith("#SBATCH")]
    commands = [line for line in setup if line not in directives]
    script = SCRIPT_TEXT.format(
        directives="\n".join(directives),
        started=STARTED,
        setup="\n".join(commands),
        python=shlex.quote(sys.executable),
        folder=shlex.quote(str(target)),
    )
    write_atomically(target / RUNS, b"".join(lines))
    (target / RUNS).chmod(0o600)  # the address of a search may hold a password
    write_atomically(target / SCRIPT, script.encode())
    # Written last: a folder without it was never handed to SLURM.
    write_atomically(target / SUBMISSION, json.dumps(asdict(submission)).encode())
    return submission


def _write_norms(target: Path) -> list[str]:
    """Write the norms that live in this process only, for jobs on other machines.

    Args:
        target: folder of the submission.

    Returns:
        the lines by which a job finds all norms of the user's own.
    """
    lines = []
    for number, item in enumerate(Origin.of_this_process().own_norms):
        if isinstance(item, bytes):
            path = target / f"norm-{number}.pickle"
            write_atomically(path, item)
            item = str(path)
        lines.append(item)
    return lines


def read_submission(folder: Path) -> Submission:
    """Read a submission from its folder, which its key must name.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is none of ours, or the folder is a link.
    """
    refuse_link(folder)
    path = folder / SUBMISSION
    content = read_json(path)
    try:
        submission = Submission(**content)
    except TypeError as error:
        raise ValueError(f"{path} is no submission: {error}") from error
    # A folder by the name of the key is deleted if SLURM does not know the submission.
    if submission.key != folder.name or not KEY.fullmatch(folder.name):
        raise ValueError(
            f"{path} is no submission: its key must be 12 hexadecimal digits that "
            f"name its folder, got {submission.key!r}; delete the folder"
        )
    return submission


def read_config(folder: Path, submission: Submission, index: int) -> dict[str, Any]:
    """The configuration of a run of a submission.

    Args:
        folder: of the submission.
        submission: what `read_submission` returned.
        index: number of the run.

    Raises:
        ValueError: it is not the one that was submitted.
    """
    with open_regular(folder / RUNS, LARGEST_TABLE) as file:
        file.seek(submission.offsets[index])
        line = file.readline()
    digest = hashlib.sha256(line).hexdigest()
    if submission.digests and digest != submission.digests[index]:
        raise ValueError(
            f"{folder / RUNS} was changed after {submission.runs[index]} was submitted"
        )
    return json.loads(line)


class Ledger:
    """The ledger of a folder.

    Args:
        folder: `.slurm` below `paths.outputs`, which need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines = JsonLines(folder / LEDGER)
        self._entries: dict[str, Entry] = {}
        self._counts: dict[str, int] = {}

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Keep other commands from submitting jobs.

        This also waits for an sbatch that a killed command has left.

        Yields:
            the descriptor of a lock for `normlab.sweeps.slurm.submit`.

        Raises:
            ValueError: the file of the lock is no regular file.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / ".sbatch.lock"
        with Lock(self.folder / ".lock"), open_to_append(path) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError as error:
                if error.errno not in WITHOUT_LOCKS:
                    raise
            yield file.fileno()

    def entries(self) -> dict[str, Entry]:
        """The last entry of every run.

        Raises:
            ValueError: the file is no ledger.
        """
        for line in self.lines.read_new():
            try:
                entry = Entry.from_line(line)
            except ValueError as error:
                raise ValueError(f"{self.lines.path} is no ledger: {error}") from error
            self._entries[entry.run] = entry
            self._counts[entry.key] = self._counts.get(entry.key, 0) + 1
        return self._entries

    def add(self, submission: Submission, number: str) -> None:
        """Note that SLURM has taken a submission as a job.

        Args:
            submission: the submission.
            number: of the job, or of the array.
        """
        self.lines.append(asdict(entry) for entry in submission.entries(number))

    def unconfirmed(self) -> list[Submission]:
        """Submissions of which the ledger does not say whether SLURM has taken them.

        A command that was killed has left them.
        """
        self.entries()
        found = []
        for path in sorted(self.folder.glob(f"*/{SUBMISSION}")):
            submission = read_submission(path.parent)
            if self._counts.get(submission.key, 0) < len(submission.runs):
                found.append(submission)
        return found

    def remove(self, submission: Submission) -> None:
        """Delete the files of a submission that SLURM has not taken."""
        shutil.rmtree(self.folder / submission.key)

    def journal(self, key: str) -> JsonLines:
        """What the jobs of a submission have noted, see `normlab.sweeps.slurm_task`."""
        return JsonLines(self.folder / key / JOURNAL)


def ended_runs(lines: Iterable[Mapping[str, Any]]) -> dict[int, Mapping[str, Any]]:
    """The lines of a journal that say how a run has ended, by its number."""
    return {line["index"]: line for line in lines if line.get("event") == "ended"}
