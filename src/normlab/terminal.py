"""What a person reads in the terminal: the end table of a run, the summary of a sweep, the progress bar."""

from collections.abc import Sequence
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
    pass

PARTS = ("train", "val", "test")
STATUS_STYLE = {
    "finished": "green",
    "diverged": "yellow",
    "failed": "red",
    "pruned": "cyan",
}


def some(names: Sequence[str], most: int) -> str:
    """The first names of many: `a, b and 3 more`."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def progress_bar() -> Progress:
    """A bar on standard error that disappears when it is done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(
        *columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True
    )


def print_cautions(console: Console, cautions: Sequence[str]) -> None:
    """A line each."""
    for caution in cautions:
        console.print(
            f"[yellow]caution[/yellow]  {escape(caution)}",
            soft_wrap=not console.is_terminal,
        )


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


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
