"""What a search shows: its plan, a line for every trial, and the results at the end."""

import csv
import math
import shlex
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from normlab.results import write_atomically, written_whole
from normlab.search.importance import draw_importances, importances
from normlab.search.objective import Outcome
from normlab.search.plan import SearchPlan
from normlab.search.space import describe, words
from normlab.search.storage import STATES, Search
from normlab.spreadsheets import without_formula
from normlab.sweeps.display import MISSING, duration, quantity, styled_status
from normlab.sweeps.jobs import short_names
from normlab.sweeps.progress import remaining_seconds
from normlab.terminal import (
    STATUS_STYLE,
    Bar,
    escaped,
    format_metric,
    without_control,
)

MOST_ROWS = 30
NUM_FRESH_SEEDS = 10
STATUS = {state: status for status, state in STATES.items()}
STATUS[TrialState.RUNNING] = "running"
FILES = ("trials.csv", "best.yaml", "importance.png")


def print_plan(plan: SearchPlan, trials: list[FrozenTrial], workers: int) -> None:
    """Show what a search will do, what of it is done, and how long the rest will take.

    Args:
        plan: what the search will do.
        trials: the trials that are stored.
        workers: how many trials will run at a time.
    """
    options = plan.options
    done = _count_ended(trials)
    objective = _objective(plan.direction, plan.metric, options.seeds)
    lines = [
        f"search in {plan.folder}",
        f"{objective}: {quantity(options.n_trials, 'trial')}, {done} done",
    ]
    width = max(map(len, plan.space))
    for key, distribution in plan.space.items():
        lines.append(f"  {key:<{width}}  {describe(distribution)}")

    seconds = []
    for trial in trials:
        if trial.state == TrialState.COMPLETE:
            seconds.append(trial.user_attrs["seconds"])
    remaining = max(0, options.n_trials - done)
    if seconds and remaining:
        left = duration(statistics.fmean(seconds) * remaining / workers)
        shared = f" on {workers} workers" if workers > 1 else ""
        lines.append(f"about {left} left{shared}, by the finished trials")

    console = Console(highlight=False)
    for line in lines:
        console.print(without_control(line), soft_wrap=True, markup=False)


def _count_ended(trials: Sequence[FrozenTrial]) -> int:
    return sum(trial.state.is_finished() for trial in trials)


def _objective(direction: str, metric: str, seeds: Sequence[int]) -> str:
    return f"{direction} {metric}, mean of {quantity(len(seeds), 'seed')}"


class SearchProgress:
    """One line for every trial when it ends, and in a terminal a bar over all trials.

    Args:
        search: the search.
        metric: the metric of the objective.
    """

    def __init__(self, search: Search, metric: str) -> None:
        self.search = search
        self.metric = metric
        self.total = search.options.n_trials
        self.stored = _count_ended(search.trials)
        self.started = time.monotonic()
        self.bar: Progress | None = None

    def __enter__(self) -> "SearchProgress":
        direction = self.search.optuna_study.direction.name.lower()
        objective = _objective(direction, self.metric, self.search.options.seeds)
        done = f", {self.stored} done" if self.stored else ""
        console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        console.print(without_control(f"search in {self.search.folder}"))
        console.print(f"{objective}: {quantity(self.total, 'trial')}{done}")
        if sys.stderr.isatty():
            self.bar = Bar()
            self.task = self.bar.add_task(
                "search", total=self.total, completed=self.stored
            )
            self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def end(self, trial: Trial, outcome: Outcome) -> None:
        """Print the line of a trial that has ended.

        Args:
            trial: the trial.
            outcome: how it ended.
        """
        trials = self.search.trials
        ended = _count_ended(trials)  # those of other processes too
        line = [
            f"{ended:>{len(str(self.total))}}/{self.total}",
            escaped(" ".join(_short_overrides(trial.params))),
            *self._describe(outcome),
        ]
        ranked = best_first(trials, self.search.optuna_study)
        if ranked:
            line.append(f"[dim]best {format_metric(ranked[0].value)}[/dim]")
        elapsed = time.monotonic() - self.started
        to_run = self.total - self.stored
        left = remaining_seconds(elapsed, ended - self.stored, to_run)
        if ended < self.total and left:
            line.append(f"[dim]{duration(left)} left[/dim]")

        console = Console(stderr=True)
        if self.bar is not None:
            console = self.bar.console
        console.print("  ".join(line), highlight=False, soft_wrap=True)
        if self.bar is not None:
            self.bar.update(self.task, completed=ended)

    def _describe(self, outcome: Outcome) -> list[str]:
        if outcome.status == "pruned":
            return [f"[{STATUS_STYLE['pruned']}]{outcome.reason}[/]"]
        line = [styled_status(outcome.status)]
        if outcome.value is not None:
            line.append(f"{self.metric} {format_metric(outcome.value)}")
        if outcome.reason:
            line.append(escaped(outcome.reason))
        return line


def best_first(
    trials: Sequence[FrozenTrial], optuna_study: optuna.Study
) -> list[FrozenTrial]:
    """The finished trials, the one with the best value first.

    Trials with equal values keep their order.

    Args:
        trials: trials in any state.
        optuna_study: the study of the search, which knows the direction.
    """
    finished = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    sign = -1 if optuna_study.direction == StudyDirection.MAXIMIZE else 1

    def signed_value(trial: FrozenTrial) -> float:
        assert trial.value is not None
        return sign * trial.value

    return sorted(finished, key=signed_value)


def print_results(search: Search, metric: str, command: Sequence[str]) -> bool:
    """Print the trials, the best of them with its command, and what mattered.

    The same is written to files in the folder of the search.

    Args:
        search: the search.
        metric: the metric of the objective.
        command: the words of the command that runs the fixed settings.

    Returns:
        whether no trial failed.
    """
    console = Console(highlight=False)
    trials = search.trials
    keys = list(search.space)
    ranked = best_first(trials, search.optuna_study)
    console.print()
    console.print(_trials_table(trials, ranked, metric, keys))
    path = search.folder / "trials.csv"
    write_trials(path, trials, metric, keys, search.options.seeds)

    states = [trial.state for trial in trials]
    running = states.count(TrialState.RUNNING)
    if running:
        verb = "runs" if running == 1 else "run"
        console.print(f"{quantity(running, 'trial')} still {verb} in another process")
    for trial in trials:
        if trial.state == TrialState.FAIL:
            _print_failure(console, trial)
    if ranked:
        _print_best(console, search, ranked[0], metric, command)
    else:
        console.print("no trial has finished, so there is no best one")
    return TrialState.FAIL not in states


def _trials_table(
    trials: Sequence[FrozenTrial],
    ranked: Sequence[FrozenTrial],
    metric: str,
    keys: Sequence[str],
) -> Table:
    """One row per trial: number, settings, status, value, SD over seeds, seconds.

    If there are too many trials, only the best are shown.
    """
    title = quantity(len(trials), "trial")
    if len(trials) > MOST_ROWS:
        title = f"{MOST_ROWS} best of {title}, all in trials.csv"
        trials = ranked[:MOST_ROWS]
    # Without padding, as many settings as possible fit into 80 columns.
    table = Table(
        box=box.SIMPLE_HEAD,
        title=title,
        title_justify="left",
        title_style="bold",
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("trial", justify="right")
    for name in (*short_names(keys).values(), "status"):
        table.add_column(name)
    table.add_column(metric, justify="right", no_wrap=True)
    table.add_column("SD", justify="right")
    table.add_column("seconds", justify="right")
    for trial in trials:
        table.add_row(*_row(trial, keys))
    return table


def _row(trial: FrozenTrial, keys: Sequence[str]) -> list[str]:
    """The row of a trial in the table of trials."""
    row = [str(trial.number)]
    for key in keys:
        row.append(escaped(_short_value(trial.params.get(key, ""))))
    row.append(styled_status(STATUS[trial.state]))
    value = MISSING
    if trial.state == TrialState.COMPLETE:
        value = format_metric(trial.value)
    spread = MISSING
    values = trial.user_attrs.get("values", [])
    is_finite = all(map(math.isfinite, values))
    if len(values) > 1 and is_finite:
        spread = format_metric(statistics.stdev(values))
    seconds = trial.user_attrs.get("seconds", 0)
    return [*row, value, spread, f"{seconds:.1f}"]


def _short_overrides(params: dict[str, Any]) -> list[str]:
    """Sampled values by short names, rounded: `lr=0.0123`."""
    names = short_names(list(params))
    shown = {}
    for key, value in params.items():
        shown[names[key]] = _short_value(value)
    return words(shown)


def _short_value(value: Any) -> Any:
    return f"{value:.3g}" if isinstance(value, float) else value


def write_trials(
    path: Path,
    trials: Sequence[FrozenTrial],
    metric: str,
    keys: Sequence[str],
    seeds: Sequence[int],
) -> None:
    """Write one row per trial to a CSV file.

    Its columns are the number, the status, the mean over the seeds, the settings, the
    value of every seed, the seconds, and the reason.

    Args:
        path: the file.
        trials: trials in any state.
        metric: the metric of the objective.
        keys: the keys of the settings that vary.
        seeds: the seeds of every trial.
    """
    seed_columns = [f"seed {seed}" for seed in seeds]
    with written_whole(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        names = [metric, *keys, *seed_columns]
        header = ["trial", "status", *names, "seconds", "reason"]
        writer.writerow(map(without_formula, header))
        for trial in trials:
            attributes = trial.user_attrs
            mean: float | str | None = ""
            values = [""] * len(seeds)
            if trial.state == TrialState.COMPLETE:
                mean = trial.value
                values = attributes["values"]
            row = [trial.number, STATUS[trial.state], mean]
            for key in keys:
                row.append(trial.params.get(key, ""))
            row += values
            row.append(attributes.get("seconds", ""))
            row.append(attributes.get("reason") or "")
            writer.writerow(map(without_formula, row))


def _print_failure(console: Console, trial: FrozenTrial) -> None:
    settings = " ".join(_short_overrides(trial.params))
    text = f"trial {trial.number}, {settings}: {trial.user_attrs['reason']}"
    console.print(f"[red]failed[/red]  {escaped(text)}", soft_wrap=True)


def _print_best(
    console: Console,
    search: Search,
    best: FrozenTrial,
    metric: str,
    command: Sequence[str],
) -> None:
    """Print the best trial, the importances, and a command with fresh seeds."""
    seeds = search.options.seeds
    mean = f" of seed {seeds[0]}"
    if len(seeds) > 1:
        mean = f", mean of {quantity(len(seeds), 'seed')}"
    console.print(
        f"[bold]best[/bold]  trial {best.number}, {metric} "
        f"{format_metric(best.value)}{mean}"
    )
    for word in words(best.params):
        console.print(f"  {without_control(word)}", markup=False, soft_wrap=True)

    fresh = fresh_command(command, best.params, seeds)
    content = {
        "trial": best.number,
        "value": best.value,
        "metric": metric,
        "params": best.params,
        "command": fresh,
    }
    document = yaml.safe_dump(content, sort_keys=False)
    write_atomically(search.folder / "best.yaml", document.encode())

    shares = importances(search.optuna_study)
    if shares:
        draw_importances(shares, metric, search.folder / "importance.png")
        names = short_names(list(shares))
        shown = []
        for key, share in shares.items():
            shown.append(f"{names[key]} {share:.2f}")
        text = escaped(", ".join(shown))
        console.print(f"[bold]importance[/bold]  {text}  [dim](fANOVA)[/dim]")

    console.print("[bold]with seeds that the search has not seen[/bold]")
    console.print(f"  {without_control(fresh)}", markup=False, soft_wrap=True)
    files = [name for name in FILES if (search.folder / name).is_file()]
    place = escaped(f"{', '.join(files)} in {search.folder}")
    console.print(f"[dim]{place}[/dim]", soft_wrap=True)


def fresh_command(
    command: Sequence[str], params: dict[str, Any], seeds: Sequence[int]
) -> str:
    """The command that runs settings with seeds that no trial had.

    Args:
        command: the words of the command that runs the fixed settings.
        params: the sampled values by key.
        seeds: the seeds of every trial.
    """
    first = max(seeds) + 1
    fresh = f"seed=range({first},{first + NUM_FRESH_SEEDS})"
    return shlex.join([*command, *words(params), fresh])
