"""What a run shows on the terminal before and after training."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from normlab.models.swap import Swap
from normlab.terminal import STATUS_STYLE, print_cautions, print_metrics


def swap_table(swaps: list[Swap], title: str = "Norms") -> "Table":
    """The rows of `replace_norms` or `insert_norms` for the terminal."""
    from rich.table import Table

    table = Table(title=title)
    for heading in ("layer", "what", "from", "to", "why"):
        table.add_column(heading, overflow="fold")
    for swap in swaps:
        table.add_row(swap.name, swap.kind, swap.old, swap.new, swap.why)
    return table


def norm_report_table(report: list[Swap], title: str = "Norms") -> "Table":
    """`swap_table` for a person: layers to which the same happened share a row, which names the first and the last."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for swap in report:
        groups.setdefault((swap.kind, swap.old, swap.new, swap.why), []).append(
            swap.name
        )
    rows = [
        Swap(_first_to_last(names), *happened) for happened, names in groups.items()
    ]
    return swap_table(rows, title)


def _first_to_last(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]} ({len(names)})"


def print_start(cautions: Sequence[str], norm_report: Sequence["Swap"] = ()) -> None:
    """Before training, on standard error: what sets the run apart, and what became of a model's norms."""
    console = Console(stderr=True, highlight=False)
    print_cautions(console, cautions)
    if norm_report:
        console.print(norm_report_table(list(norm_report)))


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
    facts = [
        ("status", f"[{style}]{result['status']}[/{style}]{reason}"),
        *_facts(result),
    ]
    facts.append(("run folder", str(folder)))
    if "tensorboard" in (config.get("logger") or {}):
        facts.append(("curves", f"tensorboard --logdir {folder.parent}"))
    for name, value in facts:
        console.print(f"[dim]{name:>12}[/dim]  {value}", soft_wrap=True)
    console.print()


def _facts(result: dict) -> list[tuple[str, str]]:
    if "epochs" not in result:
        return []
    return [
        (
            "best epoch",
            f"{result['best_epoch']} of {result['epochs']}, its weights are kept and scored",
        ),
        ("seconds", f"{result['seconds']:.1f}{_speed(result)}"),
        (
            "parameters",
            f"{result['num_parameters']:,}, {result['num_norm_layers']} norm layers",
        ),
    ]


def _speed(result: dict) -> str:
    """What is known of it: a run that goes on inside its last epoch has no whole epoch to take a rate from."""
    rate, step, outside = (
        result[key]
        for key in ("samples_per_second", "step_milliseconds", "outside_share")
    )
    if step is None:  # no step was made here, nothing else was measured
        return ""
    samples = "" if rate is None else f"{rate:,.0f} samples/s, "
    return f"; {samples}{step:.3g} ms a step, {outside:.0%} of the time outside the network"
