"""The runs of a comparison over several tasks, as ranks and normalized scores."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from normlab.compare.columns import check_key
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
from normlab.compare.summaries import finished_runs

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
    runs = comparison.runs
    runs = runs.assign(**{TASK: group_labels(runs, keys)})
    runs = runs.assign(**{SCORE: _normalized_scores(runs, comparison)})
    every = list(dict.fromkeys(runs[TASK]))
    means = runs.pivot_table(index=TASK, columns="arm", values=SCORE)
    complete = means.reindex(index=every, columns=comparison.arms).dropna()
    complete = complete.round(DIGITS)
    tasks = list(complete.index)
    if len(tasks) < 2:
        return None
    ranking = rank_arms(complete, comparison.baseline)
    scores = {}
    for arm in comparison.arms:
        of_arm = runs[(runs["arm"] == arm) & runs[SCORE].notna()]
        by_task = dict(list(of_arm.groupby(TASK)[SCORE]))
        scores[arm] = [by_task[task].to_numpy(float) for task in tasks]
    needed = tasks_needed(len(comparison.arms), comparison.level)
    return SeveralTasks(
        across=keys,
        ranking=ranking,
        tasks=tasks,
        left_out=[task for task in every if task not in tasks],
        needed=needed,
        arms=_arm_rows(ranking, scores, comparison, len(tasks) >= needed),
        scores=scores,
    )


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
    sign = 1 if comparison.higher_is_better else -1
    values = sign * finished_runs(runs, metric)[metric].astype(float)
    values = values.reindex(runs.index)
    by_task = values.groupby(runs[TASK])
    low = by_task.transform("min")
    span = by_task.transform("max") - low
    scores = (values - low) / span.where(span > 0)
    scores = scores.mask(values.notna() & (span == 0), EQUAL)
    return scores.mask(runs["status"].isin(LOST), 0.0)


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
    return float(values.get(arm, math.nan)) if are_enough else math.nan


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
    return "better" if ranks[arm] < ranks[comparison.baseline] else "worse"
