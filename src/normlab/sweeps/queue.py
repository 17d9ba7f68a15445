"""Configurations to results through worker processes: how many, with which share of the machine."""

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial
from itertools import takewhile

from normlab.config.identity import run_folder
from normlab.endings import EarlyEnd, Interrupted, Stopped
from normlab.sweeps.jobs import failed_result
from normlab.sweeps.workers import Died, Workers
from normlab.training.experiment import run, stored_result

PRELOAD = ("normlab.sweeps.queue", "normlab.training.fit")


def run_queued(
    configs: list[dict],
    workers: int | str = "auto",
    jobs_per_gpu: int = 1,
    jobs_per_worker: int | None = None,
) -> Iterator[tuple[int, dict]]:
    """Run checked configurations side by side; those with a stored result need no worker.

    Yields:
        index and result, in the order in which they end.

    Raises:
        Stopped: by a signal, after the workers have written their checkpoints, or by a full disk.
    """
    yield from stored_first(
        configs,
        partial(
            _queued, options=(workers, jobs_per_gpu), jobs_per_worker=jobs_per_worker
        ),
    )


def stored_first(
    configs: list[dict],
    train: Callable[[list[dict]], Iterator[tuple[int, dict | Stopped]]],
) -> Iterator[tuple[int, dict]]:
    """Stored results at once, then those of the other configurations as `train` gives them, if there are others.

    Args:
        configs: checked.
        train: configurations without a result -> index among these and result, or `Stopped`, as they end.

    Raises:
        Stopped: what `train` gave.
    """
    to_train = []
    for index, config in enumerate(configs):
        if (stored := stored_result(run_folder(config), config)) is not None:
            yield index, stored
        else:
            to_train.append(index)
    if not to_train:
        return
    with closing(train([configs[index] for index in to_train])) as ended:
        for number, value in ended:
            if isinstance(value, Stopped):
                raise value
            yield to_train[number], value


def _queued(
    configs: list[dict], options: tuple[int | str, int], jobs_per_worker: int | None
) -> Iterator[tuple[int, dict | Stopped]]:
    with Workers(
        train_one, slots(configs, os.environ, *options), jobs_per_worker, PRELOAD
    ) as pool:
        for number, value in pool.run(
            [config | {"progress": False} for config in configs]
        ):
            if isinstance(value, Died):
                value = failed_result(
                    f"{value.reason}; the same command tries it again"
                )
            yield number, value


def train_one(config: dict) -> dict | Stopped:
    """What a worker does with a job.

    Raises:
        SystemExit: a signal came for this worker alone.
    """
    try:
        return result_of(config)
    except Interrupted as interrupted:
        raise SystemExit(interrupted.exit_code) from None


def result_of(config: dict) -> dict | Stopped:
    """A job's result, a failed one where it raised, or why no other job needs to be tried.

    Raises:
        Interrupted: a signal came.
    """
    import torch

    from normlab.endings import Interrupted
    from normlab.mistakes import reason

    torch.set_num_threads(
        int(os.environ["OMP_NUM_THREADS"])
    )  # torch was imported before this variable was set
    try:
        return run(config)
    except Interrupted:
        raise
    except Exception as error:
        if isinstance(error, EarlyEnd):
            return Stopped(str(error), error.exit_code)
        return failed_result(reason(error))


def check_options(
    workers: int | str, jobs_per_gpu: int, jobs_per_worker: int | None
) -> None:
    """Refuse numbers below one.

    Raises:
        ValueError: names the option.
    """
    for name, value, other in (
        ("workers", workers, "auto"),
        ("jobs_per_gpu", jobs_per_gpu, 1),
        ("jobs_per_worker", jobs_per_worker, None),
    ):
        if value != other and (
            not isinstance(value, int) or isinstance(value, bool) or value < 1
        ):
            instead = {None: "null or ", "auto": "auto or "}.get(other, "")
            raise ValueError(
                f"hydra.launcher.{name} must be {instead}a whole number of at least 1, got {value!r}"
            )


def slots(
    configs: list[dict],
    environment: Mapping[str, str],
    workers: int | str = "auto",
    jobs_per_gpu: int = 1,
) -> list[dict[str, str]]:
    """Environment variables of every worker: its share of the cores, and its GPUs.

    Args:
        configs: the jobs to train; the largest `device.devices` counts for all.
        environment: of this process.
    """
    devices = max((config["device"]["devices"] for config in configs), default=1)
    wants_gpu = any(
        config["device"]["accelerator"] in ("auto", "cuda") for config in configs
    )
    gpus = visible_gpus(environment) if wants_gpu else []
    shares = [
        gpus[first : first + devices]
        for first in range(0, len(gpus) - devices + 1, devices)
    ]
    cores = count_cores()
    if workers == "auto":
        workers = len(shares) * jobs_per_gpu if shares else max(1, cores // devices)
    count = max(1, min(int(workers), len(configs)))
    share = max(1, cores // count)
    limit = environment.get("OMP_NUM_THREADS", "")
    threads = str(
        min(share, int(limit)) if limit.isdigit() and int(limit) > 0 else share
    )
    return [
        {"OMP_NUM_THREADS": threads} | _gpus_of(number, shares)
        for number in range(count)
    ]


def _gpus_of(worker: int, shares: list[list[str]]) -> dict[str, str]:
    return (
        {"CUDA_VISIBLE_DEVICES": ",".join(shares[worker % len(shares)])}
        if shares
        else {}
    )


def visible_gpus(environment: Mapping[str, str]) -> list[str]:
    """Names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES takes them; torch is not needed for it."""
    if "CUDA_VISIBLE_DEVICES" in environment:
        names = [
            name.strip() for name in environment["CUDA_VISIBLE_DEVICES"].split(",")
        ]
        return list(
            takewhile(lambda name: name not in ("", "-1"), names)
        )  # CUDA stops at the first that is none
    command = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=60
        ).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return []


def count_cores() -> int:
    """Cores that this process may use, by affinity and by the limits of its container."""
    from joblib import cpu_count

    return cpu_count()
