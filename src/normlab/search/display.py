"""What a search shows: a line for every trial, the table at the end, what is best, and what mattered."""

import csv
import shlex
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from matplotlib.figure import Figure
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from normlab.results import write_atomically
from normlab.search.objective import Outcome
from normlab.search.space import describe, words
from normlab.search.storage import STATES, Search
from normlab.sweeps.display import duration, seconds_to_go
from normlab.terminal import STATUS_STYLE, progress_bar

if TYPE_CHECKING:
    from normlab.search.plan import SearchPlan

MOST_ROWS = 30
FRESH_SEEDS = 10
STATUS = {state: status for status, state in STATES.items()} | {
    TrialState.RUNNING: "running"
}


class SearchProgress:
    """A line for every trial when it ends, and on a terminal a bar over all of them."""

    def __init__(self, search: Search, metric: str) -> None:
        self.search, self.metric, self.bar = search, metric, None
        self.total, self.stored = search.options.n_trials, self._ended()
        self.started = time.monotonic()

    def _ended(self) -> int:
        return sum(trial.state.is_finished() for trial in self.search.trials)

    def __enter__(self) -> "SearchProgress":
        seeds, direction = (
            self.search.options.seeds,
            self.search.study.direction.name.lower(),
        )
        done = f", {self.stored} done" if self.stored else ""
        console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        console.print(f"search in {self.search.folder}")
        console.print(
            f"{direction} {self.metric}, mean of {_count(len(seeds), 'seed')}: {_count(self.total, 'trial')}{done}"
        )
        if sys.stderr.isatty():
            self.bar = progress_bar()
            self.line = self.bar.add_task(
                "search", total=self.total, completed=self.stored
            )
            self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def end(self, trial: Trial, outcome: Outcome) -> None:
        """Print the line of a trial that has ended."""
        ended = self._ended()  # other processes' trials too
        left = seconds_to_go(
            time.monotonic() - self.started,
            ended - self.stored,
            self.total - self.stored,
        )
        line = [
            f"{ended:>{len(str(self.total))}}/{self.total}",
            escape(" ".join(_shown(trial.params))),
        ]
        pruned = outcome.status == "pruned"
        line.append(
            f"[{STATUS_STYLE[outcome.status]}]{outcome.reason if pruned else outcome.status}[/]"
        )
        if outcome.value is not None:
            line.append(f"{self.metric} {outcome.value:.4f}")
        if outcome.reason and not pruned:
            line.append(escape(outcome.reason))
        for best in best_first(self.search.trials, self.search.study)[:1]:
            line.append(f"[dim]best {best.value:.4f}[/dim]")
        if ended < self.total and left:
            line.append(f"[dim]{duration(left)} left[/dim]")
        console = self.bar.console if self.bar else Console(stderr=True)
        console.print("  ".join(line), highlight=False, soft_wrap=True)
        if self.bar is not None:
            self.bar.update(self.line, completed=ended)


def print_plan(plan: "SearchPlan", trials: list[FrozenTrial], workers: int) -> None:
    """The space, what is done, and how long the rest would take by the trials that have finished."""
    console, options = Console(highlight=False), plan.options
    done = sum(trial.state.is_finished() for trial in trials)
    text = (
        f"{plan.direction} {plan.metric}, mean of {_count(len(options.seeds), 'seed')}"
    )
    lines = [
        f"search in {plan.folder}",
        f"{text}: {_count(options.n_trials, 'trial')}, {done} done",
    ]
    width = max(map(len, plan.space))
    lines += [
        f"  {key:<{width}}  {describe(distribution)}"
        for key, distribution in plan.space.items()
    ]
    seconds = [
        trial.user_attrs["seconds"]
        for trial in trials
        if trial.state == TrialState.COMPLETE
    ]
    left = max(0, options.n_trials - done)
    if seconds and left:
        where = f" on {workers} workers" if workers > 1 else ""
        lines.append(
            f"about {duration(statistics.fmean(seconds) * left / workers)} left{where}, by the finished trials"
        )
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _shown(params: dict[str, Any]) -> list[str]:
    return words(
        {
            name: _short(value)
            for name, value in zip(
                short_names(list(params)), params.values(), strict=True
            )
        }
    )


def _short(value: Any) -> Any:
    return f"{value:.3g}" if isinstance(value, float) else value


def best_first(trials: list[FrozenTrial], study: Study) -> list[FrozenTrial]:
    """The finished trials, the best value first; of equals the earlier one."""
    finished = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    sign = -1 if study.direction == StudyDirection.MAXIMIZE else 1
    return sorted(finished, key=lambda trial: sign * trial.value)


def print_report(search: Search, metric: str, command: list[str]) -> bool:
    """The table of trials, the best of them and how to run it, what mattered; the same as files in the study's folder.

    Args:
        search: whose study it is.
        metric: of the objective.
        command: that runs the fixed settings, in words.

    Returns:
        whether no trial failed.
    """
    console, trials, study = Console(highlight=False), search.trials, search.study
    ranked = best_first(trials, study)
    console.print()
    console.print(_table(trials, study, metric, list(search.space)))
    write_trials(
        search.folder / "trials.csv",
        trials,
        metric,
        list(search.space),
        search.options.seeds,
    )
    running = sum(trial.state == TrialState.RUNNING for trial in trials)
    if running:
        console.print(
            f"{_count(running, 'trial')} still {'runs' if running == 1 else 'run'} in another process"
        )
    failed = [trial for trial in trials if trial.state == TrialState.FAIL]
    for trial in failed:
        text = escape(
            f"trial {trial.number}, {' '.join(_shown(trial.params))}: {trial.user_attrs['reason']}"
        )
        console.print(f"[red]failed[/red]  {text}", soft_wrap=True)
    if ranked:
        _print_best(console, search, ranked[0], metric, command)
    else:
        console.print("no trial has finished, so there is no best one")
    return not failed


def _table(
    trials: list[FrozenTrial], study: Study, metric: str, keys: list[str]
) -> Table:
    title = _count(len(trials), "trial")
    if len(trials) > MOST_ROWS:
        title = f"{MOST_ROWS} best of {title}, all in trials.csv"
        trials = best_first(trials, study)[:MOST_ROWS]
    table = Table(
        box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold"
    )
    table.pad_edge, table.collapse_padding = (
        False,
        True,
    )  # as many settings as possible in 80 columns
    names = short_names(keys)
    for name in ("trial", *names, "status", metric, "SD", "seconds"):
        table.add_column(
            name,
            justify="left" if name in (*names, "status") else "right",
            no_wrap=name == metric,
        )
    for trial in trials:
        status = STATUS[trial.state]
        values = trial.user_attrs.get("values", [])
        value = f"{trial.value:.4f}" if trial.state == TrialState.COMPLETE else "–"
        spread = f"{statistics.stdev(values):.4f}" if len(values) > 1 else "–"
        settings = [str(_short(trial.params.get(key, ""))) for key in keys]
        seconds = f"{trial.user_attrs.get('seconds', 0):.1f}"
        table.add_row(
            str(trial.number),
            *settings,
            f"[{STATUS_STYLE.get(status, 'dim')}]{status}[/]",
            value,
            spread,
            seconds,
        )
    return table


def short_names(keys: list[str]) -> list[str]:
    """The last parts of dotted keys, where that tells them apart."""
    last = [key.rpartition(".")[2] for key in keys]
    return [
        name if last.count(name) == 1 else key
        for name, key in zip(last, keys, strict=True)
    ]


def write_trials(
    path: Path,
    trials: list[FrozenTrial],
    metric: str,
    keys: list[str],
    seeds: list[int],
) -> None:
    """All trials as CSV: number, status, mean, the settings, the value of every seed, seconds, reason."""
    names = [
        "trial",
        "status",
        metric,
        *keys,
        *(f"seed {seed}" for seed in seeds),
        "seconds",
        "reason",
    ]
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for trial in trials:
            finished = trial.state == TrialState.COMPLETE
            values = trial.user_attrs["values"] if finished else [""] * len(seeds)
            settings = [trial.params.get(key, "") for key in keys]
            mean = trial.value if finished else ""
            rest = [
                trial.user_attrs.get("seconds", ""),
                trial.user_attrs.get("reason") or "",
            ]
            writer.writerow(
                [trial.number, STATUS[trial.state], mean, *settings, *values, *rest]
            )


def _print_best(
    console: Console, search: Search, best: FrozenTrial, metric: str, command: list[str]
) -> None:
    seeds = search.options.seeds
    fresh = fresh_command(command, best.params, seeds)
    mean = (
        f", mean of {_count(len(seeds), 'seed')}"
        if len(seeds) > 1
        else f" of seed {seeds[0]}"
    )
    console.print(
        f"[bold]best[/bold]  trial {best.number}, {metric} {best.value:.4f}{mean}"
    )
    for word in words(best.params):
        console.print(f"  {word}", markup=False, soft_wrap=True)
    content = {
        "trial": best.number,
        "value": best.value,
        "metric": metric,
        "params": best.params,
        "command": fresh,
    }
    write_atomically(
        search.folder / "best.yaml", yaml.safe_dump(content, sort_keys=False).encode()
    )
    found = importances(search.study)
    if found:
        draw_importances(found, metric, search.folder / "importance.png")
        pairs = zip(short_names(list(found)), found.values(), strict=True)
        shares = escape(", ".join(f"{name} {share:.2f}" for name, share in pairs))
        console.print(f"[bold]importance[/bold]  {shares}  [dim](fANOVA)[/dim]")
    console.print("[bold]with seeds that the search has not seen[/bold]")
    console.print(f"  {fresh}", markup=False, soft_wrap=True)
    files = [
        name
        for name in ("trials.csv", "best.yaml", "importance.png")
        if (search.folder / name).is_file()
    ]
    console.print(f"[dim]{', '.join(files)} in {search.folder}[/dim]", soft_wrap=True)


def fresh_command(command: list[str], params: dict[str, Any], seeds: list[int]) -> str:
    """The command with these settings and with seeds that no trial had."""
    first = max(seeds) + 1
    return shlex.join(
        [*command, *words(params), f"seed=range({first},{first + FRESH_SEEDS})"]
    )


def importances(study: Study) -> dict[str, float]:
    """How much of the objective's variation each parameter explains by itself, as shares of 1.

    By fANOVA (Hutter et al. 2014), of a random forest that predicts the objective from the parameters. Empty where
    the values do not differ, or fewer than two trials have a finite one.
    """
    values = [
        trial.value
        for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    ]
    finite = {value for value in values if abs(value) < float("inf")}
    if len(finite) < 2:
        return {}
    return get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))


def draw_importances(found: dict[str, float], metric: str, path: Path) -> None:
    """A bar for every parameter, the most important on top."""
    figure = Figure(figsize=(6, 1 + 0.35 * len(found)), layout="constrained")
    axes = figure.add_subplot()
    names = list(reversed(found))
    bars = axes.barh(names, [found[name] for name in names], color="#0072B2")
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.set(xlim=(0, 1.1), xlabel=f"importance for {metric} (fANOVA, all together 1)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=160, facecolor="white")
