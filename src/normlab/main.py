"""The command line: composes the configuration, runs it, and turns the user's mistakes into one line each."""

import gc
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import hydra
from hydra._internal.hydra import Hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from normlab import signals
from normlab.config import check, check_hydra, check_trust, configuration_directory, load_only_weights
from normlab.workers import Stopped

USER_MISTAKE = 2
PREEMPTED = 128 + signal.SIGUSR1

# Importing makes a million objects that stay; to look through them every 700 takes a tenth of the time to a first step.
OBJECTS_BETWEEN_COLLECTIONS = 50_000

MISTAKES = (HydraException, OmegaConfBaseException, YAMLError, ValueError)


def main() -> None:
    """Run the command line and exit: 0 done, 1 a run failed, 2 the user's mistake, 130 and 143 interrupted.

    In a SLURM job, SIGUSR1 means that its time is over: the run stops as on Ctrl-C and the job is queued again.
    """
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    if "SLURM_JOB_ID" not in os.environ:
        return _main()
    with signals.restored():
        signal.signal(signal.SIGUSR1, lambda number, frame: sys.exit(PREEMPTED))  # a run in training saves itself first
        try:
            return _main()
        except SystemExit as end:
            if end.code == PREEMPTED:
                requeue(os.environ)
            raise


def _main() -> None:
    # Hydra wants the plus for groups that no defaults list names; ours names these, and both forms mean the same.
    sys.argv[1:] = [re.sub(r"^\+(?=(study|experiment)=)", "", word) for word in sys.argv[1:]]
    show_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    load_only_weights()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then hands its errors to us instead of printing and exiting 1
    try:
        decorate = hydra.main(version_base="1.3", config_path=str(configuration_directory()), config_name="config")
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
        job = f"{environment['SLURM_ARRAY_JOB_ID']}_{environment['SLURM_ARRAY_TASK_ID']}"
    try:
        subprocess.run(["scontrol", "requeue", job], check=True)
        print(f"SLURM job {job} is queued again", file=sys.stderr)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"SLURM job {job} could not be queued again ({error}); submit it again to go on", file=sys.stderr)


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
    except Exception as error:
        if not hasattr(error, "exit_code"):
            raise
        _stop(str(error), error.exit_code)
    if config.dry_run:
        return result
    from normlab.terminal import print_result

    print_result(result, OmegaConf.to_container(config, resolve=True))
    if result["status"] == "failed":
        sys.exit(1)
    return result


def run_one(config: DictConfig, quiet: bool = False) -> dict:
    """One composed configuration, checked, to its result; with `dry_run` to a line about it."""
    from normlab.experiment import run

    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    check(plain)
    check_trust(plain, HydraConfig.get().overrides.task)
    if plain["dry_run"]:
        return _plan(plain)
    return run(plain | {"progress": plain["progress"] and not quiet})


def _plan(config: dict) -> dict:
    from normlab.jobs import Plan
    from normlab.sweeps import print_plans

    plan = Plan(tuple(HydraConfig.get().overrides.task), config)
    print_plans([plan])
    return {"status": plan.state}


def reason(error: Exception) -> str:
    """Why a job failed, in a line or two: the user's mistakes explained, all others with their class."""
    return explain(error) if isinstance(error, MISTAKES) else _with_class(error)


def _with_class(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def explain(error: Exception) -> str:
    """One or two lines for the user, with the near name where a name was misspelt."""
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        cause, target = error.__cause__, re.search(r"'([\w.]+)'", str(error))
        what = str(cause) if isinstance(cause, MISTAKES) else _with_class(cause)
        return f"{target.group(1)}: {what}" if target else what
    message = str(error)
    if option := re.search(r"Could not find '([^']+)'", message):
        return _explain_option(option.group(1), re.findall(r"^\t(\S+)$", message, re.MULTILINE))
    if key := re.search(r"Could not (?:override|append to|delete from config[^']*) '?([\w./@-]+)'?", message):
        return _explain_key(key.group(1))
    return "\n".join(line.strip() for line in message.splitlines()[:2] if line.strip())


def _explain_option(path: str, options: list[str]) -> str:
    group, _, option = path.rpartition("/")
    return f"{group}={option} does not exist{_nearest(option, options)}; {group} is one of {', '.join(options)}"


def _explain_key(key: str) -> str:
    part = "hydra" if key.startswith("hydra.") else "job"
    return f"the configuration has no key {key!r}{_nearest(key, _known_keys())}; `--cfg {part}` prints all keys"


def _nearest(name: str, names: list[str]) -> str:
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    return f", did you mean {near[0]!r}?" if near else ""


def _known_keys() -> list[str]:
    """Keys of the configuration, Hydra's too, with the groups that the command line picked, and the groups' names."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    directory = configuration_directory()
    groups = sorted(folder.name for folder in directory.iterdir() if folder.is_dir())
    names = [*groups, "hydra/launcher", "hydra/sweeper"]
    picked = [word for word in sys.argv[1:] if word.partition("=")[0] in names and "," not in word]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(directory), version_base="1.3"):
        config = compose("config", overrides=picked, return_hydra_config=True)
    return groups + _flat_keys(OmegaConf.to_container(config, resolve=False))


def _flat_keys(tree: dict, prefix: str = "") -> list[str]:
    keys = []
    for name, value in tree.items():
        keys.append(f"{prefix}{name}")
        if isinstance(value, dict):
            keys += _flat_keys(value, f"{prefix}{name}.")
    return keys
