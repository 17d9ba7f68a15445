"""What a person reads in the terminal: the end table of a run, the summary of a sweep, the progress bar."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

if TYPE_CHECKING:
    from normlab.models.swap import Swap

PARTS = ("train", "val", "test")
STATUS_STYLE = {"finished": "green", "diverged": "yellow", "failed": "red", "pruned": "cyan"}


def some(names: Sequence[str], most: int) -> str:
    """The first names of many: `a, b and 3 more`."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def progress_bar() -> Progress:
    """A bar on standard error that disappears when it is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)


def print_start(cautions: Sequence[str], norm_report: Sequence["Swap"] = ()) -> None:
    """Before training, on standard error: what sets the run apart, and what became of a model's norms."""
    console = Console(stderr=True, highlight=False)
    print_cautions(console, cautions)
    if norm_report:
        from normlab.models.swap import norm_report_table

        console.print(norm_report_table(list(norm_report)))


def print_cautions(console: Console, cautions: Sequence[str]) -> None:
    """A line each."""
    for caution in cautions:
        console.print(f"[yellow]caution[/yellow]  {escape(caution)}", soft_wrap=not console.is_terminal)


def print_result(result: dict, config: dict) -> None:
    """The end of a run: metrics by part, what it took, where it is, how to look at it."""
    console = Console(highlight=False)
    folder = Path(config["paths"]["outputs"]) / result["run"]
    choices = result["choices"]
    title = f"{choices['model']} · {choices['norm']} · {choices['dataset']} · seed {result['seed']}"
    console.print()
    if result["metrics"]:
        print_metrics(console, result["metrics"], title)
    style = STATUS_STYLE[result["status"]]
    reason = f": {result['reason']}" if result["reason"] else ""
    facts = [("status", f"[{style}]{result['status']}[/{style}]{reason}"), *_facts(result)]
    facts.append(("run folder", str(folder)))
    if "tensorboard" in (config.get("logger") or {}):
        facts.append(("curves", f"tensorboard --logdir {folder.parent}"))
    for name, value in facts:
        console.print(f"[dim]{name:>12}[/dim]  {value}", soft_wrap=True)
    console.print()


def print_metrics(console: Console, metrics: dict[str, float], title: str) -> None:
    """Metrics as rows, parts as columns, under a title."""
    console.print(f"[bold]{title}[/bold]", soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("metric")
    for part in PARTS:
        table.add_column(part, justify="right", style="bold" if part == "test" else "")
    for name in dict.fromkeys(key.split("/")[1] for key in metrics):
        table.add_row(name, *(_number(metrics.get(f"{part}/{name}")) for part in PARTS))
    console.print(table)


def _facts(result: dict) -> list[tuple[str, str]]:
    if "epochs" not in result:
        return []
    return [
        ("best epoch", f"{result['best_epoch']} of {result['epochs']}, its weights are kept and scored"),
        ("seconds", f"{result['seconds']:.1f}{_speed(result)}"),
        ("parameters", f"{result['num_parameters']:,}, {result['num_norm_layers']} norm layers"),
    ]


def _speed(result: dict) -> str:
    """What is known of it: a run that goes on inside its last epoch has no whole epoch to take a rate from."""
    rate, step, outside = (result[key] for key in ("samples_per_second", "step_milliseconds", "outside_share"))
    if step is None:  # no step was made here, nothing else was measured
        return ""
    samples = "" if rate is None else f"{rate:,.0f} samples/s, "
    return f"; {samples}{step:.3g} ms a step, {outside:.0%} of the time outside the network"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
