"""Pictures of single states: before training, at its end, and a film between them."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from normlab.colours import GREY
from normlab.evaluation.gradients_by_depth import RELU_GROWTH
from normlab.report.axes import make_logarithmic
from normlab.report.drawing import Drawing
from normlab.report.groups import first_of_note
from normlab.why.film import film_layer
from normlab.why.measure import BATCHES
from normlab.why.pictures import Arms, Picture, make_picture, mean_by, number

YANG = (
    "Yang, Pennington, Rao, Sohl-Dickstein and Schoenholz, A Mean Field Theory of "
    "Batch Normalization, 2019, arXiv 1902.08129"
)
LI = (
    "Li, Xu, Taylor, Studer and Goldstein, Visualizing the Loss Landscape of Neural "
    "Nets, 2018, arXiv 1712.09913"
)
IOFFE = (
    "Ioffe and Szegedy, Batch Normalization, 2015, arXiv 1502.03167; Wu and Johnson, "
    "Rethinking Batch in BatchNorm, 2021, arXiv 2105.07576"
)
MOST_SURFACES = 4
MOST_FILMS = 2
SURFACE_TICKS = (-1, -0.5, 0, 0.5, 1)
LEVELS = 14


def draw_depth(arms: Arms) -> Picture | None:
    """Squared gradients by depth before training, beside the growth of the theory."""
    table = arms.table("depth")
    if table.empty:
        return None
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    axis = figure.subplots()
    growths = []
    for arm in arms.present(table):
        means = mean_by(table[table["arm"] == arm], "depth")["squared_gradient"]
        means = means.where(means > 0)  # a logarithmic axis has no place for 0
        relative = means / means.iloc[-2]  # of the last hidden layer
        growth = _mean_growth(arms, arm)
        growths.append(f"{arm} {growth}")
        label = f"{arm}: × {growth} per layer"
        axis.plot(relative.index, relative, marker="o", label=label, **arms.style(arm))
    last = table["depth"].max() - 1
    depths = np.arange(1, last + 1)
    line = RELU_GROWTH ** (last - depths)
    label = "theory, ReLU and batch norm: × 1.467"
    axis.plot(depths, line, color=GREY, linestyle=":", linewidth=1.6, label=label)
    axis.set_xlabel("layer, from the inputs to the output")
    make_logarithmic(axis.yaxis)
    axis.set_ylabel("squared gradient norm\n(last hidden layer = 1)")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(fontsize=8)

    samples = sorted({run.batch_size for run in arms.runs})
    drawing = Drawing("depth", "Gradients by depth before training", "", "", figure)
    return make_picture(
        drawing,
        table,
        look_for="the slope. A line that rises to the left has gradients that explode "
        "towards the inputs; one that falls to the left has gradients that vanish. "
        "The gradients are those of the outputs of the layers with weights, before "
        "their norms; the number is the factor from a hidden layer to the one before.",
        found="batch norm makes gradients explode before training, whatever the "
        "initial weights are: in wide fully connected ReLU networks without skip "
        "connections the squared norm grows by π / (π - 1) = 1.467 per layer, so the "
        "norm by 1.211, in the limit of large batches (theorem 8). Without an "
        "activation it grows by (B - 2) / (B - 3) for batches of B samples, which is "
        "hardly anything. Convolutions and short networks need not follow.",
        here=f"the factor per layer is {', '.join(growths)}.",
        measured=f"{arms.scope()}; {BATCHES} batches of {', '.join(map(str, samples))} "
        f"samples, at the initial weights, in training mode",
        source=YANG,
    )


def _mean_growth(arms: Arms, arm: str) -> str:
    """The geometric mean of the growth over the runs of an arm, with three digits."""
    values = np.array([run.growth for run in arms.runs if run.arm == arm])
    known = values[np.isfinite(values)]
    if not len(known):
        return "unknown"
    mean_log = np.log(known).mean()
    return number(float(np.exp(mean_log)))


def _levels(surfaces: list[pd.DataFrame]) -> np.ndarray | None:
    """Levels of the contours over all surfaces; None if no loss is finite."""
    losses = np.concatenate([surface.to_numpy().ravel() for surface in surfaces])
    shown = losses[np.isfinite(losses) & (losses > 0)]
    if not len(shown):
        return None
    return np.geomspace(shown.min(), shown.max(), LEVELS)


def _add_bar(
    figure: Figure, drawn: ContourSet, axes: list[Axes], levels: np.ndarray
) -> None:
    """A bar of colours with four numbers."""
    bar = figure.colorbar(drawn, ax=axes, label="training loss", shrink=0.7)
    axis = bar.ax.yaxis
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2g}"))
    axis.set_minor_formatter(NullFormatter())
    step = (LEVELS - 1) // 3
    bar.set_ticks(list(levels[::step]))
    bar.ax.minorticks_off()


def draw_surface(arms: Arms) -> Picture | None:
    """The loss on a plane through the best state, one panel per arm."""
    table = arms.table("surface")
    if table.empty:
        return None
    shown = arms.present(table)[:MOST_SURFACES]
    surfaces = {}
    for arm in shown:
        surfaces[arm] = _first_surface(table, arm)
    levels = _levels(list(surfaces.values()))
    if levels is None:
        return None
    width = 3.3 * len(shown) + 0.9
    figure = Figure(figsize=(width, 3.7), layout="constrained")
    axes = figure.subplots(1, len(shown), sharex=True, sharey=True, squeeze=False)[0]
    for axis, arm in zip(axes, shown, strict=True):
        drawn = _draw_contours(axis, surfaces[arm], levels)
        axis.set_title(arm, fontweight="bold")
        axis.set_xlabel("along direction 1")
    axes[0].set_ylabel("along direction 2")
    _add_bar(figure, drawn, list(axes), levels)

    texts = []
    for arm in shown:
        losses = surfaces[arm].to_numpy()
        middle = len(losses) // 2
        centre = number(losses[middle, middle])
        rim = losses[_rim(surfaces[arm])]
        median = number(np.median(rim))
        texts.append(
            f"{arm} {centre} at the centre and {median} at the median of the rim"
        )
    grid = len(next(iter(surfaces.values())))
    samples = max(run.samples for run in arms.runs)
    drawing = Drawing("surface", "The loss around the trained network", "", "", figure)
    return make_picture(
        drawing,
        table,
        look_for="the width of the basin around the cross, which is the best state of "
        "the run, and whether the contours are convex. Lengths are comparable between "
        "panels: in each direction, every filter is moved by as much as its own "
        "length at 1. Colours mean the same in all panels.",
        found="flat, wide minima seen in filter-normalized directions go with better "
        "generalization, and the surfaces of deep networks without skip connections "
        "turn chaotic.",
        here=f"the loss is {'; '.join(texts)}.",
        measured=f"the first run of each arm; {grid} × {grid} points, {samples} "
        f"training samples without augmentation, two random directions of seed "
        f"{arms.runs[0].seed} that all arms share. The network is in evaluation mode, "
        f"and norms that keep running statistics use those of the {samples} samples "
        f"at every point, since the stored ones fit the weights of the centre alone"
        f"{_left_out(arms.present(table), shown)}",
        source=LI,
    )


def _left_out(arms: list[str], shown: list[str]) -> str:
    """A note if arms are left out, without its full stop."""
    note = first_of_note(len(shown), len(arms), "arms").rstrip(".")
    return f".{note}" if note else ""


def _first_surface(table: pd.DataFrame, arm: str) -> pd.DataFrame:
    """The surface of the first run of an arm; rows are b, columns a."""
    of_arm = table[table["arm"] == arm]
    first = of_arm[of_arm["run"] == of_arm["run"].iloc[0]]
    return first.pivot(index="b", columns="a", values="loss")


def _draw_contours(axis: Axes, losses: pd.DataFrame, levels: np.ndarray) -> ContourSet:
    """Draw filled contours with a logarithmic scale, and a cross at the centre."""
    values = np.ma.masked_invalid(losses.to_numpy())
    places = (losses.columns.to_numpy(), losses.index.to_numpy())
    scale = LogNorm(levels[0], levels[-1])
    values = np.ma.clip(values, levels[0], levels[-1])
    filled = axis.contourf(
        *places, values, levels=levels, norm=scale, cmap="viridis_r", extend="neither"
    )
    axis.contour(*places, values, levels=levels, colors="white", linewidths=0.5)
    axis.plot(0, 0, marker="+", color="black", markersize=9, markeredgewidth=1.6)
    axis.set_aspect("equal")
    axis.set(xticks=SURFACE_TICKS, yticks=SURFACE_TICKS)
    axis.grid(visible=False)
    return filled


def _rim(losses: pd.DataFrame) -> np.ndarray:
    """Which points lie on the edge of the plane."""
    rim = np.ones(losses.shape, dtype=bool)
    rim[1:-1, 1:-1] = False
    return rim


def draw_film(arms: Arms) -> Picture | None:
    """Running statistics against those of batches, in frames over steps."""
    table = arms.table("film")
    if table.empty:
        return None
    shown = arms.present(table)[:MOST_FILMS]
    films = {arm: _last_layer(table, arm) for arm in shown}
    steps = sorted({step for film in films.values() for step in film["step"]})
    rows = [(arm, statistic) for arm in shown for statistic in ("mean", "var")]
    width = 1.75 * len(steps) + 0.9
    height = 1.8 * len(rows) + 0.6
    size = (width, height)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(rows), len(steps), squeeze=False)
    for axes, (arm, statistic) in zip(grid, rows, strict=True):
        film = films[arm]
        limits = _limits(film, statistic)
        for axis, step in zip(axes, steps, strict=True):
            frame = film[film["step"] == step]
            _draw_frame(axis, frame, statistic, limits, arms.colour(arm))
        name = {"mean": "mean", "var": "variance"}[statistic]
        axes[0].set_ylabel(f"{arm}\nrunning {name}")
        axes[0].set_xlabel(f"batch {name}")
        for axis in axes[1:]:
            axis.tick_params(labelleft=False)
    for axis, step in zip(grid[0], steps, strict=True):
        axis.set_title("at the start" if step == 0 else f"after step {step}")

    texts = []
    for arm, film in films.items():
        at = film["step"]
        first = _distance(film[at == at.min()])
        last = _distance(film[at == at.max()])
        layer = film["layer"].iloc[0]
        texts.append(
            f"in layer {layer} of {arm} the median distance of the means changes from "
            f"{number(first)} to {number(last)} standard deviations"
        )
    title = "Running statistics catch up with those of the batches"
    drawing = Drawing("film", title, "", "", figure)
    return make_picture(
        drawing,
        table,
        look_for="how soon the points reach the diagonal. Every point is a channel of "
        "the last norm layer. On the diagonal, what evaluation uses (the running "
        "statistic) is what training sees (the statistic of the batches).",
        found="training normalizes by the batch and evaluation by a running average "
        "(Ioffe and Szegedy, section 3.1). The average lags behind while the weights "
        "before it change, so that evaluation early in training is worse than the "
        "network (Wu and Johnson, section 3).",
        here=f"{'; '.join(texts)}.",
        measured="the first run of each arm; frames of a second training from its own "
        f"configuration, statistics of {BATCHES} batches with the weights of that step"
        f"{_left_out(arms.present(table), shown)}",
        source=IOFFE,
    )


def _last_layer(table: pd.DataFrame, arm: str) -> pd.DataFrame:
    of_arm = table[table["arm"] == arm]
    first = of_arm[of_arm["run"] == of_arm["run"].iloc[0]]
    layer = film_layer(list(dict.fromkeys(first["layer"])))
    return first[first["layer"] == layer]


def _limits(film: pd.DataFrame, statistic: str) -> tuple[float, float]:
    """Limits that hold all frames, with a margin."""
    values = film[[f"running_{statistic}", f"batch_{statistic}"]].to_numpy()
    values = values[np.isfinite(values)]
    if statistic == "var":
        positive = values[values > 0]
        least = float(positive.min())
        most = float(positive.max())
        return least / 1.3, most * 1.3
    least = float(values.min())
    most = float(values.max())
    margin = 0.08 * (most - least) or 1.0
    return least - margin, most + margin


def _draw_frame(
    axis: Axes,
    frame: pd.DataFrame,
    statistic: str,
    limits: tuple[float, float],
    colour: str,
) -> None:
    axis.plot(limits, limits, color=GREY, linewidth=0.9, zorder=1)
    axis.scatter(
        frame[f"batch_{statistic}"],
        frame[f"running_{statistic}"],
        s=9,
        color=colour,
        alpha=0.6,
        linewidths=0,
        zorder=2,
    )
    axis.set(xlim=limits, ylim=limits)
    if statistic == "var":
        make_logarithmic(axis.xaxis)
        make_logarithmic(axis.yaxis)
    axis.set_box_aspect(1)
    axis.tick_params(labelsize=7)


def _distance(frame: pd.DataFrame) -> float:
    """Median distance of running and batch means, in standard deviations of batches."""
    distance = (frame["running_mean"] - frame["batch_mean"]).abs()
    deviation = frame["batch_var"].clip(lower=1e-12) ** 0.5
    return float((distance / deviation).median())
