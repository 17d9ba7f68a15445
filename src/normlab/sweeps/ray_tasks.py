"""Train configurations as tasks of Ray, on this machine or on a cluster.

A task whose machine was lost is started again on another one, and resumes its run from
the last checkpoint.
"""

import os
import socket
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any

from normlab.config.schema import read_option
from normlab.endings import Stopped
from normlab.messages import first_line
from normlab.signals import restored
from normlab.spelling import did_you_mean
from normlab.sweeps.clusters import (
    POLL_SECONDS,
    STOP_SECONDS,
    NotedSignal,
    train_remotely,
)
from normlab.sweeps.jobs import failed_result
from normlab.sweeps.origin import Origin

CONNECT_SECONDS = 10
CLIENT_PORT = 10001  # of ray://HOST


def check_options(init: Iterable[str], remote: Iterable[str]) -> None:
    """Refuse options of Ray that conf/ does not have.

    Some run code or read files, such as `runtime_env`, and a file may set them.

    Args:
        init: names of options of `ray.init`.
        remote: names of options of a task.

    Raises:
        ValueError: names the option.
    """
    known = read_option("hydra/launcher", "ray").keys
    for group, names in (("init", init), ("remote", remote)):
        start = f"hydra.launcher.{group}."
        allowed = [key.removeprefix(start) for key in known if key.startswith(start)]
        for name in names:
            if name not in allowed:
                raise ValueError(
                    f"{start}{name} must be left out: conf/hydra/launcher/ray.yaml "
                    f"has no such option{did_you_mean(name, allowed)}"
                )


def run_with_ray(
    configs: Sequence[dict[str, Any]],
    init: Mapping[str, Any],
    remote: Mapping[str, Any],
) -> Generator[tuple[int, dict[str, Any] | Stopped]]:
    """Train configurations as tasks of Ray.

    Args:
        configs: checked configurations.
        init: options of `ray.init`. With an address it joins a cluster, without one it
            starts Ray on this machine.
        remote: options of a task, such as num_cpus, num_gpus and max_retries.

    Yields:
        the index of a configuration, and its result, or `Stopped` if no other job could
        succeed; in the order in which the tasks end.

    Raises:
        ValueError: Ray does not start, or does not answer at the address.
        Stopped: a signal came.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray warns that this will become its default.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    starts_ray = not ray.is_initialized()
    if starts_ray:
        start_ray(init)
    task = ray.remote(**remote)(train_remotely)
    origin = ray.put(Origin.of_this_process())
    waiting = {}
    for index, config in enumerate(configs):
        waiting[task.remote(origin, config)] = index
    try:
        with NotedSignal() as noted:
            while waiting:
                noted.check()
                ended, _ = ray.wait(list(waiting), timeout=POLL_SECONDS)
                for reference in ended:
                    yield waiting.pop(reference), _result_of(reference)
    finally:
        for reference in waiting:
            ray.cancel(reference)
        if waiting:
            ray.wait(list(waiting), num_returns=len(waiting), timeout=STOP_SECONDS)
        if starts_ray:
            ray.shutdown()


def start_ray(init: Mapping[str, Any]) -> None:
    """Start Ray, or join the cluster at an address.

    Args:
        init: options of `ray.init`.

    Raises:
        ValueError: says why that did not succeed.
    """
    import ray

    address = init.get("address") or os.environ.get("RAY_ADDRESS")
    what = f"Ray does not answer at {address}" if address else "Ray does not start here"
    try:
        if address is not None:
            _knock(address)
        with restored():  # Ray installs a handler of its own, and leaves it
            ray.init(**init)
    except Exception as error:  # of many kinds, from several libraries
        raise ValueError(f"{what}: {first_line(error)}") from error


def _knock(address: str) -> None:
    """Connect to an address, since Ray itself would try for minutes.

    Args:
        address: `HOST:PORT`, `ray://HOST:PORT`, or a word such as `auto`.

    Raises:
        OSError: nobody answers.
    """
    is_client = address.startswith("ray://")
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if is_client and not host:
        host, port = port, str(CLIENT_PORT)
    if host and port.isdigit():
        place = (host.strip("[]"), int(port))
        socket.create_connection(place, timeout=CONNECT_SECONDS).close()


def _result_of(reference: Any) -> dict[str, Any] | Stopped:
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        name = type(error).__name__
        return failed_result(
            f"{name}: {first_line(error)}; the same command tries it again"
        )
