"""The options of `hydra/launcher=submitit_slurm`, and what sbatch is asked for them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from normlab.config.types import is_whole
from normlab.sweeps.slurm_ledger import SCRIPT, Submission

# What sbatch calls the options that have names of their own here.
SBATCH_NAMES = {"mem_gb": "mem"}
JOB_NAME = re.compile(r"[\w.=+-]+")


@dataclass(frozen=True)
class SlurmOptions:
    """The options of `hydra/launcher=submitit_slurm`.

    Attributes:
        folder: of the ledger.
        name: first part of the name of the jobs.
        timeout_min: minutes that a job may take.
        max_num_timeout: how often a job that ran out of time is queued again.
        signal_delay_s: seconds before the end of its time at which a run writes a
            checkpoint, and its job is queued again; 0 for neither.
        array_parallelism: the most jobs that run at the same time.
        workers: how many jobs share the runs; None gives every run a job of its own.
        wait: whether the command waits for the results.
        stderr_to_stdout: whether errors are in the file of the output.
        setup: shell commands that a job runs first.
        additional_parameters: further options of sbatch, by name. True stands for an
            option without a value, and False leaves an option out.
        resources: options of sbatch by the names that they have here.

    Raises:
        ValueError: names an option and what it must be.
    """

    folder: Path
    name: str = "normlab"
    timeout_min: int = 60
    max_num_timeout: int = 3
    signal_delay_s: int = 120
    array_parallelism: int = 256
    workers: int | None = None
    wait: bool = True
    stderr_to_stdout: bool = False
    setup: Sequence[str] = ()
    additional_parameters: Mapping[str, Any] = field(default_factory=dict)
    resources: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        least = {
            "timeout_min": 1,
            "max_num_timeout": 0,
            "signal_delay_s": 0,
            "array_parallelism": 1,
        }
        if self.workers is not None:
            least["workers"] = 1
        for name, smallest in least.items():
            value = getattr(self, name)
            if not is_whole(value) or value < smallest:
                raise ValueError(
                    f"hydra.launcher.{name} must be a whole number of at least "
                    f"{smallest}, got {value!r}"
                )
        if not JOB_NAME.fullmatch(self.name):
            raise ValueError(
                f"hydra.launcher.name must consist of letters, digits and . _ = + -, "
                f"got {self.name!r}"
            )

    def sbatch_arguments(self, submission: Submission) -> list[str]:
        """The arguments of sbatch for a submission."""
        folder = (self.folder / submission.key).absolute()
        is_array = submission.tasks > 1
        # In names of files, SLURM replaces what follows a percent sign.
        log = str(folder).replace("%", "%%") + ("/%A_%a" if is_array else "/%j")
        arguments = {
            "job-name": submission.job_name,
            "time": self.timeout_min,
            "requeue": True,
            "open-mode": "append",
            "output": f"{log}.out",
        }
        if self.signal_delay_s:
            arguments["signal"] = f"B:USR2@{self.signal_delay_s}"
        if not self.stderr_to_stdout:
            arguments["error"] = f"{log}.err"
        if is_array:
            last = submission.tasks - 1
            arguments["array"] = f"0-{last}%{self.array_parallelism}"
        for name, value in self.resources.items():
            option = SBATCH_NAMES.get(name, name.replace("_", "-"))
            arguments[option] = _megabytes(value) if name == "mem_gb" else value
        arguments |= self.additional_parameters
        words = []
        for option, value in arguments.items():
            if value is True:
                words.append(f"--{option}")
            elif value is not None and value is not False:
                words.append(f"--{option}={value}")
        return [*words, str(folder / SCRIPT)]


def _megabytes(gigabytes: float) -> str:
    return f"{round(1024 * gigabytes)}M"


def read_options(folder: Path, given: Mapping[str, Any]) -> SlurmOptions:
    """The options of a launcher; those that `SlurmOptions` lacks are resources.

    Args:
        folder: of the ledger.
        given: options by name. None stands for the default.

    Raises:
        ValueError: names an option and what it must be.
    """
    names = {field.name for field in fields(SlurmOptions)} - {"folder", "resources"}
    options: dict[str, Any] = {}
    resources: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            continue
        if name in names:
            options[name] = value
        else:
            resources[name] = value
    return SlurmOptions(folder=folder, resources=resources, **options)
