"""Pieces of what is shown in a terminal: styles, progress bars, tables of metrics."""

from collections.abc import Sequence

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

from normlab.metrics import PARTS

STATUS_STYLE = {
    "finished": "green",
    "diverged": "yellow",
    "failed": "red",
    "pruned": "cyan",
}


def shorten(names: Sequence[str], most: int) -> str:
    """The first names of a list, and how many more there are: `a, b and 3 more`."""
    shown = ", ".join(names[:most])
    if len(names) <= most:
        return shown
    return f"{shown} and {len(names) - most} more"


def progress_bar() -> Progress:
    """A bar on standard error that disappears when it is done."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def print_cautions(console: Console, cautions: Sequence[str]) -> None:
    """Print one line per caution."""
    for caution in cautions:
        console.print(
            f"[yellow]caution[/yellow]  {escape(caution)}",
            soft_wrap=not console.is_terminal,
        )


def print_metrics(console: Console, metrics: dict[str, float], title: str) -> None:
    """Print a table with one row per metric and one column per part.

    Args:
        console: where it is printed.
        metrics: values by name, such as `test/accuracy`.
        title: printed above the table, with rich's markup.
    """
    console.print(f"[bold]{title}[/bold]", soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("metric")
    for part in PARTS:
        style = "bold" if part == "test" else ""
        table.add_column(part, justify="right", style=style)
    names = dict.fromkeys(key.split("/")[1] for key in metrics)
    for name in names:
        values = [_number(metrics.get(f"{part}/{name}")) for part in PARTS]
        table.add_row(name, *values)
    console.print(table)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
