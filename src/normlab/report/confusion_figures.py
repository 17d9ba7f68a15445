"""A figure of what each arm takes its classes for."""

import numpy as np
from matplotlib.axes import Axes

from normlab.compare.columns import rows_of_arm
from normlab.compare.comparison import Comparison
from normlab.compare.confusions import class_names, mean_confusion
from normlab.compare.sentences import percent
from normlab.compare.summaries import finished_runs
from normlab.report.axes import MOST_PANELS, arm_lines, arms_in, make_panels
from normlab.report.drawing import INK, Drawing
from normlab.report.groups import first_of_note, runs_at_best_rate

MOST_CLASSES = 40  # more cells would be smaller than a point
MOST_NUMBERS = 12  # classes, for cells that are large enough for a number
LEAST_SHARE = 0.005  # that rounds to a percent
STRONG = 0.6  # from this share on a cell is too dark for dark ink


def draw_confusion(comparison: Comparison) -> Drawing | None:
    """Draw the mean confusion matrix of every arm.

    None is returned if the runs have no matrices, or have more than 40 classes.
    """
    part = "val" if comparison.metric.startswith("val/") else "test"
    runs, note = runs_at_best_rate(comparison)
    runs = finished_runs(runs, comparison.metric)
    found = {}
    for arm in arms_in(comparison, runs):
        shares = mean_confusion(rows_of_arm(runs, arm), part)
        if shares is not None and len(shares) <= MOST_CLASSES:
            found[arm] = shares
    if not found:
        return None
    names = class_names(runs)
    shown = list(found)[:MOST_PANELS]
    figure, axes = make_panels(len(shown), height=3.4)
    descriptions = []
    for axis, arm in zip(axes, shown, strict=True):
        _draw_matrix(axis, found[arm], names)
        axis.set_title(arm_lines(arm))
        descriptions.append(f"{arm}: {_most_confused(found[arm], names)}")
    caption = (
        f"Share of each true class (row) of the {part} part that was predicted as each "
        f"class (column), in percent; mean over the runs that finished.{note}"
        f"{first_of_note(MOST_PANELS, len(found), 'arms')}"
    )
    return Drawing(
        "confusion",
        f"Confusion of classes ({part})",
        caption,
        "; ".join(descriptions),
        figure,
    )


def _draw_matrix(axis: Axes, shares: np.ndarray, names: list[str]) -> None:
    size = len(shares)
    axis.pcolormesh(shares, cmap="Blues", vmin=0, vmax=1)
    axis.invert_yaxis()
    axis.set_aspect("equal")
    axis.grid(visible=False)
    labels = names if len(names) == size else [str(number) for number in range(size)]
    places = np.arange(size) + 0.5
    axis.set_yticks(places, labels, fontsize=6)
    axis.set_xticks(places, labels, fontsize=6, rotation=90)
    axis.set(xlabel="predicted", ylabel="true")
    if size > MOST_NUMBERS:
        return
    for (row, column), share in np.ndenumerate(shares):
        if share >= LEAST_SHARE:
            ink = "white" if share > STRONG else INK
            place = (column + 0.5, row + 0.5)
            axis.text(
                *place,
                f"{100 * share:.0f}",
                ha="center",
                va="center",
                fontsize=6,
                color=ink,
            )


def _most_confused(shares: np.ndarray, names: list[str]) -> str:
    """The pair of classes that is confused most often, in words."""
    others = np.nan_to_num(shares - np.diag(np.diag(shares)))
    row, column = np.unravel_index(others.argmax(), others.shape)
    pair = [names[place] if names else str(place) for place in (row, column)]
    share = percent(float(others[row, column]))
    return f"{share} of {pair[0]} are taken for {pair[1]}"
