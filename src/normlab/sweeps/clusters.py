"""Train configurations as tasks of Ray, or as processes that submitit starts.

A plain configuration goes to the cluster and a plain result comes back. The machines
share the file system of the outputs: what a job has not finished, the next job with the
same configuration resumes, on whichever machine it runs.
"""

import os
import time
from collections.abc import Generator, Mapping, Sequence
from importlib.util import find_spec
from secrets import token_hex
from typing import Any

from normlab import signals
from normlab.config.own_code import find_own_code
from normlab.config.trust import guard_process
from normlab.endings import Interrupted, Stopped
from normlab.messages import first_line
from normlab.sweeps.jobs import failed_result
from normlab.sweeps.origin import Origin
from normlab.sweeps.queue import count_cores, result_of
from normlab.sweeps.workers import raise_stopped

POLL_SECONDS = 0.5
# How often submitit is asked for jobs that may have ended without a result.
ASK_SECONDS = 60
STOP_SECONDS = 60
# The parameters that submitit has for every cluster. Of the others it takes those of
# SLURM, and ignores them here.
SHARED_PARAMETERS = (
    "name",
    "timeout_min",
    "mem_gb",
    "nodes",
    "cpus_per_task",
    "gpus_per_node",
    "tasks_per_node",
    "stderr_to_stdout",
)


def require_package(package: str, launcher: str) -> None:
    """Refuse a launcher whose package is not installed.

    Args:
        package: the name of the package.
        launcher: the option of `hydra/launcher` that needs it.

    Raises:
        ValueError: says how to install the package.
    """
    if find_spec(package) is None:
        raise ValueError(
            f"hydra/launcher={launcher} needs the package {package}, which is not "
            f"installed: pip install {package}"
        )


def train_remotely(origin: Origin, config: dict[str, Any]) -> dict[str, Any] | Stopped:
    """Run one configuration on a machine of the cluster, with the cores of the job.

    Args:
        origin: where the sweep was started.
        config: a checked configuration.
    """
    origin.enter()
    os.environ.setdefault("OMP_NUM_THREADS", str(count_cores()))
    guard_process()
    find_own_code(config["trusted_packages"])
    try:
        return result_of(config | {"progress": False})
    except Interrupted as interrupted:
        return failed_result(f"{interrupted}; the same command resumes it")


class NotedSignal:
    """Note a stop signal within a block, and raise it only at `check`.

    Ray waits in code that exceptions of a handler of signals do not get through.
    """

    def __enter__(self) -> "NotedSignal":
        self.received = 0
        self.previous = signals.restored()
        self.previous.__enter__()
        signals.install(self._note)
        return self

    def __exit__(self, *error: Any) -> None:
        self.previous.__exit__(*error)

    def _note(self, number: int, frame: Any) -> None:
        self.received = number

    def check(self) -> None:
        """Raise `Stopped` if a signal has come."""
        if self.received:
            raise_stopped(self.received, None)


class SubmititJob:
    """The function that submitit runs on a machine.

    submitit runs it again after a preemption and at the end of the job's time.
    """

    def __call__(
        self, origin: Origin, config: dict[str, Any]
    ) -> dict[str, Any] | Stopped:
        return train_remotely(origin, config)

    def checkpoint(self, origin: Origin, config: dict[str, Any]) -> Any:
        """What submitit queues if the job must stop: the same function again.

        By then the run has written its state, see
        `normlab.training.callbacks.StopOnSignal`.
        """
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, origin, config)


def run_with_submitit(
    configs: Sequence[dict[str, Any]],
    folder: str,
    max_num_timeout: int,
    parameters: Mapping[str, Any],
) -> Generator[tuple[int, dict[str, Any] | Stopped]]:
    """Train configurations as processes of this machine that submitit starts.

    Args:
        configs: checked configurations.
        folder: the folder of submitit's files; `%j` stands for the number of a job.
        max_num_timeout: how often a job is started again when its time is over.
        parameters: parameters of a job, by the names of hydra-submitit-launcher. None
            leaves one to submitit.

    Yields:
        the index of a configuration, and its result, or `Stopped` if no other job could
        succeed; in the order in which the jobs end.

    Raises:
        Stopped: a signal came.
    """
    executor = _build_executor(folder, max_num_timeout, parameters)
    most_jobs = parameters.get("array_parallelism") or count_cores()
    waiting = list(enumerate(configs))
    jobs: dict[int, Any] = {}
    asked = time.monotonic()
    try:
        with NotedSignal() as noted:
            while waiting or jobs:
                noted.check()
                free = most_jobs - len(jobs)
                jobs |= _submit(executor, waiting[:free])
                waiting = waiting[free:]

                force = time.monotonic() - asked > ASK_SECONDS
                if force:
                    asked = time.monotonic()
                ended = [i for i, job in jobs.items() if job.done(force_check=force)]
                for index in ended:
                    yield index, _submitit_result(jobs.pop(index))
                time.sleep(POLL_SECONDS)
    finally:
        for job in jobs.values():
            job.cancel(check=False)


def _build_executor(
    folder: str, max_num_timeout: int, parameters: Mapping[str, Any]
) -> Any:
    import submitit

    executor = submitit.AutoExecutor(
        folder=_new_folder(folder),
        cluster="local",
        local_max_num_timeout=max_num_timeout,
    )
    named = {}
    for name, value in parameters.items():
        if value is not None:
            prefix = "" if name in SHARED_PARAMETERS else "slurm_"
            named[f"{prefix}{name}"] = value
    executor.update_parameters(**named)
    return executor


def _new_folder(folder: str) -> str:
    """The folder of submitit's files, with a part that no other sweep has.

    The number of a job is that of its process, which repeats. For a job that was
    killed, submitit loads the result that lies there, which may run code.
    """
    before, number, after = folder.partition("%j")
    own = f"{token_hex(8)}/{number}{after}"
    return f"{before}{own}" if number else f"{folder}/{own}"


def _submit(
    executor: Any, batch: Sequence[tuple[int, dict[str, Any]]]
) -> dict[int, Any]:
    """Start jobs.

    Args:
        executor: of submitit.
        batch: indices and configurations.

    Returns:
        submitit's jobs by index.
    """
    if not batch:
        return {}
    indices, configs = zip(*batch, strict=True)
    origins = [Origin.of_this_process()] * len(configs)
    jobs = executor.map_array(SubmititJob(), origins, configs)
    return dict(zip(indices, jobs, strict=True))


def _submitit_result(job: Any) -> dict[str, Any] | Stopped:
    try:
        return job.result()
    except Exception as error:  # one of submitit's own, or what the job raised
        return failed_result(
            f"job {job.job_id}: {first_line(error)}; see {job.paths.stderr}; "
            f"the same command tries it again"
        )
