"""The number of values of a setting that were tried, and the score it leads to."""

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from normlab.compare.arm_checks import DIFFERENT, SAME, Check, group_prefix
from normlab.compare.choices import Arm, Choice, arms_by_place
from normlab.compare.intervals import Interval, t_interval
from normlab.compare.selection import ranked_values, runs_at_place
from normlab.compare.settings import group_labels, pairing_keys
from normlab.compare.summaries import finished_runs


def chance_of_best(num_values: int, tried: int) -> NDArray:
    """The chance of each value to be the best of those that were tried.

    The i-th best of m values is the best of k that are drawn at random without
    repetition with probability ``C(m - i, k - 1) / C(m, k)``. Weighting the scores by
    it gives the mean over all draws, an unbiased estimate of what k random values reach
    (a U-statistic). Tang et al. (2020), Showing your work doesn't always work, ACL,
    which corrects the estimate of Dodge et al. (2019), Show your work, EMNLP.

    Args:
        num_values: m, the number of all values.
        tried: k, the number of those drawn.

    Returns:
        Shape `(m,)`, for the best value first; it sums to 1.
    """
    chances = np.zeros(num_values)
    num_draws = math.comb(num_values, tried)
    for place in range(num_values):
        num_worse = num_values - 1 - place
        chances[place] = math.comb(num_worse, tried - 1) / num_draws
    return chances


def budget_curves(choice: Choice, confidence: float) -> pd.DataFrame:
    """The expected best validation score of every arm by the number of values tried.

    Args:
        choice: of all arms, with its grid.
        confidence: of the intervals.

    Returns:
        One row per arm, group and number of values: `where`, `arm`, `tried`, the
        expected `score`, the ends `low` and `high` of its t interval over the seeds,
        and `trains`, the probability that a run finishes at any of the values. The
        score is the mean of the draws in which one does.
    """
    selection = choice.selection
    key = selection.key
    within = selection.within
    ranked = ranked_values(choice.grid, key, within, choice.metric)
    by_place = ranked.groupby(selection.places, dropna=False, sort=False)
    rows: list[dict] = []
    for place, values in by_place:
        names = {
            "where": group_labels(values, within).iloc[0],
            "arm": values["arm"].iloc[0],
        }
        runs = runs_at_place(choice.grid, selection.places, place)
        scores = _scores_by_seed(runs, key, choice.metric, values[key])
        means = values["score"].to_numpy(float)
        for row in _curve(scores, means, confidence):
            rows.append(names | row)
    return pd.DataFrame(rows)


def _scores_by_seed(
    runs: pd.DataFrame,
    key: str,
    metric: str,
    values: pd.Series,
) -> NDArray:
    """The scores of the runs that finished, of shape `(seeds, values)`, best first."""
    finished = finished_runs(runs, metric)
    keys = [*pairing_keys(runs), key]
    by_seed = finished.groupby(keys, dropna=False)[metric].mean()
    table = by_seed.unstack(key)
    return table.reindex(columns=values).to_numpy(float)


def _curve(scores: NDArray, means: NDArray, confidence: float) -> Iterator[dict]:
    """Rows of one arm.

    Args:
        scores: by seed and value, the best value first, shape `(n, m)`; NaN for runs
            that did not finish.
        means: over the seeds, shape `(m,)`.
        confidence: of the intervals.
    """
    num_values = len(means)
    trains = np.isfinite(means)
    means = means[trains]
    scores = scores[:, trains]
    for tried in range(1, num_values + 1):
        chances = chance_of_best(num_values, tried)[trains]
        share = chances.sum()
        if not share:
            continue
        weights = chances / share
        low, high = _interval(scores, weights, confidence)
        yield {
            "tried": tried,
            "score": float(weights @ means),
            "low": low,
            "high": high,
            "trains": round(float(share), 12),
        }


def _interval(scores: NDArray, weights: NDArray, confidence: float) -> Interval:
    """The t interval over seeds with a run at every value that can be the best."""
    can_be_best = weights > 0
    per_seed = scores[:, can_be_best] @ weights[can_be_best]
    complete = per_seed[np.isfinite(per_seed)]
    return t_interval(complete, confidence)


def budget_checks(choice: Choice, baseline: str) -> Iterator[Check]:
    """Whether the same values were tried for every arm as for the baseline.

    Args:
        choice: of all arms.
        baseline: the arm that the others are compared to.
    """
    key = choice.selection.key
    name = f"tried values of {key}"
    found = arms_by_place(choice)
    for arm in choice.arms:
        reference = found.get((arm.where, baseline))
        if arm.arm == baseline or reference is None:
            continue
        prefix = group_prefix(arm.where)
        names = f"{prefix}{arm.arm} and {baseline}"
        if arm.tried == reference.tried:
            count = len(arm.tried)
            message = f"{names} were tried at the same {count} values of {key}."
            yield Check(name, SAME, message)
        else:
            message = f"{names} {_unequal_budgets(arm, reference, key)}"
            yield Check(name, DIFFERENT, message, warns=True)


def _unequal_budgets(arm: Arm, reference: Arm, key: str) -> str:
    """How two grids differ: the end of a sentence that begins with both arms."""
    count = len(arm.tried)
    reference_count = len(reference.tried)
    text = (
        f"were searched differently: {count} values of {key} were tried for "
        f"{arm.arm} ({_values(arm)}) and {reference_count} for {reference.arm} "
        f"({_values(reference)})"
    )
    if count == reference_count:
        return f"{text}; a grid that lies nearer to its best value favours its arm."
    return f"{text}; the larger grid favours its arm, at equal merit."


def _values(arm: Arm) -> str:
    return ", ".join(arm.tried)
