"""Train the runs of a sweep in stacks, in worker processes that share the cores."""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from normlab.config.identity import run_folder
from normlab.endings import EarlyEnd, Interrupted, Stopped
from normlab.mistakes import reason
from normlab.stacked.grouping import AUTO, Options, Plan, plan
from normlab.sweeps.jobs import Job, failed_result, format_settings, varied_keys
from normlab.sweeps.queue import (
    Result,
    Results,
    ResultsOrStopped,
    preload,
    result_of,
    slots,
    stored_first,
)
from normlab.sweeps.workers import Died, Workers
from normlab.terminal import print_line, shorten, without_control
from normlab.training.experiment import run_until_lost, stored_result

PRELOAD = ("normlab.sweeps.stacks", "normlab.training.train", "normlab.stacked.driver")
MOST_NAMED = 4  # runs of a stack in a list
DEFAULTS = Options()


class Item(NamedTuple):
    """What a worker trains at a time.

    Attributes:
        configs: of the runs; several of them form a stack.
        options: of the stack.
        sharers: number of workers.
    """

    configs: list[dict[str, Any]]
    options: Options
    sharers: int


class Trained(NamedTuple):
    """What a worker returns.

    Attributes:
        results: of the runs, in order.
        notes: about their stack.
    """

    results: list[Result | Stopped]
    notes: list[str]


def run_stacked(
    configs: list[dict[str, Any]],
    workers: int | str = AUTO,
    jobs_per_gpu: int = 1,
    jobs_per_worker: int | None = None,
    options: Options = DEFAULTS,
) -> Results:
    """Run configurations in stacks; those with a stored result need no worker.

    Args:
        configs: checked configurations.
        workers, jobs_per_gpu: see `normlab.sweeps.queue.run_queued`.
        jobs_per_worker: after how many stacks a worker is replaced; None keeps it.
        options: of the stacks.

    Yields:
        the index of a configuration and its result; those of a stack together.

    Raises:
        ValueError: runs use several processes each.
        Stopped: a signal came and the workers have written their checkpoints, or no
            space is left on the disk.
    """
    train = partial(
        _train_in_workers,
        workers=workers,
        jobs_per_gpu=jobs_per_gpu,
        jobs_per_worker=jobs_per_worker,
        options=options,
    )
    return stored_first(configs, train)


def _train_in_workers(
    configs: list[dict[str, Any]],
    workers: int | str,
    jobs_per_gpu: int,
    jobs_per_worker: int | None,
    options: Options,
) -> ResultsOrStopped:
    found = plan_for(configs, os.environ, workers, jobs_per_gpu, options.members)
    firsts = [configs[numbers[0]] for numbers in found.items]
    environments = slots(firsts, os.environ, workers, jobs_per_gpu)
    quiet = [config | {"progress": False} for config in configs]
    items = []
    for numbers in found.items:
        chosen = [quiet[number] for number in numbers]
        items.append(Item(chosen, options, len(environments)))
    earlier = list(map(_result_time, configs))
    told: set[str] = set()
    modules = preload(configs[0], PRELOAD)
    with Workers(train_together, environments, jobs_per_worker, modules) as pool:
        for index, value in pool.run(items):
            if isinstance(value, Died):
                times = [earlier[number] for number in found.items[index]]
                value = _after_death(items[index], value, times)
            for note in value.notes:
                if note not in told:
                    print_line(f"note: {_name(items[index])}: {note}")
                told.add(note)
            yield from zip(found.items[index], value.results, strict=True)


def plan_for(
    configs: Sequence[dict[str, Any]],
    environment: Mapping[str, str],
    workers: int | str,
    jobs_per_gpu: int,
    members: int | str,
) -> Plan:
    """How the runs are divided among the workers that there would be.

    Args:
        configs: checked configurations.
        environment: the environment variables of this process.
        workers, jobs_per_gpu: see `run_stacked`.
        members: see `normlab.stacked.grouping.Options`.
    """
    all_slots = slots(list(configs), environment, workers, jobs_per_gpu)
    return plan(configs, len(all_slots), members)


def _name(item: Item) -> str:
    config = item.configs[0]
    runs = f"{len(item.configs)} runs with norm={config['choices']['norm']}"
    return runs if len(item.configs) > 1 else f"norm={config['choices']['norm']}"


def _result_time(config: dict[str, Any]) -> int | None:
    """When the result of a run was stored, in nanoseconds; None if there is none."""
    try:
        return (run_folder(config) / "result.json").stat().st_mtime_ns
    except OSError:
        return None


def _after_death(
    item: Item,
    died: Died,
    earlier: Sequence[int | None],
) -> Trained:
    """The results of runs whose worker died: those stored by then are whole.

    Args:
        item: what the worker trained.
        died: how it ended.
        earlier: `_result_time` of its runs before: `rerun=true` asks for other results.
    """
    failed = failed_result(f"{died.reason}; the same command tries it again")
    results: list[Result | Stopped] = []
    for config, time in zip(item.configs, earlier, strict=True):
        stored = None
        if not config["rerun"] or _result_time(config) != time:
            stored = stored_result(run_folder(config), config | {"rerun": False})
        results.append(stored or failed)
    return Trained(results, [])


def train_together(item: Item) -> Trained:
    """Train a stack, or one run, in a worker.

    Runs that cannot be stacked are trained one after the other.

    Args:
        item: the runs.

    Raises:
        SystemExit: a signal came for this worker alone.
    """
    try:
        if len(item.configs) == 1:
            return Trained([result_of(item.configs[0])], [])
        return _train_stack(item)
    except Interrupted as interrupted:
        raise SystemExit(interrupted.exit_code) from None


def _train_stack(item: Item) -> Trained:
    import torch

    from normlab.stacked.driver import train_stack

    # torch reads the variable when it is imported, which was before it was set.
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    ended = train_stack(item.configs, run_until_lost, item.options, item.sharers)
    results: list[Result | Stopped] = []
    for config, outcome in zip(item.configs, ended.results, strict=True):
        if outcome is None:
            # What `rerun` was to remove is gone; the checkpoints are of the stack.
            results.append(result_of(config | {"rerun": False}))
        elif isinstance(outcome, EarlyEnd):
            results.append(Stopped(str(outcome), outcome.exit_code))
        elif isinstance(outcome, Exception):
            results.append(failed_result(reason(outcome)))
        else:
            results.append(outcome)
    return Trained(results, ended.notes)


def print_stacks(jobs: Sequence[Job], found: Plan) -> None:
    """List the stacks of a sweep, and why other runs are trained by themselves.

    Args:
        jobs: those that are to be trained.
        found: how.
    """
    keys = varied_keys(jobs)
    for number, numbers in enumerate(found.stacks, start=1):
        names = [format_settings(jobs[each], keys) for each in numbers]
        line = f"stack {number}, {len(names)} runs: {shorten(names, MOST_NAMED)}"
        print(without_control(line))
    by_reason: dict[str, list[str]] = {}
    for number, why in found.alone.items():
        by_reason.setdefault(why, []).append(format_settings(jobs[number], keys))
    for why, names in by_reason.items():
        line = f"by themselves: {shorten(names, MOST_NAMED)}: {why}"
        print(without_control(line))
