"""What an experiment shows, in words: its line of the overview, and the notebook's."""

import math

from reproduction.notebook import (
    Entry,
    points,
    printed_difference,
    quoted_difference,
)
from reproduction.tables import Contrast, shown_difference

from normlab.compare.comparison import Comparison
from normlab.compare.inference import SMALLEST_N


def overview_cells(comparison: Comparison, entry: Entry) -> list[str]:
    """The line of the overview: experiment, notebook, here, conclusion."""
    head = [entry["title"], quoted_difference(entry)]
    contrast = _main_contrast(comparison, entry)
    if contrast is None:
        return [*head, "too few runs", "cannot tell"]

    difference, low, high = shown_difference(comparison, contrast)
    unit = comparison.metric
    if unit.endswith("accuracy"):
        unit = "points of test accuracy"
    number = contrast["n"]
    what = _repetitions(contrast)
    arm = contrast["arm"]
    baseline = contrast["baseline"]
    interval = f"{low} to {high}, {number} {what}"
    here = f"{difference} {unit} ({interval}), {arm} against {baseline}"
    return [*head, here, _conclusion(comparison, entry, contrast)]


def against_notebook(comparison: Comparison, entry: Entry) -> str:
    """The notebook's difference beside ours; empty if it printed none.

    The notebook has one run per arm, so it is held against the interval in which one
    further pair of runs is expected.
    """
    contrast = _main_contrast(comparison, entry)
    printed = printed_difference(entry, comparison.metric)
    if contrast is None or printed is None:
        return ""
    difference, _, _ = shown_difference(comparison, contrast)
    single = contrast | {
        "low": contrast["prediction_low"],
        "high": contrast["prediction_high"],
    }
    _, low, high = shown_difference(comparison, single)
    arm = contrast["arm"]
    baseline = contrast["baseline"]
    ours = contrast["difference"]
    share = ""
    if ours * printed > 0:
        percent = 100 * ours / printed
        share = f", {percent:.0f} % of that"
    contains = "does not hold"
    if _contains(contrast, printed):
        contains = "holds"
    return (
        f"**Against the notebook.** The notebook's difference of {arm} to "
        f"{baseline} is {points(printed)} points. Here it is {difference} "
        f"points{share}. A further pair of runs is expected from {low} to {high}, "
        f"which {contains} the notebook's."
    )


def _main_contrast(comparison: Comparison, entry: Entry) -> Contrast | None:
    """The contrast that the plan names; None if it has no interval."""
    wanted = entry["contrast"]
    for row in comparison.contrasts.to_dict("records"):
        if row["arm"] != wanted:
            continue
        has_interval = math.isfinite(row["low"])
        return row if has_interval else None
    return None


def _contains(contrast: Contrast, value: float) -> bool:
    """Whether one further pair of runs could have this difference."""
    return bool(contrast["prediction_low"] <= value <= contrast["prediction_high"])


def _repetitions(contrast: Contrast) -> str:
    if contrast["design"] == "folds":
        return "folds"
    return "seeds"


def _conclusion(comparison: Comparison, entry: Entry, contrast: Contrast) -> str:
    """The conclusion, and whether a single pair could give what the notebook has."""
    words = _verdict(contrast)
    printed = printed_difference(entry, comparison.metric)
    if printed is None:
        return words
    place = "outside"
    if _contains(contrast, printed):
        place = "inside"
    return f"{words}; the notebook's difference is {place} the range of single pairs"


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
