"""What the runs of a comparison record about how they were made."""

from collections.abc import Sequence

import pandas as pd

from normlab.compare.comparison import Comparison
from normlab.compare.settings import setting_text, sorted_labels
from normlab.compare.verdict_sentences import judged_design

COMMIT = "environment.git.commit"
MONITOR = "trainer.monitor"
COMMIT_DIGITS = 10
MOST_NAMED = 5
# How the arms of each design are compared.
TESTS = {
    "paired": "in pairs of runs with the same seed by the exact sign-flip test",
    "independent": "as independent runs by Welch's t test",
    "folds": "in pairs of folds by the t test with the correction of Nadeau and Bengio",
}


def some(names: Sequence[str], separator: str = ", ") -> str:
    """The first names, and how many more there are."""
    text = separator.join(names[:MOST_NAMED])
    more = len(names) - MOST_NAMED
    return f"{text}{separator}and {more} more" if more > 0 else text


def number_range(counts: pd.Series) -> str:
    """`10` if all numbers are equal, or else `8 to 10`."""
    least, most = counts.min(), counts.max()
    return f"{least} to {most}" if least < most else f"{least}"


def designs_of(comparison: Comparison) -> list[str]:
    """The designs of the tests that decide: paired, independent, folds."""
    rows = comparison.contrasts.to_dict("records")
    return sorted({judged_design(row) for row in rows})


def lost_counts(runs: pd.DataFrame) -> list[str]:
    """`2 diverged`, `1 failed`; empty if all runs finished."""
    found = []
    for status in ("diverged", "failed"):
        count = int((runs["status"] == status).sum())
        if count:
            found.append(f"{count} {status}")
    return found


def chose_epoch(comparison: Comparison) -> bool:
    """Whether the runs record which epoch was best, by one metric in all of them."""
    runs = comparison.runs
    if MONITOR not in runs or runs["best_epoch"].isna().all():
        return False
    return runs[MONITOR].nunique(dropna=False) == 1


def unrecorded_note(runs: pd.DataFrame, column: str) -> str:
    """How many runs lack a value that others record; empty if none does."""
    count = int(runs[column].isna().sum())
    return f" ({count} of {len(runs)} runs do not record it)" if count else ""


def recorded_values(runs: pd.DataFrame, column: str) -> list[str]:
    """The distinct values of a column; empty if it is not recorded."""
    if column not in runs:
        return []
    values = runs[column].dropna().map(setting_text)
    if column == COMMIT:
        values = values.str[:COMMIT_DIGITS]
    return sorted_labels(values)
