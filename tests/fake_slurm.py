"""SLURM's commands, answered within the process of a test."""

import os
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from normlab.sweeps.slurm import SlurmRefusal
from normlab.sweeps.slurm_task import Task


@dataclass
class FakeJob:
    """A job that was submitted.

    Attributes:
        name: of the job.
        folder: of its submission.
        task: its number in the array.
        state: in SLURM's words.
        restarts: how often it was queued again.
        reason: why it waits.
        is_forgotten: whether squeue does not know it any more.
    """

    name: str
    folder: Path
    task: int
    state: str = "PENDING"
    restarts: int = 0
    reason: str = "None"
    is_forgotten: bool = False


class FakeSlurm:
    """A cluster whose jobs run when a test says so.

    Args:
        most_tasks: that an array may have.
        has_accounting: whether sacct works.

    Attributes:
        jobs: by number.
        commands: all that was asked, word by word.
        refusal: what sbatch answers, if it refuses jobs.
        loses_answers: whether sbatch takes a job and then fails.
        rounds: one function per call of squeue, which is called before the answer.
    """

    def __init__(self, most_tasks=1001, has_accounting=False):
        self.most_tasks = most_tasks
        self.has_accounting = has_accounting
        self.jobs = {}
        self.commands = []
        self.refusal = None
        self.loses_answers = False
        self.rounds = []

    def __call__(self, command, lock=None):
        self.commands.append(list(command))
        program, *words = command
        return getattr(self, program)(*words)

    def count(self, program):
        return sum(command[0] == program for command in self.commands)

    def scontrol(self, *words):
        assert words == ("show", "config")
        storage = "slurmdbd" if self.has_accounting else "none"
        return (
            f"Configuration data as of 2026-01-01T00:00:00\n"
            f"AccountingStorageType   = accounting_storage/{storage}\n"
            f"ClusterName             = fake\n"
            f"MaxArraySize            = {self.most_tasks}\n"
        )

    def sbatch(self, *words):
        if self.refusal is not None:
            raise SlurmRefusal(self.refusal)
        options = dict(
            word.removeprefix("--").split("=", 1) for word in words[1:-1] if "=" in word
        )
        folder = Path(words[-1]).parent
        number = str(100 + len(self.jobs))
        tasks = [""]
        if "array" in options:
            last = int(options["array"].partition("%")[0].partition("-")[2])
            tasks = [f"_{task}" for task in range(last + 1)]
        for task, suffix in enumerate(tasks):
            self.jobs[number + suffix] = FakeJob(options["job-name"], folder, task)
        if self.loses_answers:
            raise SlurmRefusal("Socket timed out on send/recv operation")
        return f"{number};fake\n"

    def squeue(self, *words):
        if self.rounds:
            self.rounds.pop(0)()
        options = dict(word.removeprefix("--").partition("=")[::2] for word in words)
        if "name" in options:
            return "".join(
                f"{number.partition('_')[0]} {job.name}\n"
                for number, job in self.jobs.items()
                if job.name in options["name"].split(",")
            )
        wanted = options["jobs"].split(",")
        lines = []
        for number, job in self.jobs.items():
            if number.partition("_")[0] in wanted and not job.is_forgotten:
                times = "2026-01-02T03:04:05   2026-01-02T03:04:06   N/A"
                lines.append(
                    f"{number:<32}{job.state:<24}{job.restarts:<12}{times} {job.reason}"
                )
        if not lines:
            raise SlurmRefusal("slurm_load_jobs error: Invalid job id specified")
        return "\n".join(lines)

    def sacct(self, *words):
        assert self.has_accounting
        options = dict(word.removeprefix("--").partition("=")[::2] for word in words)
        wanted = options["jobs"].split(",")
        return "\n".join(
            f"{number}|{job.state}|2026-01-02T03:04:07|1:0"
            for number, job in self.jobs.items()
            if number.partition("_")[0] in wanted
        )

    def run(self, number, state="COMPLETED"):
        """Let a job do its work, and end."""
        job = self.jobs[number]
        with mock.patch.dict(os.environ, {"OMP_NUM_THREADS": "1"}):
            Task(job.folder, job.task).work()
        job.state = state

    def run_all(self):
        """Let all jobs that wait do their work."""
        for number, job in self.jobs.items():
            if job.state == "PENDING":
                self.run(number)

    def end(self, number, state):
        """End a job that has done nothing."""
        self.jobs[number].state = state
