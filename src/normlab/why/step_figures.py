"""Pictures of what happens along training: landscape and internal covariate shift."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from normlab.report.axes import (
    draw_band,
    make_logarithmic,
    single_point_marker,
)
from normlab.report.drawing import Drawing
from normlab.report.groups import first_of_note
from normlab.why.pictures import Arms, Picture, make_picture, mean_by, medians, number

SANTURKAR = (
    "Santurkar, Tsipras, Ilyas and Madry, How Does Batch Normalization Help "
    "Optimization?, 2018, arXiv 1805.11604"
)
MOST_COLUMNS = 4
AT_THE_END = 3  # measured steps
LITTLE = 0.8  # a loss that stays above this share of the first has hardly fallen
# Titles of the panels, and the columns of their lower and upper end.
PANELS = {
    "range of the loss": ("loss_min", "loss_max"),
    "change of the gradient": ("gradient_change_min", "gradient_change_max"),
    "effective β-smoothness (low is smooth)": ("smoothness", "smoothness"),
}


def draw_landscape(arms: Arms) -> Picture | None:
    """Loss, gradient and smoothness along the gradient, step by step."""
    table = arms.table("landscape")
    if table.empty:
        return None
    figure = Figure(figsize=(10.2, 3.3), layout="constrained")
    axes = figure.subplots(1, len(PANELS))
    for axis, (title, columns) in zip(axes, PANELS.items(), strict=True):
        for arm in arms.present(table):
            means = mean_by(table[table["arm"] == arm], "step")
            _draw_range(axis, arms, arm, means[columns[0]], means[columns[1]])
        axis.set(title=title, xlabel="step of training")
        make_logarithmic(axis.yaxis)
    axes[0].set_ylabel("loss")
    axes[1].set_ylabel("distance of the gradients")
    axes[2].set_ylabel("change of the gradient / distance")
    axes[0].legend(fontsize=8)

    drawing = Drawing("landscape", "The landscape along the gradient", "", "", figure)
    return make_picture(
        drawing,
        table,
        look_for="narrow bands and low lines. At a step, training looks along its "
        "gradient, as far as 0.5 to 4 times the step that it makes: the band is the "
        "range of losses that it meets there (left), the range of distances between "
        "the gradients there and the gradient at the start (middle), and the line is "
        "the largest change of the gradient divided by the distance (right).",
        found="in a VGG on CIFAR-10 all three are much smaller with batch norm, most "
        "clearly early in training (figure 4): the landscape is smoother, so that a "
        "gradient can be relied upon over longer steps.",
        here="the median of the effective smoothness is "
        f"{medians(arms, table, 'smoothness')}; of the largest change of the gradient "
        f"{medians(arms, table, 'gradient_change_max')}.{untrained(arms, table)}",
        measured=arms.training(table.groupby("run").size().max()),
        source=SANTURKAR,
    )


def untrained(arms: Arms, table: pd.DataFrame) -> str:
    """A sentence about arms whose loss hardly fell; empty if there are none."""
    sentences = []
    for arm in arms.present(table):
        losses = mean_by(table[table["arm"] == arm], "step")["loss"]
        first = losses.iloc[0]
        last = losses.tail(AT_THE_END).mean()
        if len(losses) > AT_THE_END and last > LITTLE * first:
            sentences.append(
                f" The loss of {arm} was {number(first)} at first and {number(last)} "
                f"at the end: it hardly trained, and where gradients vanish every "
                f"landscape looks smooth."
            )
    return "".join(sentences)


def _draw_range(
    axis: Axes, arms: Arms, arm: str, low: pd.Series, high: pd.Series
) -> None:
    """Draw a band with thin edges, or a line if both ends are the same."""
    colour = arms.colour(arm)
    marker = single_point_marker(low.index)
    if low.equals(high):
        axis.plot(low.index, low, label=arm, **arms.style(arm), **marker)
        return
    draw_band(axis, low.index, low, high, colour, alpha=0.3)
    axis.plot(low.index, high, label=arm, **arms.style(arm), **marker)
    axis.plot(low.index, low, **arms.style(arm) | {"linewidth": 0.8})


def draw_covariate_shift(arms: Arms) -> Picture | None:
    """Cosine and distance of gradients before and after the layers before move."""
    table = arms.table("covariate_shift")
    if table.empty:
        return None
    names = list(dict.fromkeys(table["layer"]))
    layers = names[:MOST_COLUMNS]
    width = max(5.2, 2.7 * len(layers) + 0.8)
    figure = Figure(figsize=(width, 4.6), layout="constrained")
    grid = figure.subplots(2, len(layers), sharex=True, sharey="row", squeeze=False)
    for layer, (cosines, differences) in zip(layers, grid.T, strict=True):
        of_layer = table[table["layer"] == layer]
        for arm in arms.present(of_layer):
            means = mean_by(of_layer[of_layer["arm"] == arm], "step")
            marker = single_point_marker(means.index)
            style = arms.style(arm) | marker
            cosines.plot(means.index, means["cosine"], label=arm, **style)
            # A logarithmic axis has no place for 0.
            positive = means["difference"].where(means["difference"] > 0)
            differences.plot(means.index, positive, label=arm, **style)
        cosines.set_title(layer, fontsize=9)
        make_logarithmic(differences.yaxis)
        differences.set_xlabel("step of training")
    grid[0, 0].set_ylabel("cosine (ideally 1)")
    grid[1, 0].set_ylabel("difference (ideally 0)")
    grid[0, 0].legend(fontsize=8)

    title = "Internal covariate shift"
    drawing = Drawing("covariate_shift", title, "", "", figure)
    return make_picture(
        drawing,
        table,
        look_for="cosines near 1 and small differences. Every column is a layer. Its "
        "gradient is computed twice on the same batch: before the step, and once more "
        "when all layers before it have made the step and it has not. If batch norm "
        "worked by reducing this shift, its line would be nearer to the ideal.",
        found="networks with batch norm have a similar or even a worse internal "
        "covariate shift and train better all the same (definition 2.1 and figure 3, "
        "VGG and a deep linear network).",
        here=f"the median cosine is {medians(arms, table, 'cosine')}; the median "
        f"difference is {medians(arms, table, 'difference')}."
        f"{first_of_note(len(layers), len(names), 'layers')}",
        measured=arms.training(table.groupby(["run", "layer"]).size().max()),
        source=SANTURKAR,
    )
