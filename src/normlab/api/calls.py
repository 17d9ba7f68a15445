"""Run, sweep and load from Python, as the command line does."""

import os
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from hydra._internal.callbacks import Callbacks
from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn

from normlab.api.results import Run, Runs
from normlab.api.swaps import Swaps
from normlab.api.words import sweep_words_of, words_of
from normlab.compare.runs import find_runs
from normlab.config.composition import checked_config, composed_sweep
from normlab.config.own_code import find_own_code
from normlab.config.rules import check_composed
from normlab.config.stored_plan import with_plan
from normlab.config.trust import GUARDS, guard_process
from normlab.endings import EarlyEnd
from normlab.mistakes import MISTAKES, explain, reason
from normlab.norms.construction import norm_builder
from normlab.sweeps.jobs import (
    EndedJob,
    failed_result,
    refuse_dry_run,
    varied_keys,
)
from normlab.sweeps.queue import stored_first
from normlab.training import experiment

_busy = threading.Lock()


def run(*overrides: str, config_dir: str | Path | None = None, **settings: Any) -> Run:
    """Train one run, or return it if it is stored.

    ::

        run = normlab.run("model=lenet5 dataset=mnist", norm=MyNorm, seed=0)
        run.metrics["test/accuracy"]

    It has the folder, the digest and the bits that `train.py` with the same words
    gives.

    Args:
        overrides: as on the command line of `train.py`.
        config_dir: a folder of your own with the layout of conf/.
        settings: overrides by key. `norm` may also be a class or a function.

    Raises:
        ValueError: a mistake in the settings or in the data; nothing was written.
        RuntimeError: another run of this process is not finished, or this is not the
            main thread.
        KeyboardInterrupt: the run was interrupted; the same call resumes it.
    """
    with _one_call():
        words = words_of(overrides, settings)
        config = _configuration(words, _as_path(config_dir))
        refuse_dry_run(config)
        folder = experiment.run_folder(config)
        experiment.run(config)
    return Run(folder, config["trusted_packages"])


def sweep(
    *overrides: str,
    launcher: str | None = None,
    config_dir: str | Path | None = None,
    **settings: Any,
) -> Runs:
    """Train all combinations of the values of a sweep; stored runs are not repeated.

    ::

        runs = normlab.sweep("model=lenet5", norm=["none", MyNorm], seed=range(10))
        runs.compare(by="norm")

    Args:
        overrides: as on the command line of `train.py -m`, also `experiment=NAME`.
        launcher: where the runs train: None one after the other in this process,
            `queue` in processes beside it, or another option of hydra/launcher.
        config_dir: a folder of your own with the layout of conf/.
        settings: overrides by key; a list or a range holds the values of a key. If a
            value is itself a list, as of `trusted_packages` or `model.hidden`, a list
            is one value, and a list of lists holds several.

    Returns:
        the runs, in the order of the combinations. Failed ones are among them.

    Raises:
        ValueError: a mistake in the settings, and nothing was trained; or a run could
            not begin, and the others are stored.
        RuntimeError: another run of this process is not finished, or this is not the
            main thread.
        KeyboardInterrupt: the sweep was interrupted; the same call resumes it.
    """
    with _one_call():
        words = sweep_words_of(overrides, settings)
        if launcher is not None:
            words.append(f"hydra/launcher={launcher}")
        with composed_sweep(words, _as_path(config_dir)) as (loader, config):
            sweeper = _sweeper(loader, config)
            ended = sweeper.train(list(config.hydra.overrides.task))
    return _runs_of(ended, list(config.trusted_packages))


def _runs_of(jobs: Sequence[EndedJob], trusted: list[str]) -> Runs:
    """The runs of jobs that have ended.

    Raises:
        ValueError: a job failed before its run had a folder.
    """
    runs = []
    for job in jobs:
        assert job.folder is not None
        if not (job.folder / "config.yaml").is_file():
            failure = job.failure(varied_keys(jobs))
            raise ValueError(f"{failure}; the other runs are stored")
        runs.append(Run(job.folder, trusted))
    return Runs(runs)


def load(*folders: str | Path, trusted: Sequence[str] = ()) -> Runs:
    """Load stored runs.

    Args:
        folders: folders of runs, or folders that contain some at any depth.
        trusted: packages of your own that the runs may call.

    Raises:
        ValueError: a folder does not exist, or there is no run in any.
    """
    found = [Run(path, trusted) for path in find_runs(list(folders), [])]
    if not found:
        names = ", ".join(map(str, folders))
        raise ValueError(f"{names} must contain runs, there is none")
    return Runs(found)


def swap(
    network: nn.Module,
    norm: str | Callable[..., Any],
    how: str = "auto",
    **options: Any,
) -> Swaps:
    """Change the norms of any network in place.

    Args:
        network: any module, such as one of torchvision. It must not itself be a norm.
        norm: an option of conf/norm, a class, or a function.
        how: `replace` the norms that the network has, `insert` norms after its linear
            layers and convolutions, or `auto`: replace if there are any, else insert.
        options: of the norm, such as `num_groups=8`.

    Returns:
        What happened to each layer, a list that shows itself as a table.

    Raises:
        ValueError: there is no such norm, or nothing to replace.
    """
    if callable(norm):
        return _swapped(network, norm_builder(norm, **options), how)
    words = [f"norm={norm}", *words_of((), {"norm": options})]
    with _mistakes():
        config = _configuration(words, None)
        if config["reparametrize"] is not None:
            instantiate(config["reparametrize"], _convert_="all")(network)
            return Swaps()
        build = instantiate(config["norm"], _convert_="all")
        return _swapped(network, build, how)


def _swapped(network: nn.Module, build: Callable[..., nn.Module], how: str) -> Swaps:
    from normlab.models.library import swap_norms

    return Swaps(swap_norms(network, build, how, "the network", option="how"))


def _as_path(folder: str | Path | None) -> Path | None:
    return None if folder is None else Path(folder)


def _configuration(words: Sequence[str], config_dir: Path | None) -> dict[str, Any]:
    """The checked configuration of one run."""
    config, composed = checked_config(words, config_dir)
    check_composed(config, words, composed)
    find_own_code(config["trusted_packages"], _folders(config_dir))
    return with_plan(config, composed.hydra)


def _folders(config_dir: Path | None) -> list[Path]:
    return [] if config_dir is None else [config_dir]


class _InProcess:
    """A launcher that runs the jobs one after the other in this process."""

    def stream_results(
        self, configs: list[dict[str, Any]]
    ) -> Generator[tuple[int, dict[str, Any]]]:
        return stored_first(configs, self._train)

    def _train(
        self, configs: list[dict[str, Any]]
    ) -> Generator[tuple[int, dict[str, Any]]]:
        for index, config in enumerate(configs):
            try:
                yield index, experiment.run(config | {"progress": False})
            except EarlyEnd:
                raise
            except Exception as error:
                yield index, failed_result(reason(error))


def _sweeper(loader: Any, config: DictConfig) -> Any:
    """The sweeper of a checked configuration, as Hydra builds it."""
    sweeper = Plugins.instance().instantiate_sweeper(
        config=config,
        hydra_context=HydraContext(config_loader=loader, callbacks=Callbacks()),
        task_function=_no_task,
    )
    if not hasattr(sweeper, "train"):
        raise ValueError(
            "sweep forms all combinations of values (hydra/sweeper=grid); a search by "
            "hydra/sweeper=optuna is for the command line"
        )
    # Not `isinstance`: Hydra imports its plugins anew when it looks for them.
    if type(sweeper.launcher).__name__ == "BasicLauncher":
        setattr(sweeper, "launcher", _InProcess())  # noqa: B010
    elif not hasattr(sweeper.launcher, "stream_results"):
        target = config.hydra.launcher._target_
        raise ValueError(
            f"launcher must be one of normlab's, such as queue, got {target}, which "
            f"runs tasks of a command line"
        )
    return sweeper


def _no_task(config: DictConfig) -> None:
    raise RuntimeError("launchers of normlab run configurations, not tasks")


@contextmanager
def _one_call() -> Iterator[None]:
    """Let one call train at a time, and leave the process as it was."""
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError(
            "runs train in the main thread only, which gets the signals; call this "
            "there, and use launcher='queue' to train several at a time"
        )
    if not _busy.acquire(blocking=False):
        raise RuntimeError(
            "one call trains at a time in a process; use sweep with launcher='queue' "
            "to train several at a time"
        )
    threads = torch.get_num_threads()
    variables = {name: os.environ.get(name) for name in GUARDS}
    try:
        guard_process()
        with _mistakes():
            yield
    finally:
        torch.set_num_threads(threads)
        for name, value in variables.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        _busy.release()


@contextmanager
def _mistakes() -> Iterator[None]:
    """Raise the user's mistakes as `ValueError` in one line."""
    try:
        yield
    except EarlyEnd as end:
        if end.exit_code > 128:  # 128 and the number of a signal
            raise KeyboardInterrupt(f"{end}; the same call resumes") from None
        raise RuntimeError(f"{end}; {end.advice}") from None
    except MISTAKES as error:
        raise ValueError(explain(error)) from None
