"""Jobs of a sweep on a cluster, by Ray or by submitit: a plain configuration goes there, a plain result comes back.

The machines share a file system, on which the outputs are. What a job has not finished, the next one of the same
configuration goes on with, wherever it runs.
"""

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from normlab import signals
from normlab.config.trust import load_only_weights
from normlab.endings import Stopped
from normlab.sweeps.jobs import failed_result
from normlab.sweeps.queue import count_cores, result_of
from normlab.sweeps.workers import raise_stopped

POLL_SECONDS = 0.5
ASK_SECONDS = (
    60  # how often SLURM is asked for jobs that may have ended without a result
)
STOP_SECONDS = 60
# Parameters that submitit knows for every cluster; the others are SLURM's.
SHARED = (
    "name",
    "timeout_min",
    "mem_gb",
    "nodes",
    "cpus_per_task",
    "gpus_per_node",
    "tasks_per_node",
)
SHARED += ("stderr_to_stdout",)


def need(package: str, launcher: str, extra: str) -> None:
    """Refuse a launcher without its package.

    Raises:
        ValueError: says how to install it.
    """
    if find_spec(package) is None:
        raise ValueError(
            f"hydra/launcher={launcher} needs the package {package}, which is not installed: "
            f"pip install 'normlab[{extra}]'"
        )


def train_there(folder: str, config: dict) -> dict | Stopped:
    """What a job does on its machine: train with the cores that it was given, in the folder of the sweep."""
    os.chdir(folder)
    os.environ.setdefault("OMP_NUM_THREADS", str(count_cores()))
    load_only_weights()
    try:
        return result_of(config | {"progress": False})
    except signals.Interrupted as interrupted:
        return failed_result(f"{interrupted}; the same command goes on with it")


class Stop:
    """`with Stop() as stop: ...` notes a stop signal, and `stop.check()` raises it.

    Ray waits in code that does not let an exception of a handler through.
    """

    def __enter__(self) -> "Stop":
        self.received, self.previous = 0, signals.restored()
        self.previous.__enter__()
        signals.install(self._note)
        return self

    def __exit__(self, *error: Any) -> None:
        self.previous.__exit__(*error)

    def _note(self, number: int, frame: Any) -> None:
        self.received = number

    def check(self) -> None:
        """Raises Stopped after a signal."""
        if self.received:
            raise_stopped(self.received, None)


def run_with_ray(
    configs: Sequence[dict], init: Mapping[str, Any], remote: Mapping[str, Any]
) -> Iterator[tuple[int, dict | Stopped]]:
    """Train configurations as tasks of Ray.

    Args:
        configs: checked.
        init: options of `ray.init`; an address joins a cluster, none starts Ray on this machine.
        remote: options of a task, such as num_cpus, num_gpus, max_retries.

    Yields:
        index and result, in the order in which they end.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault(
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0"
    )  # as Ray will do anyway
    import ray

    started = not ray.is_initialized()
    if started:
        ray.init(**init)
    task = ray.remote(**remote)(train_there)
    waiting = {
        task.remote(os.getcwd(), config): index for index, config in enumerate(configs)
    }
    try:
        with Stop() as stop:
            while waiting:
                stop.check()
                for done in ray.wait(list(waiting), timeout=POLL_SECONDS)[0]:
                    yield waiting.pop(done), _ray_result(done)
    finally:
        for reference in waiting:
            ray.cancel(reference)
        if waiting:
            ray.wait(list(waiting), num_returns=len(waiting), timeout=STOP_SECONDS)
        if started:
            ray.shutdown()


def _ray_result(reference: Any) -> dict | Stopped:
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[0]
        return failed_result(
            f"{type(error).__name__}: {reason}; the same command tries it again"
        )


class SubmititJob:
    """The function that submitit runs on a machine, and runs again after a preemption or at the end of its time."""

    def __call__(self, folder: str, config: dict) -> dict | Stopped:
        return train_there(folder, config)

    def checkpoint(self, folder: str, config: dict) -> Any:
        """submitit's hook. The run's state is on disk by then, see `normlab.callbacks.StopOnSignal`."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, folder, config)


def run_with_submitit(
    configs: Sequence[dict],
    cluster: str,
    folder: str,
    max_num_timeout: int,
    parameters: Mapping[str, Any],
) -> Iterator[tuple[int, dict | Stopped]]:
    """Train configurations as jobs of SLURM, or as processes of this machine that are handled alike.

    Args:
        configs: checked.
        cluster: `slurm` or `local`.
        folder: for submitit's files; `%j` is the number of a job.
        max_num_timeout: how often a job is queued again when its time is over.
        parameters: of a job, by the names of hydra-submitit-launcher; None is left to submitit.

    Yields:
        index and result, in the order in which they end.
    """
    executor = _executor(cluster, folder, max_num_timeout, parameters)
    at_once = (
        parameters.get("array_parallelism") or count_cores()
        if cluster == "local"
        else len(configs)
    )
    todo, jobs, asked = list(enumerate(configs)), {}, time.monotonic()
    try:
        with Stop() as stop:
            while todo or jobs:
                stop.check()
                batch, todo = todo[: at_once - len(jobs)], todo[at_once - len(jobs) :]
                jobs |= _submit(executor, batch)
                force = time.monotonic() - asked > ASK_SECONDS
                asked = time.monotonic() if force else asked
                for index in [
                    index for index, job in jobs.items() if job.done(force_check=force)
                ]:
                    yield index, _submitit_result(jobs.pop(index))
                time.sleep(POLL_SECONDS)
    finally:
        for job in jobs.values():
            job.cancel(check=False)


def _executor(
    cluster: str, folder: str, max_num_timeout: int, parameters: Mapping[str, Any]
) -> Any:
    import submitit

    if cluster == "slurm" and shutil.which("sbatch") is None:
        raise ValueError(
            "hydra/launcher=submitit_slurm must be used where SLURM's sbatch is, none was found in PATH"
        )
    executor = submitit.AutoExecutor(
        folder=folder,
        cluster=cluster,
        **{f"{cluster}_max_num_timeout": max_num_timeout},
    )
    named = {name: value for name, value in parameters.items() if value is not None}
    executor.update_parameters(
        **{
            name if name in SHARED else f"slurm_{name}": value
            for name, value in named.items()
        }
    )
    return executor


def _submit(executor: Any, batch: list[tuple[int, dict]]) -> dict[int, Any]:
    if not batch:
        return {}
    indices, configs = zip(*batch, strict=True)
    jobs = executor.map_array(SubmititJob(), [os.getcwd()] * len(configs), configs)
    return dict(zip(indices, jobs, strict=True))


def _submitit_result(job: Any) -> dict | Stopped:
    try:
        return job.result()
    except Exception as error:  # submitit's own, and whatever the job raised
        reason = str(error).strip().splitlines()[0]
        return failed_result(
            f"job {job.job_id}: {reason}; see {job.paths.stderr}; the same command tries it again"
        )
