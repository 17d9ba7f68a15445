"""Which runs a figure shows, and which of them share a panel or a figure."""

from dataclasses import replace

import pandas as pd

from normlab.compare.comparison import Comparison
from normlab.compare.selection import LEARNING_RATES, runs_at_best, validation_metric
from normlab.compare.settings import group_labels, sorted_labels
from normlab.report.axes import MOST_PANELS
from normlab.report.drawing import Drawing

MOST_GROUPS = 3  # that have figures of their own


def is_learning_rate(key: str) -> bool:
    """Whether a setting such as `optimizer.lr` is a learning rate."""
    return key.rpartition(".")[2] in LEARNING_RATES


def runs_at_best_rate(comparison: Comparison) -> tuple[pd.DataFrame, str]:
    """Runs for figures that show one learning rate per arm.

    Returns:
        The runs, of every arm those at its best learning rate if several were tried;
        and a note on the choice for the caption, empty if there was none.
    """
    runs = comparison.runs
    rates = [key for key in comparison.within if is_learning_rate(key)]
    if not rates:
        return runs, ""
    rate = rates[0]
    others = [key for key in comparison.within if key != rate]
    runs = runs_at_best(runs, rate, others, comparison.metric)
    metric = validation_metric(runs, comparison.metric)
    note = f" Every arm at its best {rate}, by {metric}."
    return runs.assign(where=group_labels(runs, others)), note


def first_groups(
    runs: pd.DataFrame, most: int = MOST_PANELS
) -> list[tuple[str, pd.DataFrame]]:
    """The first groups of runs that share a panel, each with its name."""
    groups = []
    for name in sorted_labels(runs["where"])[:most]:
        groups.append((name, runs[runs["where"] == name]))
    return groups


def groups_note(runs: pd.DataFrame, most: int = MOST_PANELS) -> str:
    """A note for the caption if `first_groups` leaves groups out."""
    return first_of_note(most, runs["where"].nunique(), "groups")


def named_by_group(drawing: Drawing, place: int, group: str) -> Drawing:
    """The drawing of one of several groups, with its own file and title.

    Args:
        drawing: The figure of the group.
        place: Place of the group, from 1; the file of the first has the plain name.
        group: The name of the group; empty if there is no other.
    """
    name = drawing.name
    title = drawing.title
    if place > 1:
        name = f"{name}_{place}"
    if group:
        title = f"{title} ({group})"
    return replace(drawing, name=name, title=title)


def first_of_note(shown: int, count: int, what: str) -> str:
    """` The first 6 of 9 groups.` for a caption; empty if all are shown."""
    if count <= shown:
        return ""
    return f" The first {shown} of {count} {what}."
