"""The command line of training: compose the configuration, run it, report mistakes."""

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from normlab import signals
from normlab.config.composition import normalized, to_plain
from normlab.config.hydra_checks import hydra_checked
from normlab.config.hydra_node import config_dirs, words_of_search
from normlab.config.identity import configuration_directory
from normlab.config.own_code import find_own_code
from normlab.config.rules import check_composed, is_trial
from normlab.config.stored_plan import with_plan
from normlab.config.trust import guard_process
from normlab.config.variables import named_variables
from normlab.endings import EarlyEnd
from normlab.help import asks_for_help, help_text
from normlab.mistakes import MISTAKES, explain
from normlab.own_norms import take_own_norms
from normlab.programs import program
from normlab.sweeps.slurm_task import PREEMPTED, requeue
from normlab.terminal import output_may_end, print_line

USER_MISTAKE = 2


@output_may_end()
def main() -> None:
    """Run the command line and exit.

    Exit codes: 0 done, 1 a run failed, 2 the user's mistake, 130 or 143 interrupted. A
    reader of the output that ends, or a terminal that hangs up, changes none of them.

    In a SLURM job, SIGUSR1 announces the end of the job's time: the run stops as it
    does on Ctrl-C, and the job is queued again.
    """
    if "SLURM_JOB_ID" not in os.environ:
        return _run_hydra()
    with signals.restored():
        # While a run trains it has a handler of its own, which writes a checkpoint
        # first and then calls this one.
        signal.signal(signal.SIGUSR1, lambda number, frame: sys.exit(PREEMPTED))
        try:
            return _run_hydra()
        except SystemExit as end:
            if end.code == PREEMPTED:
                requeue(os.environ)
            raise


def _run_hydra() -> None:
    sys.argv[1:] = normalized(sys.argv[1:])
    guard_process()
    show_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    # With this, Hydra raises its errors instead of printing them and exiting with 1.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    decorate = hydra.main(
        version_base="1.3",
        config_path=str(configuration_directory()),
        config_name="config",
    )
    try:
        if asks_for_help(sys.argv[1:]):
            print(help_text(sys.argv[1:], program("train")))
            return
        sys.argv[1:] = take_own_norms(sys.argv[1:])
        _refuse_unknown_flags(sys.argv[1:])
        with hydra_checked(), named_variables(sys.argv[1:]):
            decorate(_job)()
    except MISTAKES as error:
        if show_traceback:
            raise
        _exit_with_mistake(error)
    except EarlyEnd as end:
        _exit_early(end)
    except OSError as error:
        if show_traceback:
            raise
        print_line(f"error: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def _refuse_unknown_flags(words: Sequence[str]) -> None:
    """Refuse `--lr=0.1`, to which Hydra answers with a page about all its flags.

    `get_args_parser` is a private interface of Hydra (hydra-core 1.3.8).
    """
    _, unknown = get_args_parser().parse_known_args(words)
    for word in unknown:
        if word.startswith("-"):
            raise ValueError(
                f"{word} is no flag of this command; settings have no dashes in "
                "front, as in optimizer.lr=0.1"
            )


def _exit_with_mistake(error: Exception) -> NoReturn:
    print_line(f"error: {explain(error)}")
    sys.exit(USER_MISTAKE)


def _exit_early(end: EarlyEnd) -> NoReturn:
    print_line(f"{end}; {end.advice}")
    sys.exit(end.exit_code)


def _job(config: DictConfig) -> dict[str, Any]:
    """What Hydra calls for every job.

    A sweep collects the exceptions of its jobs; a single run ends with its exception.
    """
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        return run_one(config, quiet=True)
    try:
        result = run_one(config)
    except MISTAKES as error:  # Hydra would print a line of its own before ours
        _exit_with_mistake(error)
    except EarlyEnd as end:
        _exit_early(end)
    if not config.dry_run:
        _report(result, config)
    return result


def _report(result: dict[str, Any], config: DictConfig) -> None:
    from normlab.training.display import print_result

    print_result(result, to_plain(config))
    if result["status"] == "failed":
        sys.exit(1)


def run_one(config: DictConfig, quiet: bool = False) -> dict[str, Any]:
    """Check one composed configuration and return its result.

    With `dry_run=true` a line about the run is printed, and nothing is written.

    Args:
        config: as Hydra composed it.
        quiet: show no progress.
    """
    from normlab.training.experiment import run

    plain = to_plain(config)
    hydra_node = HydraConfig.get()
    # Not Hydra's record: in a sweep, it holds words of files.
    added = words_of_search(hydra_node.overrides.task)
    check_composed(plain, [*sys.argv[1:], *added], config)
    find_own_code(plain["trusted_packages"], config_dirs(hydra_node))
    if is_trial(plain) and hydra_node.mode != RunMode.MULTIRUN:
        raise ValueError("study.try=true tries the sweep of a study: add -m")
    if plain["dry_run"]:
        return _dry_run(plain)
    plain = with_plan(plain, hydra_node)
    return run(plain | {"progress": plain["progress"] and not quiet})


def _dry_run(config: dict[str, Any]) -> dict[str, Any]:
    from normlab.sweeps.display import print_jobs
    from normlab.sweeps.jobs import Job

    job = Job(tuple(HydraConfig.get().overrides.task), config)
    print_jobs([job])
    return {"status": job.state}
