"""What a run shows on the terminal before and after training.

Torch must not be imported here: a stored result is shown at once.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from normlab.terminal import (
    STATUS_STYLE,
    escaped,
    message_console,
    print_cautions,
    print_metrics,
)

if TYPE_CHECKING:
    from normlab.models.swap import Swap


SWAP_COLUMNS = ("layer", "what", "from", "to", "why")


def swap_table(swaps: Sequence["Swap"], title: str = "Norms") -> Table:
    """What `replace_norms` or `insert_norms` did, one row per layer.

    Args:
        swaps: what they returned.
        title: title of the table.
    """
    table = Table(title=title)
    for heading in SWAP_COLUMNS:
        table.add_column(heading, overflow="fold")
    for swap in swaps:
        table.add_row(*map(escaped, swap_cells(swap)))
    return table


def swap_cells(swap: "Swap") -> tuple[str, ...]:
    """The texts of the `SWAP_COLUMNS` for one layer."""
    return swap.name, swap.kind, swap.old, swap.new, swap.why


def norm_report_table(report: Sequence["Swap"], title: str = "Norms") -> Table:
    """A shorter `swap_table`: layers to which the same happened share one row.

    Args:
        report: what `replace_norms` or `insert_norms` returned.
        title: title of the table.
    """
    return swap_table(norm_report_rows(report), title)


def norm_report_rows(report: Sequence["Swap"]) -> list["Swap"]:
    """One row for all layers to which the same happened, named from first to last."""
    groups: dict[Swap, list[str]] = {}
    for swap in report:
        what_happened = replace(swap, name="")
        groups.setdefault(what_happened, []).append(swap.name)
    return [
        replace(what_happened, name=_first_to_last(names))
        for what_happened, names in groups.items()
    ]


def _first_to_last(names: list[str]) -> str:
    if len(names) == 1:
        return names[0]
    return f"{names[0]} to {names[-1]} ({len(names)})"


def print_start(cautions: Sequence[str], norm_report: Sequence["Swap"] = ()) -> None:
    """Show, on standard error, what is special about a run before it trains.

    Args:
        cautions: what sets the run apart from others, one sentence each.
        norm_report: what became of the norms of a network from a library.
    """
    console = message_console()
    print_cautions(console, cautions)
    if norm_report:
        console.print(norm_report_table(norm_report))


def print_result(result: dict[str, Any], config: dict[str, Any]) -> None:
    """Show the end of a run: its metrics, what it took, and where it is stored.

    Args:
        result: from `normlab.training.experiment.run`.
        config: the resolved configuration.
    """
    console = Console(highlight=False, emoji=False)
    choices = result["choices"]
    title = (
        f"{choices['model']} · {choices['norm']} · {choices['dataset']} · "
        f"seed {result['seed']}"
    )
    if choices.get("debug") is not None:
        title += f" · debug={choices['debug']}, no result"
    console.print()
    if result["metrics"]:
        print_metrics(console, result["metrics"], title)

    folder = Path(config["paths"]["outputs"]) / result["run"]
    facts = [
        ("status", _status(result)),
        *_facts(result),
        ("run folder", escaped(folder)),
    ]
    if "tensorboard" in (config.get("logger") or {}):
        facts.append(("curves", escaped(f"tensorboard --logdir {folder.parent}")))
    for name, value in facts:
        console.print(f"[dim]{name:>12}[/dim]  {value}", soft_wrap=True)
    console.print()


def _status(result: dict[str, Any]) -> str:
    style = STATUS_STYLE[result["status"]]
    status = f"[{style}]{result['status']}[/{style}]"
    if result["reason"]:
        return f"{status}: {escaped(result['reason'])}"
    return status


def _facts(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and values of what only runs have that trained to an end."""
    if "epochs" not in result:
        return []
    best_epoch = f"{result['best_epoch']} of {result['epochs']}"
    weights = "its weights are kept and scored"
    if result.get("num_averaged"):
        weights = f"the average of {result['num_averaged']} weights is kept and scored"
    num_layers = result["num_norm_layers"]
    return [
        *_end(result),
        ("best epoch", f"{best_epoch}, {weights}"),
        ("seconds", f"{result['seconds']:.1f}{_speed(result)}"),
        ("parameters", f"{result['num_parameters']:,}, {num_layers} norm layers"),
    ]


def _end(result: dict[str, Any]) -> list[tuple[str, str]]:
    """What ended a run before its last epoch."""
    ended_by = result.get("ended_by")
    if ended_by in (None, "max_epochs"):
        return []
    if ended_by == "callback":
        return [("ended by", "a callback")]
    return [("ended by", f"trainer.{ended_by}")]


def _speed(result: dict[str, Any]) -> str:
    """What is known of the speed of a run.

    A run that made no step in its last attempt has no times, and one that was resumed
    inside its last epoch has no whole epoch to take a rate from.
    """
    milliseconds = result["step_milliseconds"]
    if milliseconds is None:
        return ""
    rate = result["samples_per_second"]
    samples = "" if rate is None else f"{rate:,.0f} samples/s, "
    compiled = ""
    if result.get("compile_seconds"):
        compiled = f", after compiling for {result['compile_seconds']:.0f} s"
    return (
        f"; {samples}{milliseconds:.3g} ms per step, "
        f"{result['outside_share']:.0%} of the time outside the network{compiled}"
    )
