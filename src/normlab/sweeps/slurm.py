"""SLURM's commands: submit jobs, and ask for the states of all jobs at once.

Read for SLURM 22.05 and later.
"""

import os
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

SECONDS_TO_ANSWER = 100  # SLURM's commands give up by themselves before that
JOB_ID = re.compile(r"\d+(_\d+)?")
# What stands before the reason in `sbatch: error: Batch job submission failed: REASON`.
PREFIXES = re.compile(r"^(\w+: )?(error: )?(Batch job submission failed: )?")
# Fields of squeue. None contains a space, except the last one.
FIELDS = (
    "JobArrayID:32,State:24,RestartCnt:12,SubmitTime:24,StartTime:24,EndTime:24,"
    "Reason:160"
)

ENDED = (
    *("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"),
    *("PREEMPTED", "BOOT_FAIL", "DEADLINE", "REVOKED"),
)
UNKNOWN = "UNKNOWN"
# Reasons for which a job waits until somebody does something about it: JobHeldUser,
# JobHoldMaxRequeue, launch failed requeued held, PartitionTimeLimit, InvalidQOS, ...
HELD = re.compile(r"held|hold|invalid|BadConstraints|Partition\w*Limit", re.IGNORECASE)


class SlurmRefusal(ValueError):
    """SLURM has refused a command, or did not answer; the message says why."""


@dataclass(frozen=True)
class Cluster:
    """What SLURM says about itself.

    Attributes:
        name: of the cluster.
        most_tasks: the most tasks that an array of jobs may have; 0 if SLURM takes no
            arrays.
        has_accounting: whether it remembers jobs that have ended long ago.
    """

    name: str
    most_tasks: int
    has_accounting: bool


@dataclass(frozen=True)
class JobState:
    """What SLURM says about a job.

    Attributes:
        state: in SLURM's words, such as `RUNNING`; `UNKNOWN` if SLURM does not know the
            job any more.
        since: the time since when, as SLURM writes it; empty if it is not known.
        reason: why the job waits or has ended; empty if SLURM gives none.
        restarts: how often it was queued again.
    """

    state: str
    since: str = ""
    reason: str = ""
    restarts: int = 0

    @property
    def has_ended(self) -> bool:
        """Whether the job is over. SLURM may still queue it again for a moment."""
        return self.state in ENDED or self.state == UNKNOWN

    @property
    def is_held(self) -> bool:
        """Whether the job waits until somebody does something about it."""
        return self.state == "PENDING" and HELD.search(self.reason) is not None

    @property
    def name(self) -> str:
        """The state in one word: `requeued` for a job that waits to run again."""
        if self.state == "PENDING" and self.restarts:
            return "requeued"
        return self.state if self.has_ended else self.state.lower()


def call(command: Sequence[str], lock: int | None = None) -> str:
    """Run one of SLURM's commands and return its output.

    Args:
        command: the program and its arguments.
        lock: a file descriptor that the command inherits. A lock on it is held until
            the command has ended, even if this process is killed before.

    Raises:
        SlurmRefusal: it failed or did not answer.
        ValueError: SLURM is not installed.
    """
    # A command in a job of an array hands the variables of its own array on.
    environment = {}
    for name, value in os.environ.items():
        if not name.startswith("SLURM_ARRAY_"):
            environment[name] = value
    try:
        # Ctrl-C in the terminal must not end the command halfway.
        done = subprocess.run(
            command,
            capture_output=True,
            env=environment,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=SECONDS_TO_ANSWER,
            start_new_session=True,
            pass_fds=() if lock is None else (lock,),
        )
    except FileNotFoundError:
        raise ValueError(
            f"SLURM must be installed where its jobs are submitted or listed, "
            f"{command[0]} was not found in PATH"
        ) from None
    except subprocess.TimeoutExpired:
        raise SlurmRefusal(
            f"SLURM does not answer ({command[0]}, {SECONDS_TO_ANSWER} s)"
        ) from None
    if done.returncode != 0:
        raise SlurmRefusal(_reason(done.stderr))
    return done.stdout


def _reason(errors: str) -> str:
    """The last line that a command has printed about its failure, without prefixes."""
    lines = errors.strip().splitlines() or ["it failed without a message"]
    return PREFIXES.sub("", lines[-1]).strip()


def read_cluster() -> Cluster:
    """Ask SLURM for its configuration.

    Raises:
        ValueError: it does not answer, or is not installed.
    """
    settings = {}
    for line in call(["scontrol", "show", "config"]).splitlines():
        name, _, value = line.partition("=")
        settings[name.strip()] = value.strip()
    storage = settings.get("AccountingStorageType", "")
    return Cluster(
        name=settings.get("ClusterName", ""),
        most_tasks=int(settings.get("MaxArraySize", "0")),
        has_accounting=storage.endswith("slurmdbd"),
    )


def submit(arguments: Sequence[str], lock: int | None = None) -> str:
    """Submit a job or an array of jobs and return its number.

    Args:
        arguments: of sbatch, the last of which is the script.
        lock: see `call`.

    Raises:
        SlurmRefusal: SLURM did not take it, or it did not answer.
    """
    answer = call(["sbatch", "--parsable", *arguments], lock).strip()
    number, _, _ = answer.splitlines()[-1].partition(";")  # a cluster may follow
    if not JOB_ID.fullmatch(number):
        raise SlurmRefusal(f"sbatch answered {answer!r}, which has no number of a job")
    return number


def find_jobs(names: Iterable[str], cluster: Cluster) -> dict[str, str]:
    """The numbers of jobs by their names.

    Args:
        names: of jobs or arrays, each of which was submitted at most once.
        cluster: what `read_cluster` returned.

    Returns:
        numbers by name, of those that SLURM knows.
    """
    wanted = set(names)
    if not wanted:
        return {}
    listed = ",".join(sorted(wanted))
    # %F: the number of the array, or of the job if it is none.
    lines = call(
        [
            *("squeue", "--noheader", "--states=all"),
            *(f"--name={listed}", "--format=%F %j"),
        ]
    )
    found = _numbers_by_name(lines)
    if cluster.has_accounting and wanted - set(found):
        lines = call(
            [
                *("sacct", "--allocations", "--noheader", "--parsable2"),
                *("--starttime=now-7days", f"--name={listed}", "--delimiter= "),
                "--format=JobID,JobName",
            ]
        )
        found = _numbers_by_name(lines) | found
    return {name: number for name, number in found.items() if name in wanted}


def _numbers_by_name(lines: str) -> dict[str, str]:
    found = {}
    for line in lines.splitlines():
        number, _, name = line.strip().partition(" ")
        found[name.strip()] = number.partition("_")[0]
    return found


def job_states(jobs: Iterable[str], cluster: Cluster) -> dict[str, JobState]:
    """Ask for the states of jobs, with one call of squeue.

    SLURM forgets jobs minutes after they have ended. If it keeps accounts, those are
    asked about such jobs, with one call of sacct.

    Args:
        jobs: numbers of jobs, `12`, and of tasks of arrays, `12_3`.
        cluster: what `read_cluster` returned.

    Returns:
        the state of every job.

    Raises:
        SlurmRefusal: SLURM does not answer.
    """
    wanted = set(jobs)
    if not wanted:
        return {}
    states = _ask_squeue(_arrays(wanted))
    missing = wanted - set(states)
    if missing and cluster.has_accounting:
        states |= _ask_sacct(_arrays(missing), missing)
    return {job: states.get(job, JobState(UNKNOWN)) for job in wanted}


def _arrays(jobs: Iterable[str]) -> str:
    """The numbers of jobs without those of the tasks, for the option `--jobs`."""
    return ",".join(sorted({job.partition("_")[0] for job in jobs}))


def _ask_squeue(arrays: str) -> dict[str, JobState]:
    command = ["squeue", "--noheader", "--array", "--states=all", f"--jobs={arrays}"]
    try:
        answer = call([*command, f"--Format={FIELDS}"])
    except SlurmRefusal as refusal:
        if "Invalid job id" not in str(refusal):
            raise
        return {}  # it has forgotten the only job that was asked for
    states = {}
    for line in answer.splitlines():
        job, *words = line.split(None, 6)
        states[job] = _state_of(*words)
    return states


def _state_of(
    state: str,
    restarts: str,
    submitted: str,
    started: str,
    ended: str,
    reason: str = "",
) -> JobState:
    """The state of a job from the fields that squeue prints."""
    since = ""
    if state == "PENDING":
        since = submitted
    elif state == "RUNNING":
        since = started
    elif state in ENDED:
        since = ended
    return JobState(state, _known(since), _known(reason.strip()), int(restarts))


def _ask_sacct(arrays: str, wanted: set[str]) -> dict[str, JobState]:
    answer = call(
        [
            *("sacct", "--allocations", "--noheader", "--parsable2"),
            *(f"--jobs={arrays}", "--format=JobID,State,End,ExitCode"),
        ]
    )
    states = {}
    for line in answer.splitlines():
        identifier, state, ended, exit_code = line.split("|")
        word, _, user = state.partition(" by ")  # `CANCELLED by 1000`
        reason = f"by user {user}" if user else ""
        if word == "FAILED":
            reason = f"exit code {exit_code.partition(':')[0]}"
        for job in expand(identifier):
            if job in wanted:
                states[job] = JobState(word, _known(ended), reason)
    return states


def _known(value: str) -> str:
    """A value of SLURM, which is empty if it says that there is none."""
    return "" if value in ("N/A", "Unknown", "None", "(null)") else value


def expand(identifier: str) -> list[str]:
    """The jobs of an identifier: `12_[0,3-5%2]` is 12_0, 12_3, 12_4 and 12_5."""
    match = re.fullmatch(r"(\d+)_\[([\d,-]+)(%\d+)?\]", identifier)
    if match is None:
        return [identifier]
    jobs = []
    for part in match.group(2).split(","):
        first, _, last = part.partition("-")
        for task in range(int(first), int(last or first) + 1):
            jobs.append(f"{match.group(1)}_{task}")
    return jobs


def explain_end(job: str, state: JobState, minutes: int) -> str:
    """Why a job has ended without a result, and what to do, in one line.

    Args:
        job: its number.
        state: in which it ended.
        minutes: that it was allowed to take.
    """
    again = "the same command resumes its run"
    advice: Mapping[str, str] = {
        "CANCELLED": f"somebody cancelled it; {again}",
        "TIMEOUT": f"it took longer than {minutes} minutes; {again}, with more time "
        f"by hydra.launcher.timeout_min",
        "NODE_FAIL": f"its machine was lost; {again}",
        "OUT_OF_MEMORY": f"it needs more memory: set hydra.launcher.mem_gb; {again}",
        "PREEMPTED": f"other jobs took its place; {again}",
        UNKNOWN: f"SLURM does not know it any more; {again}",
    }
    known = f" ({state.reason})" if state.reason else ""
    what = advice.get(state.state, f"it left no result{known}; {again}")
    return f"job {job} {state.state}: {what}"
