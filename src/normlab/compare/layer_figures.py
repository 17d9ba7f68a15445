"""Figures of what happens inside the networks, from `statistics.csv`."""

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from normlab.compare.comparison import Comparison
from normlab.compare.figures import Drawing, look, mark, middle_and_band, panels, whole_epochs
from normlab.compare.run_figures import focus
from normlab.compare.runs import STABLE, read_layers
from normlab.compare.sentences import number
from normlab.compare.settings import order

MOST_RUNS = 10  # an arm; statistics.csv is long
QUANTILES = ("activation_q15", "activation_q50", "activation_q85")
DRIFT = {
    "weight_mean": "scale, mean over channels",
    "bias_mean": "shift, mean over channels",
    "mean_drift": "batch mean from running mean, in SDs",
    "var_drift": "|log(batch / running variance)|",
}
GRADIENTS = {"weights_gradient_norm": "gradient norm of weights", "gradient_norm": "gradient norm at the norm's output"}


def layer_figures(comparison: Comparison) -> list[Drawing]:
    """Gradient norm by depth, activation quantiles over time, drift of scale, shift and running statistics."""
    if comparison.metric == STABLE:  # those runs sit at the edge of training, at another rate for every seed
        return []
    runs, note = focus(comparison)
    first = order(list(runs["where"]))[0]
    runs = runs[(runs["where"] == first) & (runs["status"] == "finished")]
    runs = runs.groupby("arm", sort=False).head(MOST_RUNS)
    table = read_layers(runs)
    if table.empty:
        return []
    table = table.assign(arm=table["index"].map(runs["arm"]))
    note = (f" Runs at {first}." if first else "") + note
    drawn = (gradients(comparison, table, note), quantiles(comparison, table, note), drift(comparison, table, note))
    return [drawing for drawing in drawn if drawing]


def _arms(comparison: Comparison, table: pd.DataFrame) -> list[str]:
    return [arm for arm in comparison.arms if (table["arm"] == arm).any()]


def gradients(comparison: Comparison, table: pd.DataFrame, note: str) -> Drawing | None:
    """Gradient norm by depth, at the first and at the last record."""
    names = [name for name in GRADIENTS if (table["statistic"] == name).any()]
    if not names:
        return None
    part = table[table["statistic"] == names[0]]
    ends = [part["epoch"].min(), part["epoch"].max()]
    figure, axes = panels(2)
    told = []
    for axis, epoch in zip(axes, ends, strict=True):
        for arm in _arms(comparison, part):
            rows = part[(part["arm"] == arm) & (part["epoch"] == epoch)]
            layers = list(dict.fromkeys(rows["layer"]))
            values = rows.pivot_table(index="index", columns="layer", values="value")[layers].to_numpy(float)
            mean, low, high = middle_and_band(values)
            depth = np.arange(1, len(layers) + 1)
            options = look(comparison, arm) | {"marker": mark(comparison, arm), "markersize": 4}
            axis.fill_between(
                depth, np.clip(low, mean * 1e-2, None), high, color=options["color"], alpha=0.18, linewidth=0
            )
            axis.plot(depth, mean, label=arm, **options)
            told.append(
                f"{arm} at epoch {epoch:.0f}: {number(mean[0])} in the first layer, {number(mean[-1])} in the last"
            )
        axis.set(yscale="log", xlabel="layer, from the input", ylabel=GRADIENTS[names[0]], title=f"epoch {epoch:.0f}")
        whole_epochs(axis)
    axes[0].legend(fontsize=8)
    return Drawing(
        "gradients", "Gradient norm by depth", f"Mean and interval over seeds.{note}", "; ".join(told), figure
    )


def quantiles(comparison: Comparison, table: pd.DataFrame, note: str) -> Drawing | None:
    """The 15th, 50th and 85th percentile of the last norm's outputs over time (Ioffe and Szegedy, 2015, figure 1)."""
    part = table[table["statistic"].isin(QUANTILES)]
    if part.empty:
        return None
    names = _arms(comparison, part)[:6]
    figure, axes = panels(len(names), width=2.8)
    told = []
    for axis, arm in zip(axes, names, strict=True):
        rows = part[part["arm"] == arm]
        rows = rows[rows["layer"] == rows["layer"].iloc[-1]]
        for name, dashes in zip(QUANTILES, ("--", "-", "--"), strict=True):
            values = rows[rows["statistic"] == name].pivot_table(index="index", columns="epoch", values="value")
            mean, low, high = middle_and_band(values.to_numpy(float))
            colour = look(comparison, arm)["color"]
            axis.fill_between(values.columns, low, high, color=colour, alpha=0.15, linewidth=0)
            axis.plot(values.columns, mean, color=colour, linestyle=dashes)
            end = (values.columns[-1], mean[-1])
            axis.annotate(f"{name[-2:]} %", end, (3, 0), textcoords="offset points", fontsize=7)
            told.append(f"{arm} {name[-2:]} %: {number(mean[0])} to {number(mean[-1])}")
        axis.set(xlabel="epoch", ylabel="output of the last norm", title=arm)
        whole_epochs(axis)
    limits = [axis.get_ylim() for axis in axes]
    for axis in axes:
        axis.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
    caption = f"15th, 50th and 85th percentile, mean and interval over seeds.{note}"
    return Drawing("quantiles", "Activations over time", caption, "; ".join(told), figure)


def drift(comparison: Comparison, table: pd.DataFrame, note: str) -> Drawing | None:
    """Scale, shift and the distance of batch from running statistics, a line a layer."""
    part = table[table["statistic"].isin(DRIFT)]
    names = _arms(comparison, part)[:4]
    statistics = [name for name in DRIFT if (part["statistic"] == name).any()]
    if not names:
        return None
    figure, axes = panels(len(names) * len(statistics), width=2.7, height=2.1, rows=len(names))
    for place, axis in enumerate(axes):
        arm, statistic = names[place // len(statistics)], statistics[place % len(statistics)]
        rows = part[(part["arm"] == arm) & (part["statistic"] == statistic)]
        axis.set_visible(len(rows) > 0)  # a norm without running statistics leaves its place empty
        _layer_lines(axis, rows)
        axis.set(xlabel="epoch", title=f"{arm}: {DRIFT[statistic]}")
        axis.title.set_fontsize(8)
        whole_epochs(axis)
    shown = next(axis for axis in axes if axis.get_visible())
    shown.legend(fontsize=7, title="layer", title_fontsize=7)
    last = part[part["epoch"] == part["epoch"].max()].groupby(["arm", "statistic"])["value"].mean()
    told = [f"{arm}, {DRIFT[name]}: {number(value)} in the last epoch" for (arm, name), value in last.items()]
    caption = f"A line a layer, from dark (near the input) to light; means over seeds.{note}"
    return Drawing("drift", "Scale, shift and running statistics by layer", caption, "; ".join(told), figure)


def _layer_lines(axis: Axes, rows: pd.DataFrame) -> None:
    layers = list(dict.fromkeys(rows["layer"]))
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(layers)))
    for place, (layer, colour) in enumerate(zip(layers, colours, strict=True)):
        values = rows[rows["layer"] == layer].groupby("epoch")["value"].mean()
        shown = place in (0, len(layers) - 1) or len(layers) <= 6
        axis.plot(values.index, values, color=colour, linewidth=1.3, label=layer if shown else None)
