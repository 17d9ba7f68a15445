"""Figures of what happens inside the networks, from `statistics.csv`."""

from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from normlab.compare.comparison import Comparison
from normlab.compare.runs import LARGEST_STABLE_RATE, read_layers
from normlab.compare.sentences import number
from normlab.report.figures import (
    MOST_PANELS,
    Drawing,
    band,
    band_words,
    carried,
    carried_words,
    dot,
    legend,
    lines_of,
    logarithmic,
    look,
    mark,
    middle_and_band,
    panels,
    shade,
    whole_epochs,
)
from normlab.report.run_figures import focus, groups, left_out

MOST_ROWS, MOST_LAYERS_NAMED = 4, 8
MOST_GROUPS = 3  # a set of figures each
MOST_RUNS = 10  # an arm; statistics.csv is long
QUANTILES = ("activation_q15", "activation_q50", "activation_q85")
DRIFT = {
    "weight_mean": "scale",
    "bias_mean": "shift",
    "mean_drift": "batch to running mean, in SDs",
    "var_drift": "|log batch / running variance|",
}
SPREAD = {"weight_mean": "weight_std", "bias_mean": "bias_std"}
GRADIENTS = {
    "weights_gradient_norm": "gradient norm of the weights",
    "gradient_norm": "gradient norm at the norm's output",
}


def layer_figures(comparison: Comparison) -> list[Drawing]:
    """Gradient norm by depth, activation quantiles over time, drift of scale, shift and running statistics."""
    if (
        comparison.metric == LARGEST_STABLE_RATE
    ):  # those runs sit at the edge of training, at another rate for every seed
        return []
    runs, note = focus(comparison)
    runs = runs[runs["status"] == "finished"]
    drawn = []
    for place, (where, group) in enumerate(groups(runs, MOST_GROUPS), 1):
        for drawing in _of_one_group(
            comparison, group, note + left_out(runs, MOST_GROUPS)
        ):
            name = drawing.name if place == 1 else f"{drawing.name}_{place}"
            drawn.append(
                replace(
                    drawing,
                    name=name,
                    title=f"{drawing.title} ({where})" if where else drawing.title,
                )
            )
    return drawn


def _of_one_group(
    comparison: Comparison, runs: pd.DataFrame, note: str
) -> list[Drawing]:
    most = runs["arm"].value_counts().max()
    runs = runs.groupby("arm", sort=False).head(MOST_RUNS)
    table = read_layers(runs)
    if table.empty:
        return []
    table = table.assign(arm=table["index"].map(runs["arm"]))
    note = (
        f" The first {MOST_RUNS} runs of an arm." if most > MOST_RUNS else ""
    ) + note
    whole = pd.concat(
        [carried(part) for _, part in table.groupby("arm", sort=False)],
        ignore_index=True,
    )
    over_time = carried_words(len(table), len(whole)) + note
    drawn = (
        gradients(comparison, table, note),
        quantiles(comparison, whole, over_time),
        drift(comparison, whole, over_time),
    )
    return [drawing for drawing in drawn if drawing]


def _arms(comparison: Comparison, table: pd.DataFrame) -> list[str]:
    return [arm for arm in comparison.arms if (table["arm"] == arm).any()]


def gradients(comparison: Comparison, table: pd.DataFrame, note: str) -> Drawing | None:
    """Gradient norm by depth, at the first and at the last record of every run, once where these are the same."""
    names = [name for name in GRADIENTS if (table["statistic"] == name).any()]
    if not names:
        return None
    part = table[table["statistic"] == names[0]]
    every = {
        end: part[part["epoch"] == part.groupby("index")["epoch"].transform(end)]
        for end in ("min", "max")
    }
    if len(every["min"]) == len(part):
        del every["min"]
    positive = [
        end for end, here in every.items() if (here["value"] > 0).any()
    ]  # the others have no logarithm
    figure, axes = panels(len(every))
    told = []
    for axis, (end, here) in zip(axes, every.items(), strict=True):
        if positive:
            axis.set_yscale("log")
        for arm in _arms(comparison, here):
            told.append(
                _depth_line(axis, comparison, arm, here[here["arm"] == arm], end)
            )
        axis.set(
            xlabel="layer, from the input",
            ylabel=GRADIENTS[names[0]],
            title=_when(here, end, "each run"),
        )
        whole_epochs(axis)
    limits = [
        axis.get_ylim()
        for axis, end in zip(axes, every, strict=True)
        if end in positive
    ]
    for axis in axes if positive else []:
        axis.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
        logarithmic(axis.yaxis)
    legend(figure, axes[0])
    caption = f"{band_words(comparison)}.{note}"
    return Drawing(
        "gradients", "Gradient norm by depth", caption, "; ".join(told), figure
    )


def _when(rows: pd.DataFrame, end: str, whose: str) -> str:
    if rows["epoch"].nunique() == 1:
        return f"epoch {rows['epoch'].iloc[0]:.0f}"
    return f"{'first' if end == 'min' else 'last'} epoch of {whose}"


def _depth_line(
    axis: Axes, comparison: Comparison, arm: str, rows: pd.DataFrame, end: str
) -> str:
    layers = list(dict.fromkeys(rows["layer"]))
    values = rows.pivot_table(index="index", columns="layer", values="value")[
        layers
    ].to_numpy(float)
    mean, low, high = middle_and_band(values, comparison.confidence)
    depth = np.arange(1, len(layers) + 1)
    options = look(comparison, arm) | {"marker": mark(comparison, arm), "markersize": 4}
    drawn = np.where(mean > 0, mean, np.nan) if axis.get_yscale() == "log" else mean
    band(axis, comparison, arm, depth, np.clip(low, drawn / 10, None), high)
    axis.plot(depth, drawn, label=arm, **options)
    at = f"{arm} at {_when(rows, end, 'its runs')}"
    return f"{at}: {number(mean[0])} in the first layer, {number(mean[-1])} in the last"


def quantiles(comparison: Comparison, table: pd.DataFrame, note: str) -> Drawing | None:
    """The 15th, 50th and 85th percentile of the last norm's outputs over time (Ioffe and Szegedy, 2015, figure 1)."""
    part = table[table["statistic"].isin(QUANTILES)]
    if part.empty:
        return None
    every = _arms(comparison, part)
    names = every[:MOST_PANELS]
    figure, axes = panels(len(names), width=2.8)
    told = []
    for axis, arm in zip(axes, names, strict=True):
        rows = part[part["arm"] == arm]
        rows = rows[rows["layer"] == rows["layer"].iloc[-1]]
        for name, dashes in zip(QUANTILES, ("--", "-", "--"), strict=True):
            values = rows[rows["statistic"] == name].pivot_table(
                index="index", columns="epoch", values="value"
            )
            if values.empty:
                continue
            mean, low, high = middle_and_band(
                values.to_numpy(float), comparison.confidence
            )
            colour = look(comparison, arm)["color"]
            shade(axis, values.columns, low, high, colour)
            axis.plot(
                values.columns,
                mean,
                color=colour,
                linestyle=dashes,
                **dot(values.columns),
            )
            end = (values.columns[-1], mean[-1])
            axis.annotate(
                f"{name[-2:]} %", end, (3, 0), textcoords="offset points", fontsize=7
            )
            told.append(f"{arm} {name[-2:]} %: {number(mean[0])} to {number(mean[-1])}")
        axis.set(xlabel="epoch", ylabel="output of the last norm", title=lines_of(arm))
        whole_epochs(axis)
    limits = [axis.get_ylim() for axis in axes]
    for axis in axes:
        axis.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
    caption = f"15th, 50th and 85th percentile, mean and interval over seeds.{_first(names, every)}{note}"
    return Drawing(
        "quantiles", "Activations over time", caption, "; ".join(told), figure
    )


def drift(comparison: Comparison, table: pd.DataFrame, note: str) -> Drawing | None:
    """Scale, shift and the distance of batch from running statistics: a row an arm, a line a layer."""
    part = table[table["statistic"].isin([*DRIFT, *SPREAD.values()])]
    every = _arms(comparison, part)
    names = every[:MOST_ROWS]
    statistics = [name for name in DRIFT if (part["statistic"] == name).any()]
    if not names:
        return None
    part = part[part["arm"].isin(names)]
    figure = Figure(
        figsize=(2.5 * len(statistics), 0.7 + 1.7 * len(names)), layout="constrained"
    )
    grid = figure.subplots(
        len(names), len(statistics), sharex=True, sharey="col", squeeze=False
    )
    layers = list(dict.fromkeys(part["layer"]))
    for arm, axes in zip(names, grid, strict=True):
        for statistic, axis in zip(statistics, axes, strict=True):
            here = part[part["arm"] == arm]
            if not (here["statistic"] == statistic).any():
                axis.text(
                    0.5,
                    0.5,
                    "has none",
                    transform=axis.transAxes,
                    ha="center",
                    va="center",
                    fontsize=8,
                )
            _layer_lines(axis, here, statistic, layers)
            whole_epochs(axis)
        axes[0].set_ylabel(lines_of(arm), fontweight="bold")
    for statistic, top, bottom in zip(statistics, grid[0], grid[-1], strict=True):
        top.set_title(DRIFT[statistic], fontsize=8)
        bottom.set_xlabel("epoch")
    _layer_legend(figure, grid, layers)
    last = (
        part[
            (part["epoch"] == part.groupby("arm")["epoch"].transform("max"))
            & part["statistic"].isin(DRIFT)
        ]
        .groupby(["arm", "statistic"])["value"]
        .mean()
    )
    told = [
        f"{arm}, {DRIFT[name]}: {number(value)} in the last epoch"
        for (arm, name), value in last.items()
    ]
    caption = f"A line a layer, from dark (near the input) to light; means over seeds{_band_note(part)}."
    caption += _first(names, every) + note
    return Drawing(
        "drift",
        "Scale, shift and running statistics by layer",
        caption,
        "; ".join(told),
        figure,
    )


def _layer_lines(
    axis: Axes, rows: pd.DataFrame, statistic: str, layers: list[str]
) -> None:
    # The middle of the scale: its ends are hard to see on a dark or on a white page.
    colours = matplotlib.colormaps["viridis"](np.linspace(0.3, 0.75, len(layers)))
    for layer, colour in zip(layers, colours, strict=True):
        here = rows[rows["layer"] == layer]
        values = here[here["statistic"] == statistic].groupby("epoch")["value"].mean()
        if values.empty:
            continue
        axis.plot(
            values.index,
            values,
            color=colour,
            linewidth=1.4,
            label=layer,
            **dot(values),
        )
        spread = (
            here[here["statistic"] == SPREAD.get(statistic)]
            .groupby("epoch")["value"]
            .mean()
        )
        if len(spread) == len(values):
            shade(axis, values.index, values - spread, values + spread, colour, 0.12)


def _layer_legend(figure: Figure, grid: np.ndarray, layers: list[str]) -> None:
    """The layers' names beside the panels; of many, the first and the last."""
    handles = {}
    for axis in grid.flat:
        handles |= {
            label: handle
            for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
        }
    named = [layer for layer in layers if layer in handles]
    shown = named if len(named) <= MOST_LAYERS_NAMED else [named[0], named[-1]]
    figure.legend(
        [handles[name] for name in shown],
        shown,
        loc="outside right upper",
        fontsize=7,
        title="layer",
    )


def _band_note(part: pd.DataFrame) -> str:
    has = part["statistic"].isin(["weight_mean", "bias_mean"]).any()
    return (
        ", of scale and shift with the standard deviation over channels" if has else ""
    )


def _first(shown: list[str], every: list[str]) -> str:
    """A note where there are more arms than panels."""
    return (
        f" The first {len(shown)} of {len(every)} arms."
        if len(shown) < len(every)
        else ""
    )
