"""What a sweep shows before its jobs run, and its summary at the end."""

import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from normlab.sweeps.jobs import (
    EndedJob,
    Job,
    arm_keys,
    estimate_seconds,
    format_settings,
    short_names,
    values_by_arm,
    varied_keys,
)
from normlab.terminal import (
    STATUS_STYLE,
    escaped,
    format_metric,
    print_cautions,
    print_line,
    shorten,
    without_control,
)

SHOWN_METRICS = ("val/accuracy", "test/accuracy", "val/rmse", "test/rmse")
STATES = ("done", "interrupted", "failed", "new")
MOST_REPEATED = 3  # combinations that are named
MOST_ARMS_NAMED = 5  # in front of a caution
MISSING = "–"
# Keys of the result of a job that had a network.
START_KEYS = {"initial_weights", "num_parameters", "num_norm_parameters"}


def print_jobs(jobs: Sequence[Job], workers: int = 1, excluded: int = 0) -> None:
    """List what a command would run, without running it.

    Every job is shown with its state and folder. The last line estimates how long the
    jobs will take.

    Args:
        jobs: the jobs, at least one.
        workers: how many jobs would run at the same time.
        excluded: how many combinations were left out of the sweep.
    """
    console = _console()
    states = [job.state for job in jobs]
    runs = quantity(len(jobs), "run")
    counts = _count_each(states, STATES)
    left_out = f"; {excluded} excluded" if excluded else ""
    console.print(f"{runs}: {counts}{left_out}")

    for line in _job_lines(jobs, states):
        console.print(without_control(line), soft_wrap=True, markup=False)

    seconds, unknown = estimate_seconds(jobs, workers)
    estimate = _estimate(seconds, unknown, workers)
    console.print(estimate, soft_wrap=True, markup=False)


def _job_lines(jobs: Sequence[Job], states: Sequence[str]) -> Iterator[str]:
    """One line per job, in columns: number, varied settings, state and folder."""
    keys = varied_keys(jobs)
    settings = [format_settings(job, keys) for job in jobs]
    width = max(map(len, settings))
    digits = len(str(len(jobs)))
    rows = zip(jobs, states, settings, strict=True)
    for number, (job, state, text) in enumerate(rows, start=1):
        words = [f"{number:>{digits}}"]
        if width:
            words.append(f"{text:<{width}}")
        words.append(f"{state:<11}")
        words.append(str(job.folder))
        yield "  ".join(words)


def print_repeated(jobs: Sequence[Job], keys: Sequence[str], combinations: int) -> None:
    """Say in one line which combinations are runs that others make; nothing if none.

    Args:
        jobs: those that were left out.
        keys: the settings that the sweep varies.
        combinations: how many combinations the sweep has.
    """
    if not jobs:
        return
    names: dict[str, None] = {}  # a set that keeps its order
    for job in jobs:
        name = format_settings(job, keys)
        names[name] = None
    shown = shorten(list(names), MOST_REPEATED)
    print_line(
        f"note: {len(jobs)} of {combinations} combinations are runs that another one "
        f"makes, and are left out: {shown}"
    )


def _estimate(seconds: float | None, unknown: list[str], workers: int) -> str:
    """The last line of a dry run, see `estimate_seconds`."""
    sentences = []
    if seconds is not None:
        shared = f" on {workers} workers" if workers > 1 else ""
        sentences.append(
            f"about {duration(seconds)} left{shared}, by the runs that have finished"
        )
    if unknown:
        groups = ", ".join(unknown)
        sentences.append(f"no estimate for {groups}, where no run has finished yet")
    return "; ".join(sentences) or "nothing left to train"


def _count_each(names: Iterable[str], order: Iterable[str]) -> str:
    """How many there are of each name: `3 finished, 1 failed`."""
    counts = Counter(names)
    found = []
    for name in order:
        if counts[name]:
            found.append(f"{counts[name]} {name}")
    return ", ".join(found)


def print_summary(jobs: Sequence[EndedJob]) -> None:
    """Print what became of a sweep.

    A table shows every job, another one the mean over the seeds if there are several.
    Failed jobs, cautions and warnings follow by name.
    """
    console = _console()
    keys = varied_keys(jobs)
    metrics = _known_metrics(jobs)
    console.print()
    console.print(_jobs_table(jobs, metrics))
    if "seed" in keys:
        for metric in metrics:
            if metric.startswith("test/"):
                console.print(_seeds_table(jobs, metric))

    for job in jobs:
        if job.result["status"] == "failed":
            _print_labelled(console, "[red]failed[/red]", job.failure(keys))
    print_cautions(console, _cautions(jobs))
    for warning in _start_warnings(jobs):
        _print_labelled(console, "[yellow]warning[/yellow]", warning)


def _console() -> Console:
    """A console on standard output.

    Lines are cut to the width of a terminal, but not in a file.
    """
    width = None if sys.stdout.isatty() else 1000
    return Console(highlight=False, width=width, emoji=False)


def _print_labelled(console: Console, label: str, text: str) -> None:
    console.print(f"{label}  {escaped(text)}", soft_wrap=not console.is_terminal)


def _known_metrics(jobs: Sequence[EndedJob]) -> list[str]:
    """The shown metrics that at least one job has."""
    known = set()
    for job in jobs:
        metrics = job.result["metrics"]
        for name in SHOWN_METRICS:
            if metrics.get(name) is not None:
                known.add(name)
    return sorted(known, key=SHOWN_METRICS.index)


def _jobs_table(jobs: Sequence[EndedJob], metrics: Sequence[str]) -> Table:
    """One row per job: settings, status, metrics and seconds.

    The numbers of parameters are shown if they differ.
    """
    columns = list(metrics)
    if _parameters_differ(jobs):
        columns.append("parameters")
    columns.append("seconds")

    keys = varied_keys(jobs)
    statuses = [job.result["status"] for job in jobs]
    runs = quantity(len(jobs), "run")
    counts = _count_each(statuses, STATUS_STYLE)
    table = _empty_table(f"{runs}: {counts}", keys)
    table.add_column("status")
    for name in columns:
        table.add_column(name.replace("/", "/\n"), justify="right")

    for job in jobs:
        settings = job.settings
        row = [escaped(settings.get(key, "")) for key in keys]
        row.append(styled_status(job.result["status"]))
        for name in columns:
            row.append(_cell(job, name))
        table.add_row(*row)
    return table


def _parameters_differ(jobs: Sequence[EndedJob]) -> bool:
    """Whether networks of the jobs have different numbers of parameters."""
    counts = {job.result.get("num_parameters") for job in jobs}
    counts.discard(None)
    return len(counts) > 1


def _cell(job: EndedJob, column: str) -> str:
    """What the table of jobs shows of a job in the column of a number."""
    if column == "parameters":
        count = job.result.get("num_parameters")
        return MISSING if count is None else f"{count:,}"
    if column == "seconds":
        seconds = job.result["seconds"]
        return f"{seconds:.1f}" if seconds else MISSING
    value = job.result["metrics"].get(column)
    return format_metric(value)


def _seeds_table(jobs: Sequence[EndedJob], metric: str) -> Table:
    """One row per arm: number of seeds, mean, standard deviation and range."""
    arms = values_by_arm(jobs, metric)
    keys, _ = arms[0]
    table = _empty_table(f"{metric} over seeds", list(keys))
    for name in ("n", "mean", "SD", "min", "max"):
        table.add_column(name, justify="right")
    for settings, values in arms:
        row = list(map(escaped, settings.values()))
        row.append(str(len(values)))
        row += _distribution(values)
        table.add_row(*row)
    return table


def _distribution(values: Sequence[float]) -> list[str]:
    """Mean, standard deviation, minimum and maximum."""
    if not values:
        return [MISSING] * 4
    mean = statistics.fmean(values)
    spread = MISSING
    if len(values) > 1:
        spread = format_metric(statistics.stdev(values))
    smallest = format_metric(min(values))
    largest = format_metric(max(values))
    return [format_metric(mean), spread, smallest, largest]


def _empty_table(title: str, keys: Sequence[str]) -> Table:
    """A table with a column for every setting."""
    table = Table(
        box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold"
    )
    for name in short_names(keys).values():
        table.add_column(name, overflow="fold")
    return table


def _cautions(jobs: Sequence[EndedJob]) -> list[str]:
    """The cautions of all runs, each once.

    Those that do not hold for every arm begin with the arms for which they hold.
    """
    keys = arm_keys(jobs)
    all_arms = set()
    arms_of: dict[str, dict[str, None]] = {}  # sets that keep their order
    for job in jobs:
        arm = format_settings(job, keys)
        all_arms.add(arm)
        for caution in job.result.get("cautions", []):
            arms_of.setdefault(caution, {})[arm] = None

    texts = []
    for caution, arms in arms_of.items():
        if len(arms) == len(all_arms):
            texts.append(caution)
        else:
            shown = shorten(list(arms), MOST_ARMS_NAMED)
            texts.append(f"{shown}: {caution}")
    return texts


def _start_warnings(jobs: Sequence[EndedJob]) -> list[str]:
    """Name arms that do not start from the same network apart from the norm."""
    names = {}
    groups = set()
    for key in varied_keys(jobs):
        name = key.lstrip("+~")
        names[key] = name
        groups.add(name.partition(".")[0])
    if "norm" not in groups or _start_alike(jobs):
        return []
    # Imported here since it takes pandas, half a second.
    from normlab.compare.fairness import start_warnings

    settings = []
    for job in jobs:
        varied = {}
        for key, value in job.settings.items():
            if key in names:
                varied[names[key]] = value
        settings.append(varied)
    results = [job.result for job in jobs]
    return start_warnings(settings, results)


def _start_alike(jobs: Sequence[EndedJob]) -> bool:
    """Whether all jobs of a seed start from the same network apart from the norm."""
    seeds = set()
    starts = set()
    for job in jobs:
        result = job.result
        if not START_KEYS.issubset(result):
            continue  # a job that failed before it had a network
        seed = job.settings.get("seed")
        others = result["num_parameters"] - result["num_norm_parameters"]
        start = (seed, result["initial_weights"], others)
        seeds.add(seed)
        starts.add(start)
    return len(starts) == len(seeds)


def styled_status(status: str) -> str:
    """A status in its color, with rich's markup."""
    return f"[{STATUS_STYLE.get(status, 'dim')}]{status}[/]"


def duration(seconds: float) -> str:
    """A duration in words: `45 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 120:
        return f"{minutes} min {rest} s"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min"


def quantity(number: int, noun: str) -> str:
    """A number and what it counts: `1 run`, `2 runs`."""
    if number == 1:
        return f"{number} {noun}"
    return f"{number} {noun}s"
