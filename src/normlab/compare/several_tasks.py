"""The runs of a comparison over several tasks, as ranks and normalized scores."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from normlab.compare.columns import check_key, rows_of_arm
from normlab.compare.comparison import Comparison
from normlab.compare.ranks import (
    Ranking,
    interquartile_interval,
    interquartile_mean,
    rank_arms,
    tasks_needed,
)
from normlab.compare.samples import LOST
from normlab.compare.settings import group_labels
from normlab.compare.summaries import have_finished

TASK_SETTINGS = ("dataset", "model")
TASK = "task"
SCORE = "score"
EQUAL = 0.5  # the score of all finished runs of a task if they are alike
DIGITS = 12  # of mean scores: equal scores in another order have other sums


@dataclass(frozen=True)
class SeveralTasks:
    """Arms over T tasks.

    Attributes:
        across: the settings whose values are the tasks.
        ranking: of the arms over the tasks that have runs of all of them.
        tasks: the names of these tasks.
        left_out: the names of tasks that lack an arm.
        needed: number of tasks from which a verdict is given.
        arms: one row per arm, with its verdict.
        scores: normalized scores of the runs by arm, an array per task.
    """

    across: list[str]
    ranking: Ranking
    tasks: list[str]
    left_out: list[str]
    needed: int
    arms: pd.DataFrame
    scores: dict[str, list[NDArray]]


def over_several_tasks(
    comparison: Comparison, across: list[str] | None = None
) -> SeveralTasks | None:
    """Rank the arms of a comparison over tasks.

    Scores are normalized: within a task, 0 is the worst finished run and 1 is the best.
    Diverged and failed runs have 0. Arms are ranked by the means of these scores.

    Args:
        comparison: groups of runs, with the arms that are ranked.
        across: settings whose values are the tasks; by default data set and model,
            those that vary.

    Returns:
        None if there are fewer than two tasks or arms.

    Raises:
        ValueError: a setting is none that makes groups.
    """
    keys = _task_settings(comparison, across)
    if not keys or len(comparison.arms) < 2:
        return None
    arms = comparison.arms
    runs = comparison.runs.copy()
    runs[TASK] = group_labels(runs, keys)
    runs[SCORE] = _normalized_scores(runs, comparison)
    every = list(dict.fromkeys(runs[TASK]))
    means = runs.pivot_table(index=TASK, columns="arm", values=SCORE)
    means = means.reindex(index=every, columns=arms)
    complete = means.dropna().round(DIGITS)
    tasks = list(complete.index)
    if len(tasks) < 2:
        return None
    ranking = rank_arms(complete, comparison.baseline)
    scored = runs[runs[SCORE].notna()]
    scores = {arm: _scores_by_task(rows_of_arm(scored, arm), tasks) for arm in arms}
    needed = tasks_needed(len(arms), comparison.level)
    return SeveralTasks(
        across=keys,
        ranking=ranking,
        tasks=tasks,
        left_out=[task for task in every if task not in tasks],
        needed=needed,
        arms=_arm_rows(ranking, scores, comparison, len(tasks) >= needed),
        scores=scores,
    )


def _scores_by_task(runs: pd.DataFrame, tasks: list[str]) -> list[NDArray]:
    by_task = runs.groupby(TASK)[SCORE]
    return [by_task.get_group(task).to_numpy(float) for task in tasks]


def _task_settings(comparison: Comparison, across: list[str] | None) -> list[str]:
    """The settings that make tasks, which must be among those that make groups."""
    if across is None:
        return [key for key in TASK_SETTINGS if key in comparison.within]
    for key in across:
        if not comparison.within:
            raise ValueError(f"across must name settings that vary; {key} does not")
        check_key(key, comparison.within, "setting that makes groups")
    return across


def _normalized_scores(runs: pd.DataFrame, comparison: Comparison) -> pd.Series:
    """A score for every run, from 0 for the worst finished run of its task to 1.

    Diverged and failed runs have 0, and finished ones without the metric NaN.
    """
    metric = comparison.metric
    values = runs[metric].astype(float)
    values = values.where(have_finished(runs, metric))
    if not comparison.higher_is_better:
        values = -values
    by_task = values.groupby(runs[TASK])
    low = by_task.transform("min")
    span = by_task.transform("max") - low
    all_equal = values.notna() & (span == 0)
    scores = (values - low) / span.where(span > 0)
    scores = scores.mask(all_equal, EQUAL)
    is_lost = runs["status"].isin(LOST)
    return scores.mask(is_lost, 0.0)


def _arm_rows(
    ranking: Ranking,
    scores: dict[str, list[NDArray]],
    comparison: Comparison,
    are_enough: bool,
) -> pd.DataFrame:
    """One row per arm, the best mean rank first."""
    rows = []
    for arm in ranking.mean_ranks.sort_values(kind="stable").index:
        tasks = scores[arm]
        low, high = interquartile_interval(tasks, comparison.confidence)
        row = {
            "arm": arm,
            "rank": ranking.mean_ranks[arm],
            "p": _p_value(ranking.p, arm, are_enough),
            "p_holm": _p_value(ranking.p_holm, arm, are_enough),
            "verdict": _verdict(arm, ranking, comparison, are_enough),
            "iqm": interquartile_mean(np.concatenate(tasks)),
            "iqm_low": low,
            "iqm_high": high,
        }
        rows.append(row)
    return pd.DataFrame(rows)


def _p_value(values: pd.Series, arm: str, are_enough: bool) -> float:
    """That of an arm; NaN for the baseline, and for too few tasks."""
    if not are_enough:
        return math.nan
    return float(values.get(arm, math.nan))


def _verdict(
    arm: str, ranking: Ranking, comparison: Comparison, are_enough: bool
) -> str:
    """What the ranks say of an arm; nothing of the baseline itself."""
    if arm == comparison.baseline:
        return ""
    if not are_enough:
        return "cannot tell"
    if ranking.p_holm[arm] > comparison.level:
        return "not told apart"
    ranks = ranking.mean_ranks
    is_better = ranks[arm] < ranks[comparison.baseline]
    return "better" if is_better else "worse"
