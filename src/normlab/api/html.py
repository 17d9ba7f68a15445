"""How notebooks show runs and comparisons, in a light and in a dark theme."""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from normlab.report.drawing import Drawing, inline_svg
from normlab.report.tables import Cell, Table
from normlab.terminal import format_metric


@cache
def _template() -> Template:
    source = resources.files("normlab.api").joinpath("notebook.html").read_text()
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    return environment.from_string(source)


def run_html(
    folder: Path, status: str, metrics: Mapping[str, float], result: Mapping[str, Any]
) -> str:
    """One run: its scores by part, and what to know about it."""
    parts = ("train", "val", "test")
    names = dict.fromkeys(name.partition("/")[2] for name in metrics)
    rows = []
    for name in names:
        values = [metrics.get(f"{part}/{name}") for part in parts]
        rows.append([(name, name), *map(_number_cell, values)])
    table = Table("scores", folder.name, ["metric", *parts], rows, [False] + [True] * 3)
    notes = [str(result["reason"])] if result.get("reason") else []
    notes += result.get("cautions", [])
    return _render([table], [f"{status}, {folder}"], notes, None)


def runs_html(table: pd.DataFrame) -> str:
    """A table of runs, one row each."""
    numeric = [pd.api.types.is_numeric_dtype(table[name]) for name in table]
    rows = [[_cell(value) for value in row] for row in table.itertuples(index=False)]
    title = f"{len(table)} runs"
    return _render(
        [Table("runs", title, [str(name) for name in table], rows, numeric)],
        [],
        [],
        None,
    )


def comparison_html(
    tables: Sequence[Table],
    sentences: Sequence[str],
    warnings: Sequence[str],
    drawing: Drawing | None,
) -> str:
    """A comparison: its sentences, a figure, and tables."""
    return _render(tables, sentences, warnings, drawing)


def _render(
    tables: Sequence[Table],
    sentences: Sequence[str],
    warnings: Sequence[str],
    drawing: Drawing | None,
) -> str:
    figure = Markup(inline_svg(drawing, "notebook")) if drawing is not None else ""
    return _template().render(
        tables=tables, sentences=sentences, warnings=warnings, figure=figure
    )


def _cell(value: Any) -> Cell:
    if isinstance(value, float):
        return _number_cell(value)
    return str(value), value if isinstance(value, int) else str(value)


def _number_cell(value: float | None) -> Cell:
    return format_metric(value), float("nan") if value is None else value
