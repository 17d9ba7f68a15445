"""Train configurations in worker processes that share the cores and GPUs."""

import os
import subprocess
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any

from normlab.config.identity import run_folder
from normlab.config.trust import OWN_NORMS_VARIABLE
from normlab.config.types import is_whole
from normlab.cores import slurm_cores
from normlab.endings import EarlyEnd, Interrupted, Stopped
from normlab.mistakes import reason
from normlab.sweeps.jobs import failed_result
from normlab.sweeps.libraries import libraries_of
from normlab.sweeps.workers import Died, Workers
from normlab.training.experiment import run, stored_result

Result = dict[str, Any]
# The index of a configuration, and its result.
Results = Generator[tuple[int, Result]]
# The same, or `Stopped` if no other configuration can succeed.
ResultsOrStopped = Generator[tuple[int, Result | Stopped]]

# What the server process of the workers imports. The second module is one that `run`
# imports only when it trains. Together they import all that a job needs, except what
# its configuration names, see `preload`.
PRELOAD = ("normlab.sweeps.queue", "normlab.training.train")


def preload(
    config: dict[str, Any], modules: tuple[str, ...] = PRELOAD
) -> tuple[str, ...]:
    """What the server process of the workers imports.

    Args:
        config: the first configuration to train; the others may have other data.
        modules: what it imports for any configuration.
    """
    return (*modules, *libraries_of(config["dataset"]))


def run_queued(
    configs: list[dict[str, Any]],
    workers: int | str = "auto",
    jobs_per_gpu: int = 1,
    jobs_per_worker: int | None = None,
) -> Results:
    """Run configurations side by side; those with a stored result need no worker.

    Args:
        configs: checked configurations.
        workers: number of worker processes, or `auto`, see `slots`.
        jobs_per_gpu: how many jobs share a GPU if `workers` is `auto`.
        jobs_per_worker: after how many jobs a worker is replaced; None keeps it.

    Yields:
        the index of a configuration and its result, in the order in which they end.

    Raises:
        Stopped: a signal came and the workers have written their checkpoints, or no
            space is left on the disk.
    """
    train = partial(
        _train_in_workers,
        workers=workers,
        jobs_per_gpu=jobs_per_gpu,
        jobs_per_worker=jobs_per_worker,
    )
    return stored_first(configs, train)


def stored_first(
    configs: list[dict[str, Any]],
    train: Callable[[list[dict[str, Any]]], ResultsOrStopped],
) -> Results:
    """Yield stored results at once, and those of the other configurations as they end.

    Args:
        configs: checked configurations.
        train: trains the configurations without a result. It yields the index of one
            among them with its result, or with `Stopped` if no other can succeed. It is
            not called if all results are stored.

    Yields:
        the index of a configuration and its result.

    Raises:
        Stopped: the one that `train` yielded.
    """
    to_train = []
    for index, config in enumerate(configs):
        stored = stored_result(run_folder(config), config)
        if stored is None:
            to_train.append(index)
        else:
            yield index, stored
    if not to_train:
        return
    with closing(train([configs[index] for index in to_train])) as results:
        for number, result in results:
            if isinstance(result, Stopped):
                raise result
            yield to_train[number], result


def _train_in_workers(
    configs: list[dict[str, Any]],
    workers: int | str,
    jobs_per_gpu: int,
    jobs_per_worker: int | None,
) -> ResultsOrStopped:
    environments = slots(configs, os.environ, workers, jobs_per_gpu)
    quiet = [config | {"progress": False} for config in configs]
    modules = preload(configs[0])
    with Workers(train_one, environments, jobs_per_worker, modules) as pool:
        for index, value in pool.run(quiet):
            if isinstance(value, Died):
                why = f"{value.reason}; the same command tries it again"
                yield index, failed_result(why)
            else:
                yield index, value


def train_one(config: dict[str, Any]) -> Result | Stopped:
    """Train one configuration in a worker, see `result_of`.

    Args:
        config: a checked configuration.

    Raises:
        SystemExit: a signal came for this worker alone.
    """
    try:
        return result_of(config)
    except Interrupted as interrupted:
        raise SystemExit(interrupted.exit_code) from None


def result_of(config: dict[str, Any]) -> Result | Stopped:
    """Run one configuration, with as many threads as `OMP_NUM_THREADS` says.

    Args:
        config: a checked configuration.

    Returns:
        its result, which is a failed one if the run raised an exception, or `Stopped`
        if no other job can succeed either.

    Raises:
        Interrupted: a signal came.
    """
    import torch

    # torch reads the variable when it is imported, which was before it was set.
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    try:
        return run(config)
    except Interrupted:
        raise
    except EarlyEnd as error:
        return Stopped(str(error), error.exit_code)
    except Exception as error:
        return failed_result(reason(error))


def check_options(
    workers: int | str, jobs_per_gpu: int, jobs_per_worker: int | None
) -> None:
    """Check the options of the queue.

    Args:
        workers: `auto` or a whole number of at least 1.
        jobs_per_gpu: a whole number of at least 1.
        jobs_per_worker: None or a whole number of at least 1.

    Raises:
        ValueError: names the option.
    """
    if workers != "auto":
        _check_count("workers", workers, "auto or ")
    _check_count("jobs_per_gpu", jobs_per_gpu)
    if jobs_per_worker is not None:
        _check_count("jobs_per_worker", jobs_per_worker, "null or ")


def _check_count(option: str, value: Any, alternative: str = "") -> None:
    if not is_whole(value) or value < 1:
        raise ValueError(
            f"hydra.launcher.{option} must be {alternative}a whole number "
            f"of at least 1, got {value!r}"
        )


def slots(
    configs: list[dict[str, Any]],
    environment: Mapping[str, str],
    workers: int | str = "auto",
    jobs_per_gpu: int = 1,
) -> list[dict[str, str]]:
    """The environment variables of every worker: its share of the cores, and its GPUs.

    Args:
        configs: the configurations to train. The largest `device.devices` among them
            holds for all.
        environment: the environment variables of this process.
        workers: number of workers; `auto` is `jobs_per_gpu` for every GPU, or one per
            core if no GPU is used. There are never more workers than configurations.
        jobs_per_gpu: how many workers share a GPU.
    """
    devices = max((config["device"]["devices"] for config in configs), default=1)
    gpus = visible_gpus(environment) if _want_gpus(configs) else []
    shares = []
    for first in range(0, len(gpus) - devices + 1, devices):
        shares.append(gpus[first : first + devices])

    cores = count_cores()
    if workers != "auto":
        wanted = int(workers)
    elif shares:
        wanted = len(shares) * jobs_per_gpu
    else:
        wanted = cores // devices
    count = max(1, min(wanted, len(configs)))

    threads = max(1, cores // count)
    limit = environment.get("OMP_NUM_THREADS", "")
    if limit.isdigit() and int(limit) > 0:
        threads = min(threads, int(limit))

    environments = []
    for number in range(count):
        variables = {"OMP_NUM_THREADS": str(threads)}
        if OWN_NORMS_VARIABLE in environment:  # may be set after the server started
            variables[OWN_NORMS_VARIABLE] = environment[OWN_NORMS_VARIABLE]
        if shares:
            share = shares[number % len(shares)]
            variables["CUDA_VISIBLE_DEVICES"] = ",".join(share)
        environments.append(variables)
    return environments


def _want_gpus(configs: Sequence[dict[str, Any]]) -> bool:
    """Whether any configuration uses a GPU if there is one."""
    accelerators = {config["device"]["accelerator"] for config in configs}
    return not accelerators.isdisjoint(("auto", "cuda"))


def visible_gpus(environment: Mapping[str, str]) -> list[str]:
    """Names of the GPUs that this process may use, without importing torch.

    Args:
        environment: the environment variables of this process.

    Returns:
        names that `CUDA_VISIBLE_DEVICES` takes.
    """
    if "CUDA_VISIBLE_DEVICES" in environment:
        return _split_gpus(environment["CUDA_VISIBLE_DEVICES"])
    command = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return answer.stdout.split()


def _split_gpus(variable: str) -> list[str]:
    """The names in `CUDA_VISIBLE_DEVICES`. CUDA ignores all after an invalid one."""
    names = []
    for word in variable.split(","):
        name = word.strip()
        if name in ("", "-1"):
            break
        names.append(name)
    return names


def count_cores() -> int:
    """The cores that this process may use.

    They follow from its affinity, the limits of a container, and SLURM's variables.
    """
    from joblib import cpu_count

    cores = cpu_count()
    return min(cores, slurm_cores(os.environ) or cores)
