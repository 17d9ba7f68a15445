"""Parts that all figures share: panels, the style of an arm, bands, labels, ticks."""

import math
import re
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
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
from numpy.typing import ArrayLike

from normlab.colours import COLOURS
from normlab.compare.comparison import Comparison
from normlab.compare.intervals import t_interval
from normlab.compare.sentences import percent
from normlab.study.derived import CHANGE, SLOPE

LABEL_CHARACTERS = 32  # fit beside an axis of 2.3 inches
# Beside the colours, markers and dashes differ, for print in grey.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
MOST_PANELS = 6
MOST_NAMES_INSIDE = 3  # a longer legend inside the panel would lie on the lines
LEGEND_INCHES = 4.8  # of a legend above the panels
MOST_BANDS = 6
BAND_ALPHA = 0.18


def make_panels(
    count: int, width: float = 3.4, height: float = 2.7, rows: int | None = None
) -> tuple[Figure, list[Axes]]:
    """Make a figure of `count` panels.

    Args:
        count: The number of panels.
        width: The width of a panel, in inches.
        height: The height of a panel, in inches.
        rows: The number of rows; by default as many as rows of three panels need.
    """
    columns = min(count, 3)
    if rows is not None:
        columns = math.ceil(count / rows)
    rows = math.ceil(count / columns)
    size = (max(5.0, width * columns), height * rows)
    figure = Figure(figsize=size, layout="constrained")
    axes = []
    for place in range(1, count + 1):
        axes.append(figure.add_subplot(rows, columns, place))
    return figure, axes


def arm_style(comparison: Comparison, arm: str) -> dict[str, Any]:
    """Colour and dashes of an arm, the same in every figure.

    If there are more arms than colours, arms of one colour have other dashes.
    """
    again, place = divmod(comparison.arms.index(arm), len(COLOURS))
    dashes = DASHES[(place + again) % len(DASHES)]
    return {"color": COLOURS[place], "linestyle": dashes}


def arm_marker(comparison: Comparison, arm: str) -> str:
    """Marker of an arm, the same in every figure."""
    again, place = divmod(comparison.arms.index(arm), len(COLOURS))
    return MARKERS[(place + again) % len(MARKERS)]


def arms_in(comparison: Comparison, table: pd.DataFrame) -> list[str]:
    """The arms that have rows in a table, in the order of the comparison."""
    present = set(table["arm"])
    return [arm for arm in comparison.arms if arm in present]


def add_legend(figure: Figure, axis: Axes) -> None:
    """Name the arms: few inside the panel, many above all panels."""
    handles, names = axis.get_legend_handles_labels()
    if len(names) > MOST_NAMES_INSIDE:
        add_legend_above(figure, handles, names)
    elif names:
        axis.legend(fontsize=8)


def add_legend_above(
    figure: Figure, handles: Sequence[Artist], names: Sequence[str], title: str = ""
) -> None:
    """Name lines above all panels, at the left, where a phone shows them too."""
    width = 0.5 + 0.065 * max(map(len, names))
    columns = max(1, min(len(names), int(LEGEND_INCHES / width)))
    rows = math.ceil(len(names) / columns) + bool(title)
    figure.set_figheight(figure.get_figheight() + 0.1 + 0.17 * rows)
    figure.legend(
        handles,
        names,
        loc="outside upper left",
        ncols=columns,
        fontsize=8,
        title=title or None,
        title_fontsize=8,
        alignment="left",
    )


def draw_arm_band(
    axis: Axes,
    comparison: Comparison,
    arm: str,
    x: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
) -> None:
    """Draw an interval around the line of an arm, unless too many would overlap."""
    if len(comparison.arms) <= MOST_BANDS:
        draw_band(axis, x, low, high, arm_style(comparison, arm)["color"])


def draw_band(
    axis: Axes,
    x: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    colour: Any,
    alpha: float = BAND_ALPHA,
) -> None:
    """Draw an interval around a line; around a single point it is a bar."""
    if np.size(x) == 1:
        axis.vlines(x, low, high, color=colour, alpha=2 * alpha, linewidth=4)
    else:
        axis.fill_between(x, low, high, color=colour, alpha=alpha, linewidth=0)


def single_point_marker(x: ArrayLike, marker: str = "o") -> dict[str, Any]:
    """A marker for a line of a single point, which would not be visible without one."""
    if np.size(x) == 1:
        return {"marker": marker, "markersize": 6}
    return {}


def band_caption(comparison: Comparison) -> str:
    """What a line and its band from `draw_arm_band` are, for a caption."""
    if len(comparison.arms) > MOST_BANDS:
        return "Mean over seeds"
    return f"Mean and {percent(comparison.confidence)} t interval over seeds"


def mean_and_interval(
    table: np.ndarray, confidence: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and t interval of every column, without its NaN.

    Args:
        table: Values of shape `(runs, epochs)`.
        confidence: Confidence of the interval, such as 0.95.

    Returns:
        Mean, lower and upper end, each of shape `(epochs,)`. The ends are NaN in
        columns with fewer than two values.
    """
    counts = np.isfinite(table).sum(0)
    with np.errstate(all="ignore"):
        mean = np.nansum(table, 0) / np.where(counts, counts, np.nan)
    bounds = np.empty((table.shape[1], 2))
    for place, column in enumerate(table.T):
        values = column[np.isfinite(column)]
        bounds[place] = t_interval(values, confidence)
    low, high = bounds.T
    return mean, low, high


def share_limits(axes: list[Axes], among: list[Axes]) -> None:
    """Give all panels the vertical limits that include those of some of them."""
    limits = np.array([axis.get_ylim() for axis in among])
    bottom = limits[:, 0].min()
    top = limits[:, 1].max()
    for axis in axes:
        axis.set_ylim(bottom, top)


def carry_forward(table: pd.DataFrame) -> pd.DataFrame:
    """Repeat the last record of runs that stopped early up to the last epoch of any.

    A mean over the runs that are still training would be one of survivors: with early
    stopping, a mean over other seeds at every epoch.

    Args:
        table: Records of the runs of one arm, one row per record, with the run in
            `index` and its `epoch`.
    """
    epochs = np.unique(table["epoch"])
    added = []
    for _, run in table.groupby("index", sort=False):
        end = run["epoch"].max()
        last = run[run["epoch"] == end]
        for epoch in epochs[epochs > end]:
            added.append(last.assign(epoch=epoch))
    if not added:
        return table
    return pd.concat([table, *added], ignore_index=True)


def carry_forward_note(before: pd.DataFrame, after: pd.DataFrame) -> str:
    """A note for the caption if `carry_forward` added rows."""
    if len(after) == len(before):
        return ""
    return " Runs that stopped before others of their arm keep their last value."


def one_setting_per_line(group: str) -> str:
    """The settings of a group, one per line, as a title."""
    return re.sub(r", (?=[\w.]+=)", ",\n", group)


def metric_lines(metric: str) -> str:
    """The name of a metric in lines that are no longer than a short axis."""
    return textwrap.fill(metric, LABEL_CHARACTERS, break_on_hyphens=False)


def arm_lines(arm: str) -> str:
    """The name of an arm, one setting per line, with lr=0.1 for optimizer.lr=0.1."""
    return one_setting_per_line(re.sub(r"[^ ,]*\.(?=\w+=)", "", arm))


def limit_accuracy_axis(axis: Axis, metric: str) -> None:
    """Keep the axis of an accuracy within 0 and 1; intervals may reach beyond.

    A change or a slope of an accuracy may be negative.
    """
    name = metric.rpartition("/")[2]
    if name.endswith("accuracy") and not name.startswith((CHANGE, SLOPE)):
        low, high = axis.get_view_interval()
        _set(axis, "lim", (max(low, -0.02), min(high, 1.02)))


def make_logarithmic(axis: Axis) -> None:
    """Make an axis logarithmic, with plain numbers as ticks: 0.01, 0.1, 1.

    An axis of two decades or fewer has ticks at 2 and 5 times these as well.
    """
    _set(axis, "scale", "log")
    low, high = sorted(axis.get_view_interval())
    subs = [1, 2, 5]
    if math.log10(high / low) > 2:
        subs = [1]
    axis.set_major_locator(LogLocator(subs=subs))
    if not any(low <= tick <= high for tick in axis.get_majorticklocs()):
        # So short that it contains no 1, 2 or 5.
        axis.set_major_locator(FixedLocator(MaxNLocator(4).tick_values(low, high)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def use_whole_epochs(axis: Axes) -> None:
    """Put ticks of the horizontal axis at whole epochs only."""
    axis.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))


def spans_a_decade(values: pd.Series) -> bool:
    """Whether values are positive and the largest is ten times the smallest."""
    return bool(values.min() > 0 and values.max() / values.min() >= 10)


def _set(axis: Axis, attribute: str, value: object) -> None:
    """Set `xlim` or `ylim`, `xscale` or `yscale`: whichever this axis is."""
    name = axis.axis_name  # type: ignore[attr-defined]  # missing in the stubs
    axis.axes.set(**{f"{name}{attribute}": value})
