"""Which runs a figure shows, and which of them share a panel."""

import pandas as pd

from normlab.compare.comparison import Comparison
from normlab.compare.selection import LEARNING_RATES, runs_at_best, validation_metric
from normlab.compare.settings import group_labels, sorted_labels
from normlab.report.axes import MOST_PANELS


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


def first_of_note(shown: int, count: int, what: str) -> str:
    """` The first 6 of 9 groups.` for a caption; empty if all are shown."""
    if count <= shown:
        return ""
    return f" The first {shown} of {count} {what}."
