"""The command line: composes the configuration, runs it, and turns the user's mistakes into one line each."""

import gc
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import hydra
from hydra._internal.hydra import Hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from normlab import signals
from normlab.config.identity import configuration_directory
from normlab.config.rules import check
from normlab.config.trust import check_hydra, check_trust, load_only_weights
from normlab.endings import EarlyEnd, Stopped
from normlab.mistakes import MISTAKES, explain

USER_MISTAKE = 2
PREEMPTED = 128 + signal.SIGUSR1

# Importing makes a million objects that stay; to look through them every 700 takes a tenth of the time to a first step.
OBJECTS_BETWEEN_COLLECTIONS = 50_000


def main() -> None:
    """Run the command line and exit: 0 done, 1 a run failed, 2 the user's mistake, 130 and 143 interrupted.

    In a SLURM job, SIGUSR1 means that its time is over: the run stops as on Ctrl-C and the job is queued again.
    """
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    if "SLURM_JOB_ID" not in os.environ:
        return _main()
    with signals.restored():
        signal.signal(
            signal.SIGUSR1, lambda number, frame: sys.exit(PREEMPTED)
        )  # a run in training saves itself first
        try:
            return _main()
        except SystemExit as end:
            if end.code == PREEMPTED:
                requeue(os.environ)
            raise


def _main() -> None:
    # Hydra wants the plus for groups that no defaults list names; ours names these, and both forms mean the same.
    sys.argv[1:] = [
        re.sub(r"^\+(?=(study|experiment)=)", "", word) for word in sys.argv[1:]
    ]
    show_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    load_only_weights()
    os.environ["HYDRA_FULL_ERROR"] = (
        "1"  # Hydra then hands its errors to us instead of printing and exiting 1
    )
    try:
        decorate = hydra.main(
            version_base="1.3",
            config_path=str(configuration_directory()),
            config_name="config",
        )
        with _hydra_checked():
            decorate(_job)()
    except MISTAKES as error:
        if show_traceback:
            raise
        _exit_with(error)
    except Stopped as stopped:
        _stop(stopped.reason, stopped.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


@contextmanager
def _hydra_checked() -> Iterator[None]:
    """Hydra calls what `hydra.callbacks` and its logging name before any code of ours has seen the configuration."""
    compose = Hydra.compose_config

    def checked(*arguments: Any, **options: Any) -> DictConfig:
        config = compose(*arguments, **options)
        check_hydra(OmegaConf.to_container(config.hydra, resolve=False))
        return config

    Hydra.compose_config = checked
    try:
        yield
    finally:
        Hydra.compose_config = compose


def requeue(environment: Mapping[str, str]) -> None:
    """Ask SLURM to start this job again; its command then goes on with the run. One process of a job asks."""
    if environment.get("SLURM_PROCID", "0") != "0":
        return
    job = environment["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in environment:
        job = (
            f"{environment['SLURM_ARRAY_JOB_ID']}_{environment['SLURM_ARRAY_TASK_ID']}"
        )
    try:
        subprocess.run(["scontrol", "requeue", job], check=True)
        print(f"SLURM job {job} is queued again", file=sys.stderr)
    except (OSError, subprocess.CalledProcessError) as error:
        print(
            f"SLURM job {job} could not be queued again ({error}); submit it again to go on",
            file=sys.stderr,
        )


def _exit_with(error: Exception) -> None:
    print(f"error: {explain(error)}", file=sys.stderr)
    sys.exit(USER_MISTAKE)


def _stop(why: str, exit_code: int) -> None:
    print(f"{why}; the same command goes on from here", file=sys.stderr)
    sys.exit(exit_code)


def _job(config: DictConfig) -> dict:
    """What Hydra calls: a sweep collects what a job raises, a single run ends with it."""
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        return run_one(config, quiet=True)
    try:
        result = run_one(config)
    except MISTAKES as error:  # Hydra would print a line of its own before ours
        _exit_with(error)
    except EarlyEnd as end:
        _stop(str(end), end.exit_code)
    if config.dry_run:
        return result
    from normlab.training.display import print_result

    print_result(result, OmegaConf.to_container(config, resolve=True))
    if result["status"] == "failed":
        sys.exit(1)
    return result


def run_one(config: DictConfig, quiet: bool = False) -> dict:
    """One composed configuration, checked, to its result; with `dry_run` to a line about it."""
    from normlab.training.experiment import run

    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    check(plain)
    check_trust(plain, HydraConfig.get().overrides.task)
    if plain["dry_run"]:
        return _plan(plain)
    return run(plain | {"progress": plain["progress"] and not quiet})


def _plan(config: dict) -> dict:
    from normlab.sweeps.display import print_plans
    from normlab.sweeps.jobs import Plan

    plan = Plan(tuple(HydraConfig.get().overrides.task), config)
    print_plans([plan])
    return {"status": plan.state}
