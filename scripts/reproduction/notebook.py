"""What the notebooks printed, as the plan quotes it."""

from typing import Any

Entry = dict[str, Any]  # of an experiment in the plan


def quotes(entry: Entry, arm: str, metric: str) -> list[tuple[str, Any]]:
    """What the notebook printed for its runs of an arm.

    Args:
        entry: The experiment's entry in the plan.
        arm: The arm.
        metric: A score, or a loss that was printed in every epoch.

    Returns:
        For every run the heading of its column, and the number or list of numbers.
    """
    arms = entry["notebook"].get("arms", {})
    runs = arms.get(arm, [])
    if isinstance(runs, dict):
        runs = [runs]
    found = []
    for run in runs:
        if metric not in run:
            continue
        heading = "notebook"
        name = run.get("called")
        if name is not None:
            heading = f"notebook, {name}"
        found.append((heading, run[metric]))
    return found


def printed_difference(entry: Entry, metric: str) -> float | None:
    """The notebook's difference between the arm of the contrast and the baseline.

    None unless the notebook has exactly one run of each.
    """
    first = entry["comparisons"][0]
    of_arm = quotes(entry, entry["contrast"], metric)
    of_baseline = quotes(entry, first["baseline"], metric)
    if len(of_arm) != 1 or len(of_baseline) != 1:
        return None
    _, value = of_arm[0]
    _, reference = of_baseline[0]
    return value - reference


def quoted_difference(entry: Entry) -> str:
    """The notebook's difference in test accuracy, or what the plan says instead."""
    printed = entry["notebook"].get("printed")
    if printed:
        return printed
    difference = printed_difference(entry, "test/accuracy")
    return f"{points(difference)} points of test accuracy"


def points(difference: float) -> str:
    """A difference of two accuracies in hundredths: `+1.49`."""
    return f"{100 * difference:+.2f}".replace("-", "−")
