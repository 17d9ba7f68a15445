"""What an experiment shows, in words: its line of the overview, and the notebook's."""

import math
from typing import Any

from reproduction.notebook import points, printed_difference, quoted_difference
from reproduction.tables import shown_difference

from normlab.compare.comparison import Comparison
from normlab.compare.inference import SMALLEST_N

Contrast = dict[Any, Any]


def overview_cells(comparison: Comparison, entry: dict[str, Any]) -> list[str]:
    """The line of the overview: experiment, notebook, here, conclusion."""
    head = [entry["title"], quoted_difference(entry)]
    contrast = _main_contrast(comparison, entry)
    if contrast is None:
        return [*head, "too few runs", "cannot tell"]

    difference, low, high = shown_difference(comparison, contrast)
    unit = comparison.metric
    if unit.endswith("accuracy"):
        unit = "points of test accuracy"
    size = f"{contrast['n']} {_repetitions(contrast)}"
    arms = f"{contrast['arm']} against {contrast['baseline']}"
    here = f"{difference} {unit} ({low} to {high}, {size}), {arms}"
    return [*head, here, _conclusion(comparison, entry, contrast)]


def against_notebook(comparison: Comparison, entry: dict[str, Any]) -> str:
    """The notebook's difference beside ours; empty if it printed none."""
    contrast = _main_contrast(comparison, entry)
    printed = printed_difference(entry, comparison.metric)
    if contrast is None or printed is None:
        return ""
    difference, low, high = shown_difference(comparison, contrast)
    share = ""
    if contrast["difference"] * printed > 0:
        share = f", {contrast['difference'] / printed:.0%} of that".replace("%", " %")
    contains = "holds" if _contains(contrast, printed) else "does not hold"
    return (
        f"**Against the notebook.** The notebook's difference of {contrast['arm']} to "
        f"{contrast['baseline']} is {points(printed)} points. Here it is {difference} "
        f"points{share}, and the interval from {low} to {high} {contains} the "
        "notebook's."
    )


def _main_contrast(comparison: Comparison, entry: dict[str, Any]) -> Contrast | None:
    """The contrast that the plan names; None if it has no interval."""
    for row in comparison.contrasts.to_dict("records"):
        if row["arm"] == entry["contrast"]:
            return row if math.isfinite(row["low"]) else None
    return None


def _contains(contrast: Contrast, value: float) -> bool:
    return bool(contrast["low"] <= value <= contrast["high"])


def _repetitions(contrast: Contrast) -> str:
    return "folds" if contrast["design"] == "folds" else "seeds"


def _conclusion(
    comparison: Comparison, entry: dict[str, Any], contrast: Contrast
) -> str:
    """The conclusion, and whether the interval contains what the notebook printed."""
    words = _verdict(contrast)
    printed = printed_difference(entry, comparison.metric)
    if printed is None:
        return words
    inside = "inside" if _contains(contrast, printed) else "outside"
    return f"{words}; the notebook's difference is {inside} the interval"


def _verdict(contrast: Contrast) -> str:
    arm = contrast["arm"]
    baseline = contrast["baseline"]
    verdict = contrast["verdict"]
    if verdict == "equivalent":
        return f"{arm} and {baseline} are equivalent"
    if verdict == "not told apart":
        return "no difference was shown"
    if verdict == "cannot tell":
        return _without_test(contrast)
    return f"{arm} does {verdict} than {baseline}"


def _without_test(contrast: Contrast) -> str:
    """What the interval says if no test could be made, and why none could."""
    position = "holds 0"
    if contrast["low"] > 0:
        position = "lies above 0"
    elif contrast["high"] < 0:
        position = "lies below 0"

    size = contrast["n"]
    what = _repetitions(contrast)
    reason = (
        f"{size} {what} are too few for a test of {contrast['contrasts']} contrasts"
    )
    if size < SMALLEST_N:
        reason = f"no test is made with fewer than {SMALLEST_N} {what}"
    return f"the interval {position}; {reason}"
