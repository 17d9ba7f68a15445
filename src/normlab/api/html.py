"""How notebooks show runs and comparisons, in a light and in a dark theme."""

import itertools
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Template
from markupsafe import Markup
from matplotlib.figure import Figure

from normlab.check.findings import RIGHT, UNKNOWN, Examination
from normlab.check.properties import PROPERTIES
from normlab.models.swap import Swap
from normlab.report.drawing import Drawing, inline_svg
from normlab.report.page import page_environment
from normlab.report.table_columns import Cell
from normlab.report.tables import Table
from normlab.terminal import format_metric, in_notebook
from normlab.training.display import SWAP_COLUMNS, swap_cells

PARTS = ("train", "val", "test")
IMAGES = ("image/png", "image/svg+xml", "image/jpeg", "application/pdf")


# Ids of the elements of figures must be unique in a notebook.
_numbers = itertools.count(1)


@cache
def _template(name: str) -> Template:
    folder = resources.files("normlab.api")
    environment = page_environment()
    source = folder.joinpath(name).read_text()
    style = folder.joinpath("notebook.css").read_text()
    template = environment.from_string(source)
    template.globals["style"] = Markup(style)
    return template


def run_html(
    folder: Path,
    status: str,
    metrics: Mapping[str, float | None],
    result: Mapping[str, Any],
) -> str:
    """One run: its scores by part, and what to know about it."""
    names: dict[str, None] = {}  # a set that keeps its order
    for name in metrics:
        _, _, short_name = name.partition("/")
        names[short_name] = None
    rows = []
    for name in names:
        row: list[Cell] = [(name, name)]
        for part in PARTS:
            value = metrics.get(f"{part}/{name}")
            row.append(_number_cell(value))
        rows.append(row)
    header = ["metric", *PARTS]
    numeric = [column in PARTS for column in header]
    table = Table("scores", folder.name, header, rows, numeric)

    notes = []
    if result.get("reason"):
        notes.append(str(result["reason"]))
    notes += result.get("cautions", [])
    return _render([table], [f"{status}, {folder}"], notes, None)


def runs_html(table: pd.DataFrame) -> str:
    """A table of runs, one row each."""
    header = []
    numeric = []
    for name, column in table.items():
        header.append(str(name))
        numeric.append(pd.api.types.is_numeric_dtype(column))
    rows = []
    for values in table.itertuples(index=False):
        row = [_cell(value) for value in values]
        rows.append(row)
    title = f"{len(table)} runs"
    shown = Table("runs", title, header, rows, numeric)
    return _render([shown], [], [], None)


def swaps_html(swaps: Sequence[Swap]) -> str:
    """What happened to the norms of a network, one row each."""
    rows = [[_cell(text) for text in swap_cells(swap)] for swap in swaps]
    numeric = [False] * len(SWAP_COLUMNS)
    table = Table("norms", "Norms", list(SWAP_COLUMNS), rows, numeric)
    return _render([table], [], [], None)


def comparison_html(
    tables: Sequence[Table],
    sentences: Sequence[str],
    warnings: Sequence[str],
    drawing: Drawing | None,
) -> str:
    """A comparison: its sentences, a figure, and tables."""
    return _render(tables, sentences, warnings, drawing)


def examination_html(found: Examination, explain: bool) -> str:
    """What was found about a norm, with reasons and code if `explain` is true."""
    right = []
    unknown = []
    for name, outcome in found.outcomes.items():
        rule = PROPERTIES[name]
        if outcome.status == RIGHT:
            note = f" ({outcome.note})" if outcome.note else ""
            right.append(f"{rule.title}{note}")
        elif outcome.status == UNKNOWN and rule.points:
            unknown.append(name.replace("_", " "))
    return _template("examination.html").render(
        found=found, explain=explain, right=right, unknown=unknown
    )


def show_inline(figure: Figure) -> Figure:
    """Prepare a figure for the output of a cell, where it lies on white.

    IPython shows figures once pyplot has been imported, which draws nothing here.
    """
    figure.patch.set_alpha(1)
    if in_notebook():
        from IPython.core.getipython import get_ipython
        from IPython.core.pylabtools import select_figure_formats

        shell = get_ipython()
        assert shell is not None
        assert shell.display_formatter is not None
        formatters = shell.display_formatter.formatters
        if not any(Figure in formatters[kind].type_printers for kind in IMAGES):
            select_figure_formats(shell, {"png"})
    return figure


def _render(
    tables: Sequence[Table],
    sentences: Sequence[str],
    warnings: Sequence[str],
    drawing: Drawing | None,
) -> str:
    figure = Markup()
    if drawing is not None:
        figure = Markup(inline_svg(drawing, f"normlab-{next(_numbers)}"))
    return _template("notebook.html").render(
        tables=tables, sentences=sentences, warnings=warnings, figure=figure
    )


def _cell(value: Any) -> Cell:
    if isinstance(value, float):
        return _number_cell(value)
    text = str(value)
    if isinstance(value, int):
        return text, value
    return text, text


def _number_cell(value: float | None) -> Cell:
    text = format_metric(value)
    if value is None:
        return text, float("nan")
    return text, value
