"""Figures of what each arm takes its classes for."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from normlab.compare.columns import rows_of_arm
from normlab.compare.comparison import Comparison
from normlab.compare.confusions import class_names, mean_confusion
from normlab.compare.sentences import percent
from normlab.compare.summaries import finished_runs
from normlab.report.axes import MOST_PANELS, arm_lines, arms_in, make_panels
from normlab.report.drawing import INK, Drawing
from normlab.report.groups import (
    MOST_GROUPS,
    first_groups,
    first_of_note,
    groups_note,
    named_by_group,
    runs_at_best_rate,
)

MOST_CLASSES = 40  # more cells would be smaller than a point
MOST_NUMBERS = 12  # classes, for cells that are large enough for a number
LEAST_SHARE = 0.005  # that rounds to a percent
STRONG = 0.6  # from this share on a cell is too dark for dark ink


def draw_confusions(comparison: Comparison) -> list[Drawing]:
    """Draw the mean confusion matrix of every arm, in one figure per group of runs.

    A group has no figure if its runs have no matrices, or have more than 40 classes.
    """
    runs, note = runs_at_best_rate(comparison)
    runs = finished_runs(runs, comparison.metric)
    note += groups_note(runs, MOST_GROUPS)
    drawings = []
    for place, (name, group) in enumerate(first_groups(runs, MOST_GROUPS), 1):
        drawing = _draw_group(comparison, group, note)
        if drawing is not None:
            drawings.append(named_by_group(drawing, place, name))
    return drawings


def _draw_group(
    comparison: Comparison, runs: pd.DataFrame, note: str
) -> Drawing | None:
    part = "val" if comparison.metric.startswith("val/") else "test"
    found = _matrices(comparison, runs, part)
    if not found:
        return None
    shown = list(found)[:MOST_PANELS]
    figure, axes = make_panels(len(shown), height=3.4)
    descriptions = []
    for axis, arm in zip(axes, shown, strict=True):
        shares, labels = found[arm]
        _draw_matrix(axis, shares, labels)
        axis.set_title(arm_lines(arm))
        descriptions.append(f"{arm}: {_most_confused(shares, labels)}")
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


def _matrices(
    comparison: Comparison, runs: pd.DataFrame, part: str
) -> dict[str, tuple[np.ndarray, list[str]]]:
    """The matrix of every arm that has one, and what its rows are called."""
    found = {}
    for arm in arms_in(comparison, runs):
        of_arm = rows_of_arm(runs, arm)
        shares = mean_confusion(of_arm, part)
        if shares is not None and len(shares) <= MOST_CLASSES:
            labels = _labels(class_names(of_arm), len(shares))
            found[arm] = (shares, labels)
    return found


def _labels(names: list[str], size: int) -> list[str]:
    """The names of the classes if there is one for each, or else their numbers."""
    if len(names) == size:
        return names
    return [str(number) for number in range(size)]


def _draw_matrix(axis: Axes, shares: np.ndarray, labels: list[str]) -> None:
    size = len(shares)
    axis.pcolormesh(shares, cmap="Blues", vmin=0, vmax=1)
    axis.invert_yaxis()
    axis.set_aspect("equal")
    axis.grid(visible=False)
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


def _most_confused(shares: np.ndarray, labels: list[str]) -> str:
    """The pair of classes that is confused most often, in words."""
    others = np.nan_to_num(shares - np.diag(np.diag(shares)))
    row, column = np.unravel_index(others.argmax(), others.shape)
    share = percent(float(others[row, column]))
    return f"{share} of {labels[row]} are taken for {labels[column]}"
