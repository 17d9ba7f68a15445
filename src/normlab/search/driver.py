"""The loop of a search: take trials, run them, store how they ended, and report."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString
from optuna.trial import Trial

from normlab.mistakes import MISTAKES, reason
from normlab.programs import program
from normlab.search.definition import check_definition
from normlab.search.display import SearchProgress, print_plan, print_results
from normlab.search.objective import ENDED, Outcome, outcome
from normlab.search.options import worst_value
from normlab.search.plan import Compose, SearchPlan, StreamResults
from normlab.search.space import words
from normlab.search.storage import (
    Search,
    begun_trials,
    find_name,
    load_optuna_study,
    storage_address,
)
from normlab.sweeps.jobs import Job, failed_result

ResultBySeed = dict[int, dict[str, Any]]


@dataclass(frozen=True)
class TrialRun:
    """A run of a trial.

    Attributes:
        trial: the trial.
        seed: the seed of the run.
        reports: whether the run reports to the trial after every epoch.
    """

    trial: Trial
    seed: int
    reports: bool


def run_search(
    plan: SearchPlan,
    compose: Compose,
    stream_results: StreamResults,
    workers: int,
    config_dir: Sequence[str] = (),
) -> bool:
    """Run trials until `n_trials` are done, here or in other processes, then report.

    Args:
        plan: what `plan_search` returned.
        compose: turns overrides into a resolved and checked configuration.
        stream_results: runs jobs and yields the index and the result of each, in the
            order in which they end.
        workers: how many trials run at a time, unless the option `n_jobs` is set.
        config_dir: the words of the command line that name folders of configurations.

    Returns:
        whether no trial failed.
    """
    size = plan.options.n_jobs or workers
    retry = plan.config["retry"] == "failed"
    command = [*program("train").split(), "-m", *config_dir, *plan.fixed]
    address = storage_address(plan.options.storage, plan.folder)
    name = find_name(address, plan.stored_names, plan.definition)
    with Search(
        plan.folder, name, plan.options, plan.space, plan.definition, retry
    ) as search:
        with SearchProgress(search, plan.metric) as progress:
            while trials := _take_batch(search, size):
                for trial, ended in _run_trials(
                    plan, search, trials, compose, stream_results
                ):
                    search.record(trial, ended)
                    progress.end(trial, ended)
        return print_results(search, plan.metric, command)


def print_search(plan: SearchPlan, workers: int) -> None:
    """Show what `run_search` would do and what of it is done, and write nothing.

    Args:
        plan: what `plan_search` returned.
        workers: how many trials would run at a time.
    """
    address = storage_address(plan.options.storage, plan.folder)
    name = find_name(address, plan.stored_names, plan.definition)
    optuna_study = load_optuna_study(address, name)
    trials = []
    if optuna_study is not None:
        stored = optuna_study.user_attrs.get("definition")
        check_definition(stored, plan.definition, plan.folder)
        trials = begun_trials(optuna_study.get_trials(deepcopy=False))
    print_plan(plan, trials, workers)


def _take_batch(search: Search, size: int) -> list[Trial]:
    """Take up to `size` trials; if there are none, look for abandoned ones."""
    trials = _take_trials(search, size)
    if not trials and search.watch_leases():
        trials = _take_trials(search, size)
    return trials


def _take_trials(search: Search, size: int) -> list[Trial]:
    trials: list[Trial] = []
    while len(trials) < size:
        trial = search.take()
        if trial is None:
            break
        trials.append(trial)
    return trials


def _run_trials(
    plan: SearchPlan,
    search: Search,
    trials: list[Trial],
    compose: Compose,
    stream_results: StreamResults,
) -> Iterator[tuple[Trial, Outcome]]:
    """Run trials with all seeds; yield each with its outcome when its last run ends.

    With a pruner, the first seed of every trial runs before the other seeds, which run
    only if the first run was neither pruned nor failed.
    """
    seeds = plan.options.seeds
    prunes = plan.options.pruner is not None
    phases = [seeds]
    if prunes:
        phases = [seeds[:1], seeds[1:]]
    worst = worst_value(plan.metric, plan.direction)
    results: dict[int, ResultBySeed] = {}
    open_trials = list(trials)
    for phase in phases:
        runs = []
        for trial in open_trials:
            for seed in phase:
                reports = prunes and seed == seeds[0]
                runs.append(TrialRun(trial, seed, reports))
        for run, result in _run(plan, search, runs, compose, stream_results):
            found = results.setdefault(run.trial.number, {})
            found[run.seed] = result
            if not found.keys() >= set(phase):
                continue  # other runs of this phase have not ended
            was_last = len(found) == len(seeds)
            if was_last or not _have_ended(found.values()):
                open_trials.remove(run.trial)
                in_order = {seed: found[seed] for seed in seeds if seed in found}
                ended = outcome(in_order, plan.metric, worst)
                yield run.trial, ended


def _have_ended(results: Iterable[dict[str, Any]]) -> bool:
    """Whether all runs came to their end."""
    return all(result["status"] in ENDED for result in results)


def _run(
    plan: SearchPlan,
    search: Search,
    runs: list[TrialRun],
    compose: Compose,
    stream_results: StreamResults,
) -> Iterator[tuple[TrialRun, dict[str, Any]]]:
    """Run runs of trials and yield each with its result when it ends."""
    jobs = []
    started = []
    for run in runs:
        overrides = list(plan.fixed)
        overrides += words(run.trial.params)
        overrides.append(f"seed={run.seed}")
        if run.reports:
            callback = search.callback_config(run.trial)
            overrides.append(f"trial={_to_hydra(callback)}")
        try:
            job = Job(tuple(overrides), compose(overrides))
        except MISTAKES as error:
            # These settings cannot be combined, which only the trial could show.
            yield run, failed_result(reason(error))
        else:
            jobs.append(job)
            started.append(run)
    if not jobs:
        return
    # Without `closing`, workers would run on after a signal until Python happens to
    # delete the generator.
    with closing(stream_results(jobs)) as results:
        for index, result in results:
            run = started[index]
            if run.reports and result["status"] == "finished":
                search.report_epochs(run.trial, jobs[index].folder, plan.metric)
            yield run, result


def _to_hydra(config: dict[str, Any]) -> str:
    """A dictionary in Hydra's syntax, in which any text is quoted."""
    entries = []
    for key, value in config.items():
        text = value
        if isinstance(value, str):
            text = QuotedString(value, Quote.single).with_quotes()
        entries.append(f"{key}:{text}")
    return "{" + ",".join(entries) + "}"
