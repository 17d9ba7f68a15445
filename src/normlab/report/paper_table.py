"""The table for a paper: one row per arm, one column per group, the best arm marked.

A cell is a mean with the half width of its interval. The best mean of a column is bold;
arms that are not told apart from it are underlined, so that a reader sees no difference
that the runs do not show.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from normlab.compare.comparison import Comparison
from normlab.compare.contrasts import contrasts_of, with_verdicts
from normlab.compare.sentences import NO_NUMBER, direction, percent
from normlab.compare.settings import setting_text, sorted_labels
from normlab.report.recorded import number_range
from normlab.terminal import without_control

BEST, TIED = "best", "tied"
TASKS = ("dataset", "model")  # settings whose values need no key in a header
MOST_DECIMALS = 8


@dataclass(frozen=True)
class PaperCell:
    """One arm in one group.

    Attributes:
        text: mean and half width, `0.971 ± 0.002`; a dash without runs.
        mark: `best`, `tied` with the best, or empty.
    """

    text: str
    mark: str = ""


@dataclass(frozen=True)
class PaperTable:
    """A table for a paper.

    Attributes:
        columns: The headers: the compared setting, and the groups.
        rows: For each arm its name and one cell per group.
        caption: What the numbers and the marks mean.
    """

    columns: list[str]
    rows: list[tuple[str, list[PaperCell]]]
    caption: str


def make_paper_table(comparison: Comparison) -> PaperTable:
    """Pivot a comparison into arms by groups.

    Args:
        comparison: Whose groups are the columns.
    """
    summaries = comparison.summaries
    tasks = sorted_labels(summaries["where"])
    headers = [", ".join(comparison.by)]
    headers += [_header(comparison, task) for task in tasks]
    cells: dict[str, list[PaperCell]] = {arm: [] for arm in comparison.arms}
    for task in tasks:
        column = summaries[summaries["where"] == task].set_index("arm")
        marks = _marks(comparison, task, column)
        decimals = _decimals(column)
        summary_of = column.to_dict("index")
        for arm, row in cells.items():
            if arm not in summary_of:
                row.append(PaperCell(NO_NUMBER))
                continue
            text = _cell_text(summary_of[arm], decimals)
            row.append(PaperCell(text, marks.get(arm, "")))
    return PaperTable(
        columns=[without_control(name) for name in headers],
        rows=[(without_control(arm), row) for arm, row in cells.items()],
        caption=_caption(comparison),
    )


def _header(comparison: Comparison, task: str) -> str:
    """The group in words: `mlp on digits` needs no keys, other settings do."""
    if not task:
        return comparison.metric
    runs = comparison.runs
    first = runs[runs["where"] == task].iloc[0]
    parts = []
    for key in comparison.within:
        text = setting_text(first[key])
        parts.append(text if key in TASKS else f"{key}={text}")
    return ", ".join(parts)


def _marks(
    comparison: Comparison,
    task: str,
    column: pd.DataFrame,
) -> dict[str, str]:
    """The best arm of a group, and those that are not told apart from it."""
    ranked = column["mean"].dropna()
    if len(ranked) < 2:
        return {}
    ascending = not comparison.higher_is_better
    candidates = ranked.sort_values(ascending=ascending, kind="stable").index.tolist()
    for best in candidates:
        verdicts = _verdicts(comparison, task, best, column.index.tolist())
        # With lost runs, the arm with the best mean may be worse by ranks.
        if "better" not in verdicts.values():
            marks = {best: BEST}
            for arm, verdict in verdicts.items():
                if verdict != "worse":
                    marks[arm] = TIED
            return marks
    return {}


def _verdicts(
    comparison: Comparison,
    task: str,
    best: str,
    arms: Sequence[str],
) -> dict[str, str]:
    """The verdict on every arm against the best one of a group."""
    runs = comparison.runs
    rows = contrasts_of(
        runs[runs["where"] == task],
        comparison.metric,
        best,
        [arm for arm in arms if arm != best],
        comparison.level,
        None,
    )
    table = with_verdicts(list(rows), comparison.metric, comparison.level)
    return dict(zip(table["arm"], table["verdict"], strict=True))


def _decimals(column: pd.DataFrame) -> int:
    """Decimals that show the half widths of a column with one or two digits.

    The typical half width, the median, gets two digits if the first one is a 1, and one
    otherwise, as the Particle Data Group rounds.
    """
    half = ((column["high"] - column["low"]) / 2).dropna()
    half = half[half > 0]
    if half.empty:
        half = column["sd"].dropna()
        half = half[half > 0]
    if half.empty:
        return 4
    typical = float(half.median())
    magnitude = math.floor(math.log10(typical))
    leads_with_one = typical / 10.0**magnitude < 1.95
    digits = 2 if leads_with_one else 1
    return min(max(digits - 1 - magnitude, 0), MOST_DECIMALS)


def _cell_text(row: dict[Any, Any], decimals: int) -> str:
    text = NO_NUMBER
    if not math.isnan(row["mean"]):
        text = f"{row['mean']:.{decimals}f}".replace("-", "−")
    half = (row["high"] - row["low"]) / 2
    if not math.isnan(half):
        text += f" ± {half:.{decimals}f}"
    lost = int(row["diverged"] + row["failed"])
    if lost:
        text += f" ({lost} of {int(row['runs'])} lost)"
    return text


def _caption(comparison: Comparison) -> str:
    """What the numbers are, over how many runs, and what the marks mean."""
    summaries = comparison.summaries
    size = number_range(summaries["n"])
    folds = "folds" in set(comparison.contrasts.get("design", ()))
    unit = "folds" if folds else "runs"
    metric = comparison.metric
    parts = [
        f"{metric} ({direction(metric)}): mean ± half width of its "
        f"{percent(comparison.confidence)} interval over {size} {unit} per cell."
    ]
    if summaries[["diverged", "failed"]].to_numpy().sum():
        parts.append("Lost runs diverged or failed; they are not in the means.")
    if len(comparison.arms) > 1:
        parts.append(
            "Bold: the best of a column. Underlined: not told apart from it at level "
            f"{comparison.level:g} with Holm's correction over the column."
        )
    return " ".join(parts)
