"""Tables in the terminal, and as Markdown, LaTeX and CSV."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from normlab.report.tables import Table
from normlab.results import written_whole
from normlab.spreadsheets import without_formulas
from normlab.terminal import STATUS_STYLE, escaped

# Columns that a narrow terminal leaves out, the least important first; headers may
# have a percentage before these words.
LEAST_IMPORTANT_FIRST = (
    "p (permutation)",
    "bootstrap",
    "r",
    "Hedges g",
    "p",
    "interval (Holm)",
    "p (log-rank)",
    "up to",
    "restricted mean",
    "min",
    "max",
    "median",
    "parameters",
    "trained",
    "p (equivalent)",
    "P(better)",
    "SD",
)
STYLES = {"better": "green", "worse": "red", "equivalent": "cyan", **STATUS_STYLE}
UNLIMITED = 10_000  # characters
LATEX = {
    "\\": r"\textbackslash{}",
    "–": "--",
    "−": "$-$",
    "±": r"$\pm$",
    "<": "$<$",
    ">": "$>$",
    "^": r"\^{}",
    "~": r"\~{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def print_table(console: Console, table: Table) -> None:
    """Print a table, verdicts in colour.

    If the terminal is too narrow, the least important columns are left out, and a line
    below the table names them.
    """
    expendable = []
    for name in LEAST_IMPORTANT_FIRST:
        for header in table.columns:
            if header.split("% ")[-1] == name:
                expendable.append(header)

    left_out: list[str] = []
    shown = _rich_table(table, left_out)
    while expendable and _width(console, shown) > console.width:
        left_out.append(expendable.pop(0))
        shown = _rich_table(table, left_out)

    console.print(shown)
    if left_out:
        names = escaped(", ".join(left_out))
        console.print(f"[dim]no room for {names}[/dim]\n", soft_wrap=True)


def _width(console: Console, table: RichTable) -> int:
    unlimited = console.options.update(max_width=UNLIMITED)
    return console.measure(table, options=unlimited).maximum


def _rich_table(table: Table, left_out: list[str]) -> RichTable:
    shown = RichTable(
        box=box.SIMPLE_HEAD,
        title=escaped(table.title),
        title_justify="left",
        title_style="bold",
    )
    kept = []
    for place, header in enumerate(table.columns):
        if header in left_out:
            continue
        kept.append(place)
        shown.add_column(
            escaped(header),
            justify="right" if table.numeric[place] else "left",
            no_wrap=header == "arm",
        )
    for row in table.rows:
        shown.add_row(*(_coloured(row[place][0]) for place in kept))
    return shown


def _coloured(text: str) -> str:
    if text in STYLES:
        return f"[{STYLES[text]}]{text}[/]"
    return escaped(text)


def markdown(table: Table) -> str:
    """A Markdown table under its title."""
    rows = [[text for text, _ in row] for row in table.rows]
    body = markdown_rows(table.columns, rows, table.numeric)
    return f"**{_one_line(table.title)}**\n\n{body}\n"


def markdown_rows(
    columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool]
) -> str:
    """A Markdown table; columns that are `numeric` are aligned to the right."""
    rule = ["---:" if right else "---" for right in numeric]
    lines = [_markdown_line(map(_markdown_text, columns)), _markdown_line(rule)]
    for row in rows:
        lines.append(_markdown_line(map(_markdown_text, row)))
    return "\n".join(lines)


def _markdown_line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_text(text: str) -> str:
    """A text that cannot end its cell, or its line."""
    return text.replace("|", "\\|").replace("\n", " ")


def _one_line(text: str) -> str:
    """A text that cannot end a line, such as that of a comment."""
    return " ".join(text.split())


def latex(table: Table) -> str:
    """A LaTeX table in the style of the package booktabs."""
    columns = "".join("r" if right else "l" for right in table.numeric)
    lines = [
        f"% {_one_line(table.title)}",
        r"% needs \usepackage{booktabs}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _latex_line(table.columns),
        r"\midrule",
        *(_latex_line([text for text, _ in row]) for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _latex_line(texts: Sequence[str]) -> str:
    return " & ".join(map(latex_text, texts)) + r" \\"


def latex_text(text: str) -> str:
    """A text in which no character means something to LaTeX."""
    return "".join(LATEX.get(character, character) for character in text)


def write_tables(
    folder: Path, tables: list[Table], frames: dict[str, pd.DataFrame]
) -> list[Path]:
    """Write tables as Markdown and LaTeX, and frames as CSV with every digit.

    Args:
        folder: The folder of the files, made if needed.
        tables: Tables as they are shown.
        frames: Tables with every digit, by the name of their file.

    Returns:
        The paths that were written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {}
    for table in tables:
        texts[folder / f"{table.name}.md"] = markdown(table)
        texts[folder / f"{table.name}.tex"] = latex(table)
    for path, text in texts.items():
        with written_whole(path) as temporary:
            temporary.write_text(text, encoding="utf-8")

    paths = list(texts)
    for name, frame in frames.items():
        path = folder / f"{name}.csv"
        with written_whole(path) as temporary:
            without_formulas(frame).to_csv(temporary, index=False)
        paths.append(path)
    return paths
