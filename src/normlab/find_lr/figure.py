"""The figure of a range test."""

from matplotlib.figure import Figure

from normlab.colours import BLUE, GREY, VERMILION
from normlab.find_lr.range_test import RangeTest
from normlab.report.drawing import figure_style

LARGEST_SHOWN = 1.3  # times the loss of the first step; a loss that diverges hides all


def draw_range_test(test: RangeTest, title: str) -> Figure:
    """Draw the loss over the learning rate, with the suggested rate.

    Args:
        test: what the range test found.
        title: above the figure.
    """
    with figure_style():
        figure = Figure(figsize=(5.0, 3.2), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(test.rates, test.losses, color=GREY, alpha=0.5, label="each step")
        axes.plot(test.rates, test.smoothed, color=BLUE, label="smoothed")
        if test.suggestion is not None:
            axes.axvline(
                test.suggestion,
                color=VERMILION,
                linestyle="--",
                label=f"falls fastest at {test.suggestion:.2g}",
            )
        lowest = min(test.losses)
        highest = LARGEST_SHOWN * max(test.smoothed[0], lowest)
        axes.set_ylim(lowest - 0.05 * (highest - lowest), highest)
        axes.set_xscale("log")
        axes.set_xlabel("learning rate")
        axes.set_ylabel("training loss")
        axes.set_title(title)
        axes.legend()
    return figure
