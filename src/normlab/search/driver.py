"""The search itself: takes trials, has their runs made, tells the study, and reports at the end."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString
from optuna.trial import Trial

from normlab.mistakes import MISTAKES, reason
from normlab.search.display import SearchProgress, print_plan, print_report
from normlab.search.objective import ENDED, Outcome, outcome
from normlab.search.options import worst_value
from normlab.search.plan import Compose, Outcomes, SearchPlan
from normlab.search.space import words
from normlab.search.storage import (
    Search,
    check_definition,
    counted,
    storage_address,
    stored_study,
)
from normlab.sweeps.jobs import Plan, failed_result


@dataclass(frozen=True)
class Job:
    """A run of a trial.

    Attributes:
        reports: to the trial, after every epoch.
    """

    trial: Trial
    seed: int
    reports: bool


def run_search(
    plan: SearchPlan,
    compose: Compose,
    outcomes: Outcomes,
    workers: int,
    config_dir: Sequence[str] = (),
) -> bool:
    """Take and run trials until `n_trials` are done, here or in other processes, then report.

    Args:
        plan: from `plan_search`.
        compose: as for `plan_search`.
        outcomes: plans -> index and result of each, in the order in which they end.
        workers: how many trials are taken at a time, unless `n_jobs` says so.
        config_dir: `--config-dir` and its folder, where the command line has it.

    Returns:
        whether no trial failed.
    """
    options, retry = plan.options, plan.config["retry"] == "failed"
    with Search(
        plan.folder, plan.name, options, plan.space, plan.definition, retry
    ) as search:
        with SearchProgress(search, plan.metric) as progress:
            while trials := _batch(search, options.n_jobs or workers):
                for trial, ended in _run_batch(plan, search, trials, compose, outcomes):
                    search.tell(trial, ended)
                    progress.end(trial, ended)
        return print_report(
            search, plan.metric, ["python", "train.py", "-m", *config_dir, *plan.fixed]
        )


def print_search(plan: SearchPlan, workers: int) -> None:
    """What `run_search` would do, and what of it is done; nothing is written."""
    study = stored_study(storage_address(plan.options.storage, plan.folder), plan.name)
    if study is not None:
        check_definition(study, plan.definition, plan.folder)
    trials = [] if study is None else counted(study.get_trials(deepcopy=False))
    print_plan(plan, trials, workers)


def _batch(search: Search, size: int) -> list[Trial]:
    taken = []
    while len(taken) < size and (trial := search.take()) is not None:
        taken.append(trial)
    return taken


def _run_batch(
    plan: SearchPlan,
    search: Search,
    trials: list[Trial],
    compose: Compose,
    outcomes: Outcomes,
) -> Iterator[tuple[Trial, Outcome]]:
    """Every trial with how it ended, when its last run has.

    With a pruner the first seed goes before the others, which start only if it got to its end.
    """
    seeds, prunes = plan.options.seeds, plan.options.pruner is not None
    worst = worst_value(plan.metric, plan.direction)
    results: dict[int, dict[int, dict]] = {trial.number: {} for trial in trials}
    for phase in [seeds[:1], seeds[1:]] if prunes else [seeds]:
        jobs = [
            Job(trial, seed, prunes and seed == seeds[0])
            for trial in trials
            for seed in phase
        ]
        for job, result in _results(plan, search, jobs, compose, outcomes):
            found = results[job.trial.number]
            found[job.seed] = result
            if set(phase) <= found.keys() and (
                len(found) == len(seeds) or not _all_ended(found)
            ):
                trials = [trial for trial in trials if trial is not job.trial]
                in_order = {seed: found[seed] for seed in seeds if seed in found}
                yield job.trial, outcome(in_order, plan.metric, worst)


def _all_ended(results: dict[int, dict]) -> bool:
    return all(result["status"] in ENDED for result in results.values())


def _results(
    plan: SearchPlan,
    search: Search,
    jobs: list[Job],
    compose: Compose,
    outcomes: Outcomes,
) -> Iterator[tuple[Job, dict]]:
    plans, planned = [], []
    for job in jobs:
        overrides = [*plan.fixed, *words(job.trial.params), f"seed={job.seed}"]
        if job.reports:
            overrides.append(f"trial={_handle(search.handle(job.trial))}")
        try:
            plans.append(Plan(tuple(overrides), compose(overrides)))
        except MISTAKES as error:  # settings that do not go together
            yield job, failed_result(reason(error))
        else:
            planned.append(job)
    with closing(outcomes(plans)) as ended:  # closed at once when a signal comes
        for index, result in ended:
            if planned[index].reports and result["status"] == "finished":
                search.report_epochs(
                    planned[index].trial, plans[index].folder, plan.metric
                )
            yield planned[index], result


def _handle(handle: dict[str, Any]) -> str:
    """In Hydra's syntax, whatever the folder is called."""
    words = []
    for key, value in handle.items():
        text = (
            QuotedString(value, Quote.single).with_quotes()
            if isinstance(value, str)
            else value
        )
        words.append(f"{key}:{text}")
    return "{" + ",".join(words) + "}"
