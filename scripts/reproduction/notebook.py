"""What the notebooks printed, as the plan quotes it."""

from typing import Any


def quotes(entry: dict[str, Any], arm: str, metric: str) -> list[tuple[str, Any]]:
    """What the notebook printed for its runs of an arm.

    Args:
        entry: The experiment's entry in the plan.
        arm: The arm.
        metric: A score, or a loss that was printed in every epoch.

    Returns:
        For every run the heading of its column, and the number or list of numbers.
    """
    runs = entry["notebook"].get("arms", {}).get(arm, [])
    if isinstance(runs, dict):
        runs = [runs]
    found = []
    for run in runs:
        if metric in run:
            heading = "notebook"
            if "called" in run:
                heading = f"notebook, {run['called']}"
            found.append((heading, run[metric]))
    return found


def printed_difference(entry: dict[str, Any], metric: str) -> float | None:
    """The notebook's difference between the arm of the contrast and the baseline.

    None unless the notebook has exactly one run of each.
    """
    arm = quotes(entry, entry["contrast"], metric)
    baseline = quotes(entry, entry["comparisons"][0]["baseline"], metric)
    if len(arm) != 1 or len(baseline) != 1:
        return None
    return arm[0][1] - baseline[0][1]


def quoted_difference(entry: dict[str, Any]) -> str:
    """The notebook's difference in test accuracy, or what the plan says instead."""
    if entry["notebook"].get("printed"):
        return entry["notebook"]["printed"]
    difference = printed_difference(entry, "test/accuracy")
    return f"{points(difference)} points of test accuracy"


def points(difference: float) -> str:
    """A difference of two accuracies in hundredths: `+1.49`."""
    return f"{100 * difference:+.2f}".replace("-", "−")
