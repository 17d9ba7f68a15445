"""Figures of what happens inside the networks, from the `statistics.csv` of runs."""

from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from normlab.compare.columns import LARGEST_STABLE_RATE, rows_of_arm
from normlab.compare.comparison import Comparison
from normlab.compare.curves import read_layers
from normlab.compare.sentences import number
from normlab.report.axes import (
    MOST_PANELS,
    add_legend,
    add_legend_above,
    arm_lines,
    arm_marker,
    arm_style,
    arms_in,
    band_caption,
    carry_forward,
    carry_forward_note,
    draw_arm_band,
    draw_band,
    make_logarithmic,
    make_panels,
    mean_and_interval,
    share_limits,
    single_point_marker,
    use_whole_epochs,
)
from normlab.report.drawing import Drawing
from normlab.report.groups import (
    MOST_GROUPS,
    first_groups,
    first_of_note,
    groups_note,
    named_by_group,
    runs_at_best_rate,
)

MOST_ROWS = 4
MOST_LAYERS_NAMED = 8
MOST_RUNS = 10  # per arm, since statistics.csv is long
QUANTILES = {
    "activation_q15": ("15 %", "--"),
    "activation_q50": ("50 %", "-"),
    "activation_q85": ("85 %", "--"),
}
DRIFT = {
    "weight_mean": "scale",
    "bias_mean": "shift",
    "mean_drift": "batch to running mean, in SDs",
    "var_drift": "|log batch / running variance|",
}
# The band around a line of DRIFT: its standard deviation over channels.
SPREAD = {"weight_mean": "weight_std", "bias_mean": "bias_std"}
# The first that was recorded is drawn.
GRADIENTS = {
    "weights_gradient_norm": "gradient norm of the weights",
    "gradient_norm": "gradient norm at the norm's output",
}
MIDDLE: dict[str, Any] = {"ha": "center", "va": "center"}


def draw_layers(comparison: Comparison) -> list[Drawing]:
    """Draw gradients by depth, activations over time, and drift of the norm layers.

    There is one set of figures per group of runs; runs without statistics have none.
    """
    if comparison.metric == LARGEST_STABLE_RATE:
        # These runs sit at the edge of training, at another rate for every seed.
        return []
    runs, note = runs_at_best_rate(comparison)
    runs = runs[runs["status"] == "finished"]
    note += groups_note(runs, MOST_GROUPS)

    drawings = []
    for place, (group_name, group) in enumerate(first_groups(runs, MOST_GROUPS), 1):
        for drawing in _draw_group(comparison, group, note):
            drawings.append(named_by_group(drawing, place, group_name))
    return drawings


def _draw_group(comparison: Comparison, runs: pd.DataFrame, note: str) -> list[Drawing]:
    if runs["arm"].value_counts().max() > MOST_RUNS:
        runs = runs.groupby("arm", sort=False).head(MOST_RUNS)
        note = f" The first {MOST_RUNS} runs of an arm.{note}"
    table = read_layers(runs)
    if table.empty:
        return []

    table = table.assign(arm=table["index"].map(runs["arm"]))
    parts = []
    for _, part in table.groupby("arm", sort=False):
        parts.append(carry_forward(part))
    whole = pd.concat(parts, ignore_index=True)
    over_time = carry_forward_note(table, whole) + note
    drawings = (
        draw_gradients(comparison, table, note),
        draw_quantiles(comparison, whole, over_time),
        draw_drift(comparison, whole, over_time),
    )
    return [drawing for drawing in drawings if drawing]


def draw_gradients(
    comparison: Comparison, table: pd.DataFrame, note: str
) -> Drawing | None:
    """Draw the gradient norm by depth, at the first and the last record of every run.

    There is a single panel if these are the same, and no figure without gradients.
    """
    recorded = set(table["statistic"])
    names = [name for name in GRADIENTS if name in recorded]
    if not names:
        return None
    part = table[table["statistic"] == names[0]]
    records = _records_by_end(part)
    # A panel without positive values has no logarithmic axis.
    positive = []
    for end, rows in records.items():
        if (rows["value"] > 0).any():
            positive.append(end)

    figure, axes = make_panels(len(records))
    descriptions = []
    for axis, (end, rows) in zip(axes, records.items(), strict=True):
        if positive:
            axis.set_yscale("log")
        for arm in arms_in(comparison, rows):
            of_arm = rows_of_arm(rows, arm)
            first, last = _draw_by_depth(axis, comparison, arm, of_arm)
            when = _when(of_arm, end, "its runs")
            descriptions.append(
                f"{arm} at {when}: {number(first)} in the first layer, "
                f"{number(last)} in the last"
            )
        title = _when(rows, end, "each run")
        axis.set(
            xlabel="layer, from the input", ylabel=GRADIENTS[names[0]], title=title
        )
        use_whole_epochs(axis)

    if positive:
        by_end = dict(zip(records, axes, strict=True))
        share_limits(axes, [by_end[end] for end in positive])
        for axis in axes:
            make_logarithmic(axis.yaxis)
    add_legend(figure, axes[0])

    caption = f"{band_caption(comparison)}.{note}"
    title = "Gradient norm by depth"
    return Drawing("gradients", title, caption, "; ".join(descriptions), figure)


def _records_by_end(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The first and the last record of every run, or only the last if each has one."""
    epochs = table.groupby("index")["epoch"]
    first = table[table["epoch"] == epochs.transform("min")]
    last = table[table["epoch"] == epochs.transform("max")]
    if len(first) == len(table):
        return {"last": last}
    return {"first": first, "last": last}


def _when(rows: pd.DataFrame, end: str, whose: str) -> str:
    if rows["epoch"].nunique() == 1:
        return f"epoch {rows['epoch'].iloc[0]:.0f}"
    return f"{end} epoch of {whose}"


def _draw_by_depth(
    axis: Axes, comparison: Comparison, arm: str, rows: pd.DataFrame
) -> tuple[float, float]:
    """Draw one arm; return the mean in the first and in the last layer."""
    layers = list(dict.fromkeys(rows["layer"]))
    table = rows.pivot_table(index="index", columns="layer", values="value")
    values = table[layers].to_numpy(float)
    mean, low, high = mean_and_interval(values, comparison.confidence)

    depth = np.arange(1, len(layers) + 1)
    drawn = mean
    if axis.get_yscale() == "log":
        drawn = np.where(mean > 0, mean, np.nan)
    # Ends below zero would stretch a logarithmic axis without limit.
    draw_arm_band(axis, comparison, arm, depth, np.clip(low, drawn / 10, None), high)
    axis.plot(
        depth,
        drawn,
        label=arm,
        marker=arm_marker(comparison, arm),
        markersize=4,
        **arm_style(comparison, arm),
    )
    return mean[0], mean[-1]


def draw_quantiles(
    comparison: Comparison, table: pd.DataFrame, note: str
) -> Drawing | None:
    """Draw the 15th, 50th and 85th percentile of the last norm's outputs over time.

    This is figure 1 of Ioffe and Szegedy (2015), arXiv 1502.03167.
    """
    part = table[table["statistic"].isin(list(QUANTILES))]
    if part.empty:
        return None
    arms = arms_in(comparison, part)
    shown = arms[:MOST_PANELS]

    figure, axes = make_panels(len(shown), width=2.8)
    descriptions = []
    for axis, arm in zip(axes, shown, strict=True):
        rows = rows_of_arm(part, arm)
        rows = rows[rows["layer"] == rows["layer"].iloc[-1]]
        descriptions += _draw_arm_quantiles(axis, comparison, arm, rows)
        axis.set(xlabel="epoch", ylabel="output of the last norm", title=arm_lines(arm))
        use_whole_epochs(axis)
    share_limits(axes, axes)

    caption = "15th, 50th and 85th percentile, mean and interval over seeds."
    caption += first_of_note(len(shown), len(arms), "arms") + note
    title = "Activations over time"
    return Drawing("quantiles", title, caption, "; ".join(descriptions), figure)


def _draw_arm_quantiles(
    axis: Axes, comparison: Comparison, arm: str, rows: pd.DataFrame
) -> list[str]:
    """Draw the percentiles of one arm; return from where to where each goes."""
    colour = arm_style(comparison, arm)["color"]
    descriptions = []
    for name, (percentile, dashes) in QUANTILES.items():
        of_name = rows[rows["statistic"] == name]
        values = of_name.pivot_table(index="index", columns="epoch", values="value")
        if values.empty:
            continue
        epochs = values.columns
        mean, low, high = mean_and_interval(
            values.to_numpy(float), comparison.confidence
        )
        draw_band(axis, epochs, low, high, colour)
        axis.plot(
            epochs,
            mean,
            color=colour,
            linestyle=dashes,
            **single_point_marker(epochs),
        )
        axis.annotate(
            percentile,
            (epochs[-1], mean[-1]),
            (3, 0),
            textcoords="offset points",
            fontsize=7,
        )
        descriptions.append(
            f"{arm} {percentile}: {number(mean[0])} to {number(mean[-1])}"
        )
    return descriptions


def draw_drift(
    comparison: Comparison, table: pd.DataFrame, note: str
) -> Drawing | None:
    """Draw scale, shift, and how far batch statistics are from running statistics.

    There is one row of panels per arm and one line per layer; no figure if no norm
    layer has any of them.
    """
    part = table[table["statistic"].isin([*DRIFT, *SPREAD.values()])]
    arms = arms_in(comparison, part)
    if not arms:
        return None
    recorded = set(part["statistic"])
    statistics = [name for name in DRIFT if name in recorded]
    shown = arms[:MOST_ROWS]
    part = part[part["arm"].isin(shown)]
    layers = list(dict.fromkeys(part["layer"]))

    size = (2.5 * len(statistics), 0.7 + 1.7 * len(shown))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(
        len(shown), len(statistics), sharex=True, sharey="col", squeeze=False
    )
    for arm, axes in zip(shown, grid, strict=True):
        of_arm = rows_of_arm(part, arm)
        for statistic, axis in zip(statistics, axes, strict=True):
            _draw_layer_lines(axis, of_arm, statistic, layers)
            use_whole_epochs(axis)
        axes[0].set_ylabel(arm_lines(arm), fontweight="bold")
    for statistic, top, bottom in zip(statistics, grid[0], grid[-1], strict=True):
        top.set_title(DRIFT[statistic], fontsize=8)
        bottom.set_xlabel("epoch")
    _name_layers(figure, grid, layers)

    caption = (
        "Every line is a layer, from dark (near the input) to light; means over seeds"
        f"{_spread_note(part)}.{first_of_note(len(shown), len(arms), 'arms')}{note}"
    )
    title = "Scale, shift and running statistics by layer"
    description = "; ".join(_last_drift(part))
    return Drawing("drift", title, caption, description, figure)


def _last_drift(table: pd.DataFrame) -> list[str]:
    """The mean of every statistic over layers and seeds in the last epoch."""
    last = table["epoch"] == table.groupby("arm")["epoch"].transform("max")
    rows = table[last & table["statistic"].isin(list(DRIFT))]
    means = rows.groupby(["arm", "statistic"], as_index=False)["value"].mean()
    texts = []
    for arm, name, value in means.itertuples(index=False, name=None):
        texts.append(f"{arm}, {DRIFT[name]}: {number(value)} in the last epoch")
    return texts


def _draw_layer_lines(
    axis: Axes, rows: pd.DataFrame, statistic: str, layers: list[str]
) -> None:
    """Draw a statistic of one arm, one line per layer."""
    if statistic not in set(rows["statistic"]):
        place = axis.transAxes
        axis.text(0.5, 0.5, "has none", fontsize=8, transform=place, **MIDDLE)

    # The middle of the scale: its ends are hard to see on a dark or on a white page.
    colours = matplotlib.colormaps["viridis"](np.linspace(0.3, 0.75, len(layers)))
    for layer, colour in zip(layers, colours, strict=True):
        of_layer = rows[rows["layer"] == layer]
        values = _mean_by_epoch(of_layer, statistic)
        if values.empty:
            continue
        axis.plot(
            values.index,
            values,
            color=colour,
            linewidth=1.4,
            label=layer,
            **single_point_marker(values),
        )
        spread = _mean_by_epoch(of_layer, SPREAD.get(statistic))
        if len(spread) == len(values):
            low = values - spread
            high = values + spread
            draw_band(axis, values.index, low, high, colour, 0.12)


def _mean_by_epoch(rows: pd.DataFrame, statistic: str | None) -> pd.Series:
    """The mean of a statistic over seeds; empty if there is no such statistic."""
    return rows[rows["statistic"] == statistic].groupby("epoch")["value"].mean()


def _name_layers(figure: Figure, grid: np.ndarray, layers: list[str]) -> None:
    """Name the layers above the panels; of many, the first and the last."""
    handles: dict[str, Artist] = {}
    for axis in grid.flat:
        lines, names = axis.get_legend_handles_labels()
        handles.update(zip(names, lines, strict=True))
    named = [layer for layer in layers if layer in handles]
    if len(named) > MOST_LAYERS_NAMED:
        named = [named[0], named[-1]]
    add_legend_above(figure, [handles[name] for name in named], named, "layer")


def _spread_note(table: pd.DataFrame) -> str:
    if not table["statistic"].isin(list(SPREAD)).any():
        return ""
    return ", of scale and shift with the standard deviation over channels"
