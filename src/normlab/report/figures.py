"""What all figures share: colours that everybody can tell apart, panels, files and the element for the report."""

import io
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
)

from normlab.compare.comparison import Comparison
from normlab.compare.intervals import t_interval
from normlab.compare.sentences import percent

# Okabe and Ito (2008): told apart with every kind of colour vision; marks and dashes differ too, for print in grey.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C8C8C")
MARKS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
INK = "#22262b"  # in the report it becomes the colour of the page's text
MOST_PANELS = 6
MOST_NAMES_INSIDE = 3  # of a legend: more would lie on the lines
MOST_BANDS = 6
RC = {
    "font.size": 9,
    "font.family": "sans-serif",
    "svg.fonttype": "none",
    "svg.hashsalt": "normlab",
    "pdf.fonttype": 42,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "legend.frameon": False,
    "grid.alpha": 0.13,
    "axes.grid": True,
    **dict.fromkeys(
        (
            "text.color",
            "axes.labelcolor",
            "axes.edgecolor",
            "xtick.color",
            "ytick.color",
            "grid.color",
        ),
        INK,
    ),
}


@dataclass(frozen=True)
class Drawing:
    """A figure with its words.

    Attributes:
        name: of its files.
        title: a heading.
        caption: what is drawn, and over how many runs.
        description: what a reader sees, for one who does not.
        figure: the figure.
    """

    name: str
    title: str
    caption: str
    description: str
    figure: Figure


@contextmanager
def style() -> Iterator[None]:
    """Our look, and no window: figures are only ever written to files."""
    with matplotlib.rc_context(RC):
        yield


def panels(
    count: int, width: float = 3.4, height: float = 2.7, rows: int | None = None
) -> tuple[Figure, list[Axes]]:
    """Up to three panels beside each other, `count` in all, or `rows` rows of them."""
    columns = min(count, 3) if rows is None else math.ceil(count / rows)
    rows = math.ceil(count / columns)
    figure = Figure(
        figsize=(max(5.0, width * columns), height * rows), layout="constrained"
    )
    axes = [figure.add_subplot(rows, columns, place + 1) for place in range(count)]
    return figure, axes


def look(comparison: Comparison, arm: str) -> dict:
    """Colour and dashes of an arm, the same in every figure; where colours come again, dashes differ."""
    again, place = divmod(comparison.arms.index(arm), len(COLOURS))
    return {"color": COLOURS[place], "linestyle": DASHES[(place + again) % len(DASHES)]}


def mark(comparison: Comparison, arm: str) -> str:
    """Marker of an arm, the same in every figure."""
    again, place = divmod(comparison.arms.index(arm), len(COLOURS))
    return MARKS[(place + again) % len(MARKS)]


def legend(figure: Figure, axis: Axes) -> None:
    """Inside the panel where there are few arms, beside all panels where there are many."""
    handles, names = axis.get_legend_handles_labels()
    if len(names) > MOST_NAMES_INSIDE:
        figure.set_figheight(max(figure.get_figheight(), 0.3 + 0.19 * len(names)))
        figure.set_figwidth(figure.get_figwidth() + 0.5 + 0.07 * max(map(len, names)))
        figure.legend(handles, names, loc="outside right upper", fontsize=8)
    elif names:
        axis.legend(fontsize=8)


def band(
    axis: Axes,
    comparison: Comparison,
    arm: str,
    places: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
) -> None:
    """An interval around a line; none where so many arms would hide each other."""
    if len(comparison.arms) <= MOST_BANDS:
        shade(axis, places, low, high, look(comparison, arm)["color"])


def shade(
    axis: Axes,
    places: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    colour: str,
    alpha: float = 0.18,
) -> None:
    """An interval around a line; a bar where the line is a single point."""
    if len(places) == 1:
        axis.vlines(places, low, high, color=colour, alpha=2 * alpha, linewidth=4)
    else:
        axis.fill_between(places, low, high, color=colour, alpha=alpha, linewidth=0)


def dot(places: np.ndarray, marker: str = "o") -> dict:
    """A marker where a line is a single point, which could not be seen without."""
    return {"marker": marker, "markersize": 6} if len(places) == 1 else {}


def band_words(comparison: Comparison) -> str:
    """What `band` draws, for a caption."""
    whole = len(comparison.arms) <= MOST_BANDS
    return (
        f"Mean and {percent(comparison.confidence)} t interval over seeds"
        if whole
        else "Mean over seeds"
    )


def within_range(axis: Axis, metric: str) -> None:
    """Intervals of a share may reach beyond 0 and 1; the axis does not."""
    if metric.endswith("accuracy"):
        low, high = axis.get_view_interval()
        axis.axes.set(**{f"{axis.axis_name}lim": (max(low, -0.02), min(high, 1.02))})


def title_of(where: str) -> str:
    """A setting a line."""
    return re.sub(r", (?=[\w.]+=)", ",\n", where)


def lines_of(arm: str) -> str:
    """A setting a line, lr=0.1 for optimizer.lr=0.1."""
    return title_of(re.sub(r"[^ ,]*\.(?=\w+=)", "", arm))


def logarithmic(axis: Axis) -> None:
    """A logarithmic axis with plain numbers: 0.01, 0.1, 1; within a decade also 2 and 5."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    low, high = sorted(axis.get_view_interval())
    decades = math.log10(high / low)
    axis.set_major_locator(LogLocator(subs=(1,) if decades > 2 else (1, 2, 5)))
    if not any(
        low <= tick <= high for tick in axis.get_majorticklocs()
    ):  # not even 1, 2 or 5 lies in it
        axis.set_major_locator(FixedLocator(MaxNLocator(4).tick_values(low, high)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def middle_and_band(
    table: np.ndarray, confidence: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and t interval over the first axis, NaN ignored; a band only where there are two values."""
    counts = np.isfinite(table).sum(0)
    with np.errstate(all="ignore"):
        mean = np.nansum(table, 0) / np.where(counts, counts, np.nan)
    bounds = [t_interval(column[np.isfinite(column)], confidence) for column in table.T]
    return mean, *(np.array([bound[end] for bound in bounds]) for end in (0, 1))


def carried(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the runs of one arm, each run's last record repeated up to the last epoch of any.

    A mean over the runs that are still there would be one of survivors: with early stopping, of other seeds at every
    epoch.

    Args:
        table: a row a record, with the run in `index` and its `epoch`.
    """
    epochs = np.unique(table["epoch"])
    added = []
    for _, run in table.groupby("index", sort=False):
        end = run["epoch"].max()
        added += [
            run[run["epoch"] == end].assign(epoch=epoch)
            for epoch in epochs[epochs > end]
        ]
    return pd.concat([table, *added], ignore_index=True) if added else table


def carried_words(before: int, after: int) -> str:
    """A note where `carried` added rows."""
    return (
        " Runs that stopped before others of their arm keep their last value."
        if after > before
        else ""
    )


def whole_epochs(axis: Axes) -> None:
    """Ticks at whole epochs only."""
    axis.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))


def save(drawing: Drawing, folder: Path) -> list[Path]:
    """PNG, SVG and PDF on white."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{drawing.name}.{suffix}" for suffix in ("png", "svg", "pdf")]
    with style():
        for path in paths:
            metadata = {
                "png": {},
                "svg": {"Date": None},
                "pdf": {"CreationDate": None},
            }[path.suffix[1:]]
            drawing.figure.savefig(path, dpi=160, facecolor="white", metadata=metadata)
    return paths


def inline_svg(drawing: Drawing, name: str) -> str:
    """The figure as an SVG element, its ids starting with `name`, its ink the colour of the surrounding text."""
    buffer = io.StringIO()
    with style():
        drawing.figure.patch.set_alpha(0)
        for axis in drawing.figure.axes:
            axis.patch.set_alpha(0)
        drawing.figure.savefig(
            buffer, format="svg", transparent=True, metadata={"Date": None}
        )
    svg = buffer.getvalue()
    svg = re.sub(r"(?s)^.*?(?=<svg )|<metadata>.*?</metadata>", "", svg).replace(
        INK, "currentColor"
    )
    # Ids must be unique on the page.
    svg = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r' (width|height)="[^"]*pt"', "", svg, count=2)
    inches = drawing.figure.get_figwidth()
    # Below the least width the figure scrolls sideways in its own box, so that its text stays readable on a phone.
    return svg.replace(
        "<svg ",
        f'<svg style="max-width: {inches * 7:.1f}rem; min-width: {inches * 4.4:.1f}rem" ',
        1,
    )
