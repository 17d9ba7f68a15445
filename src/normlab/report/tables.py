"""Tables for people: in the terminal, as Markdown, LaTeX and CSV, and as rows for the report."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from normlab.compare.comparison import Comparison
from normlab.compare.sentences import direction, number, p_value, percent, signed
from normlab.terminal import STATUS_STYLE

Cell = tuple[str, float | str]  # as shown, as sorted
# What a narrow terminal does without; headers begin with a percentage where they have one.
LEAST_FIRST = (
    *(
        "p (permutation)",
        "bootstrap",
        "r",
        "Hedges g",
        "p",
        "p (log-rank)",
        "up to",
        "restricted mean",
    ),
    *(
        "min",
        "max",
        "median",
        "parameters",
        "trained",
        "p (equivalent)",
        "P(better)",
        "SD",
    ),
)


@dataclass(frozen=True)
class Table:
    """A table as text.

    Attributes:
        name: of its files.
        title: shown above.
        columns: header texts.
        rows: a cell a column: the text, and the value to sort by.
        numeric: columns aligned to the right.
    """

    name: str
    title: str
    columns: list[str]
    rows: list[list[Cell]]
    numeric: list[bool]


def _number(value: float) -> Cell:
    return _with_minus(value), value


def _with_minus(value: float) -> str:
    return f"−{number(-value)}" if value < 0 else number(value)


def _count(value: float) -> Cell:
    return ("–" if math.isnan(value) else f"{value:.0f}"), value


def _thousands(value: float) -> Cell:
    return ("–" if math.isnan(value) else f"{value:,.0f}"), value


def _plain(value: str) -> Cell:
    return value, value


def _interval(
    low: float, high: float, show: Callable[[float], str] = _with_minus
) -> Cell:
    return ("–" if math.isnan(low) else f"{show(low)} to {show(high)}"), low


def _make(
    name: str,
    title: str,
    records: list[dict],
    columns: dict[str, Callable[[dict], Cell]],
) -> Table:
    """Columns that say a dash, zero or nothing in every row are left out, the arm never, whatever its name."""
    rows = {
        header: [cell(record) for record in records] for header, cell in columns.items()
    }
    kept = {
        header: cells
        for header, cells in rows.items()
        if header == "arm" or any(text not in ("–", "0", "") for text, _ in cells)
    }
    numeric = [not isinstance(cells[0][1], str) for cells in kept.values()]
    return Table(
        name,
        title,
        list(kept),
        [list(cells) for cells in zip(*kept.values(), strict=True)],
        numeric,
    )


def summary_table(comparison: Comparison) -> Table:
    """A row an arm and group: n, centre, spread, interval, and the runs that are not in them."""
    confidence = percent(comparison.confidence)
    columns = {
        "where": lambda row: _plain(row["where"]),
        "arm": lambda row: _plain(row["arm"]),
        "n": lambda row: _count(row["n"]),
        "mean": lambda row: _number(row["mean"]),
        "SD": lambda row: _number(row["sd"]),
        f"{confidence} interval": lambda row: _interval(row["low"], row["high"]),
        "median": lambda row: _number(row["median"]),
        "min": lambda row: _number(row["min"]),
        "max": lambda row: _number(row["max"]),
        f"{confidence} bootstrap": lambda row: _interval(
            row["bca_low"], row["bca_high"]
        ),
        "diverged": lambda row: _count(row["diverged"]),
        "failed": lambda row: _count(row["failed"]),
        "no metric": lambda row: _count(row["without_metric"]),
    }
    if (comparison.summaries["diverged"] > 0).any():
        columns["trained"] = lambda row: (_trained(row), row["trained"])
    if comparison.summaries["parameters"].nunique() > 1:
        columns["parameters"] = lambda row: _thousands(row["parameters"])
    title = f"{comparison.metric} by {', '.join(comparison.by)} ({direction(comparison.metric)})"
    return _make("arms", title, comparison.summaries.to_dict("records"), columns)


def _trained(row: dict) -> str:
    """The share that did not diverge; runs that failed are in neither count."""
    if math.isnan(row["trained"]):
        return "–"
    return (
        f"{row['trained']:.0%} ({row['trained_low']:.0%} to {row['trained_high']:.0%})"
    )


def contrast_table(comparison: Comparison) -> Table:
    """A row a contrast: difference, interval, tests, effect sizes, verdict."""
    confidence = percent(comparison.confidence)
    columns = {
        "where": lambda row: _plain(row["where"]),
        "arm": lambda row: _plain(row["arm"]),
        "n": lambda row: (_runs_of(row), row["n"]),
        "difference": lambda row: (signed(row["difference"]), row["difference"]),
        f"{confidence} interval": lambda row: _interval(
            row["low"], row["high"], signed
        ),
        "verdict": lambda row: _plain(row["verdict"]),
        "r": lambda row: (_two(row["correlation"]), row["correlation"]),
        "p": lambda row: _p(row["p"]),
        "p (Holm)": lambda row: _p(row["p_holm"]),
        "p (permutation)": lambda row: _p(row["permutation_p"]),
        "Hedges g": lambda row: (_two(row["hedges_g"]), row["hedges_g"]),
        "P(better)": lambda row: (_improvement(row), row["improvement"]),
        "p (equivalent)": lambda row: _p(row["equivalence_p_holm"]),
    }
    title = f"Difference to {comparison.baseline} in {comparison.metric}"
    if comparison.margin is not None:
        title += f", margin ±{number(comparison.margin)}"
    return _make("contrasts", title, comparison.contrasts.to_dict("records"), columns)


def _runs_of(row: dict) -> str:
    return (
        f"{row['n']} pairs"
        if row["design"] != "independent"
        else f"{row['n']} / {row['n_baseline']}"
    )


def _two(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}".replace("-", "−")


def _p(value: float) -> Cell:
    return (
        "–"
        if math.isnan(value)
        else p_value(value).removeprefix("p = ").removeprefix("p ")
    ), value


def _improvement(row: dict) -> str:
    low, high = row["improvement_low"], row["improvement_high"]
    return _two(row["improvement"]) + (
        "" if math.isnan(low) else f" ({low:.2f} to {high:.2f})"
    )


def target_table(table: pd.DataFrame, metric: str, target: float) -> Table:
    """A row an arm, group and clock: how many arrive, and when."""
    columns = {
        "where": lambda row: _plain(row["where"]),
        "arm": lambda row: _plain(row["arm"]),
        "in": lambda row: _plain(row["clock"]),
        "reached": lambda row: (
            f"{row['reached']} of {row['runs']}",
            row["reached"] / max(row["runs"], 1),
        ),
        "median": lambda row: (_time(row["median"]), row["median"]),
        "restricted mean": lambda row: (
            _time(row["restricted_mean"]),
            row["restricted_mean"],
        ),
        "up to": lambda row: (_time(row["horizon"]), row["horizon"]),
        "p (log-rank)": lambda row: _p(row["p"]),
        "p (Holm)": lambda row: _p(row["p_holm"]),
        "no curve": lambda row: _count(row["without_curves"]),
    }
    return _make(
        "time_to_target",
        f"Time to {metric} {target:g}",
        table.to_dict("records"),
        columns,
    )


def _time(value: float) -> str:
    return (
        "–"
        if math.isnan(value)
        else "not reached"
        if math.isinf(value)
        else f"{value:.4g}"
    )


def print_table(console: Console, table: Table) -> None:
    """In the terminal, verdicts in colour; where it is narrow, without the columns that matter least."""
    left_out: list[str] = []
    shown = _rich_table(table, left_out)
    expendable = [
        header
        for name in LEAST_FIRST
        for header in table.columns
        if header.split("% ")[-1] == name
    ]
    while (
        expendable
        and console.measure(
            shown, options=console.options.update(max_width=10_000)
        ).maximum
        > console.width
    ):
        left_out.append(expendable.pop(0))
        shown = _rich_table(table, left_out)
    console.print(shown)
    if left_out:
        console.print(f"[dim]no room for {', '.join(left_out)}[/dim]\n", soft_wrap=True)


def _rich_table(table: Table, left_out: list[str]) -> RichTable:
    shown = RichTable(
        box=box.SIMPLE_HEAD, title=table.title, title_justify="left", title_style="bold"
    )
    kept = [
        place for place, header in enumerate(table.columns) if header not in left_out
    ]
    for place in kept:
        header, justify = (
            table.columns[place],
            "right" if table.numeric[place] else "left",
        )
        shown.add_column(escape(header), justify=justify, no_wrap=header == "arm")
    for row in table.rows:
        shown.add_row(*(_coloured(row[place][0]) for place in kept))
    return shown


def _coloured(text: str) -> str:
    style = {
        "better": "green",
        "worse": "red",
        "equivalent": "cyan",
        **STATUS_STYLE,
    }.get(text)
    return f"[{style}]{text}[/]" if style else escape(text)


def markdown(table: Table) -> str:
    """A Markdown table under its title."""
    lines = [[text.replace("|", "\\|") for text, _ in row] for row in table.rows]
    rule = ["---:" if numeric else "---" for numeric in table.numeric]
    body = "\n".join(
        "| " + " | ".join(line) + " |" for line in [table.columns, rule, *lines]
    )
    return f"**{table.title}**\n\n{body}\n"


LATEX = {
    "\\": r"\textbackslash{}",
    "–": "--",
    "−": "$-$",
    "±": r"$\pm$",
    "<": "$<$",
    "^": r"\^{}",
    "~": r"\~{}",
}
LATEX |= {character: f"\\{character}" for character in "&%$#_{}"}


def latex(table: Table) -> str:
    """A LaTeX table in the style of booktabs."""
    columns = "".join("r" if numeric else "l" for numeric in table.numeric)
    lines = [[_latex_text(text) for text, _ in row] for row in table.rows]
    body = "\n".join(" & ".join(line) + r" \\" for line in lines)
    header = " & ".join(map(_latex_text, table.columns)) + r" \\"
    return (
        f"% {table.title}\n% needs \\usepackage{{booktabs}}\n"
        f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{header}\n\\midrule\n{body}\n\\bottomrule\n\\end{{tabular}}\n"
    )


def _latex_text(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in text)


def write_tables(
    folder: Path, tables: list[Table], frames: dict[str, pd.DataFrame]
) -> list[Path]:
    """Markdown and LaTeX as shown, CSV with every digit."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for table in tables:
        for suffix, write in (("md", markdown), ("tex", latex)):
            written.append(folder / f"{table.name}.{suffix}")
            written[-1].write_text(write(table), encoding="utf-8")
    for name, frame in frames.items():
        written.append(folder / f"{name}.csv")
        frame.to_csv(written[-1], index=False)
    return written
