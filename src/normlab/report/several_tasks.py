"""What a report says of arms over several tasks."""

import math

from normlab.compare.comparison import Comparison
from normlab.compare.sentences import p_value
from normlab.compare.several_tasks import SeveralTasks, over_several_tasks
from normlab.report.additions import Addition
from normlab.report.tables import tasks_table
from normlab.report.task_figures import draw_critical_differences, draw_profiles

SCALE = """Within each task, 0 is the worst finished run and 1 the best, and diverged
and failed runs have 0. Arms are ranked by their means; IQM is the mean of the middle
half of all runs, and its interval that of the stratified bootstrap."""


def about_several_tasks(
    comparison: Comparison, across: list[str] | None, figures: bool
) -> Addition:
    """Ranks and normalized scores over tasks; nothing for a single task.

    Args:
        comparison: The comparison whose groups are the tasks.
        across: The settings that make tasks; None for data set and model.
        figures: Whether figures are drawn.

    Raises:
        ValueError: A setting is none that makes groups.
    """
    addition = Addition()
    several = over_several_tasks(comparison, across)
    if several is None:
        return addition
    rows = several.arms.to_dict("records")
    title = f"Over {len(several.tasks)} tasks ({', '.join(several.across)})"
    addition.tables.append(tasks_table(rows, title, comparison.confidence))
    addition.frames["tasks"] = several.arms
    addition.notes += [_rank_sentence(several, comparison), " ".join(SCALE.split())]
    if several.left_out:
        addition.warnings.append(_left_out(several))
    if figures:
        critical = draw_critical_differences(several, comparison)
        if critical is not None:
            addition.drawings.append(critical)
        addition.drawings.append(draw_profiles(several, comparison))
    return addition


def _left_out(several: SeveralTasks) -> str:
    lacking = several.left_out
    tasks = "1 task lacks an arm and is"
    if len(lacking) > 1:
        tasks = f"{len(lacking)} tasks lack an arm and are"
    return f"{tasks} left out of the ranks over tasks; the first: {lacking[0]}."


def _rank_sentence(several: SeveralTasks, comparison: Comparison) -> str:
    """What the ranks over tasks allow to say of the baseline's rivals."""
    count = len(several.tasks)
    if count < several.needed:
        return (
            f"Cannot tell from {count} tasks how the arms rank in general: at least "
            f"{several.needed} are needed for {len(comparison.arms)} arms. More seeds "
            "do not replace tasks."
        )
    rows = several.arms.to_dict("records")
    parts = []
    for verdict in ("better", "worse", "not told apart"):
        texts = []
        for row in rows:
            if row["verdict"] == verdict:
                texts.append(f"{row['arm']} (mean rank {row['rank']:.2f})")
        if texts:
            parts.append(f"{_words(verdict, comparison.baseline)}: {', '.join(texts)}")
    return f"Over {count} tasks, {'; '.join(parts)} ({_test(several)})."


def _test(several: SeveralTasks) -> str:
    """The test of the ranks with its p-values; of two arms it is the sign test."""
    smallest = p_value(several.ranking.p_holm.min())
    of_all = several.ranking.friedman_p
    if math.isnan(of_all):
        return f"sign test, {smallest}"
    return (
        f"mean ranks with Holm's correction, smallest {smallest}; Friedman's test of "
        f"all arms {p_value(of_all)}"
    )


def _words(verdict: str, baseline: str) -> str:
    if verdict == "not told apart":
        return f"not told apart from {baseline}"
    return f"{verdict} than {baseline}"
