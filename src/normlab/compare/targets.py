"""How long until a validation metric reaches a target, if some runs never do."""

import math

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from normlab.compare.columns import check_key
from normlab.compare.comparison import Comparison
from normlab.compare.curves import CLOCK_COLUMNS, read_curves, without_curves
from normlab.compare.inference import SMALLEST_N, holm
from normlab.compare.settings import sorted_labels
from normlab.metrics import is_metric, reaches

# Columns of metrics.csv that tell the time, and what they count.
CLOCKS = dict(zip(CLOCK_COLUMNS, ("epochs", "steps", "seconds"), strict=True))


def time_to_target(
    comparison: Comparison,
    metric: str,
    target: float,
) -> pd.DataFrame:
    """Epochs, steps and seconds until a metric reaches a target.

    A run reaches the target in the first epoch in which the metric is at least the
    target, or at most if lower is better. A run that ends before is censored at its
    end or, if it diverged, taken never to reach the target.

    Args:
        comparison: its runs and arms.
        metric: a metric of `metrics.csv`, such as `val/accuracy`.
        target: its value.

    Returns:
        One row per arm, group and clock (`epochs`, `steps` or `seconds`), with these
        columns:

        - `runs`: number of runs, failed ones and those without a curve left out;
        - `reached`: how many of them reach the target;
        - `median`: infinite if fewer than half reach it;
        - `restricted_mean`: mean time up to `horizon`, see `survival`;
        - `p`: of the log-rank test against the baseline, NaN below 6 runs; Mantel
          (1966), Evaluation of survival data and two new rank order statistics arising
          in its consideration, Cancer Chemotherapy Reports 50;
        - `p_holm`: with Holm's correction over all contrasts by the same clock;
        - `without_curves`: runs whose `metrics.csv` is damaged or missing.

    Raises:
        ValueError: if the target is not finite, no run has a curve of the metric, or
            runs stopped before the target.
    """
    if not math.isfinite(target):
        raise ValueError(f"target must be finite, such as 0.97, got {target}")
    times = _times(comparison.runs, metric, target)
    rows = []
    for where in sorted_labels(times["where"]):
        group = times[times["where"] == where]
        for clock in CLOCKS:
            rows += _clock_rows(group, where, clock, comparison)
    table = pd.DataFrame(rows)

    # The three clocks measure the same thing, so each is a family of its own for Holm's
    # correction. The rows of the baseline are no contrasts.
    contrasts = table[table["arm"] != comparison.baseline]
    by_clock = contrasts.groupby("clock")["p"]
    return table.assign(p_holm=by_clock.transform(holm))


def _times(runs: pd.DataFrame, metric: str, target: float) -> pd.DataFrame:
    """One row per run that did not fail.

    Returns:
        The columns `epoch`, `step` and `seconds` (when the run reached the target or
        ended), the same with ` at the end`, `where`, `arm`, `status`, `reached`, and
        `known` (whether the run has a curve).
    """
    runs = runs[runs["status"] != "failed"]
    curves = read_curves(runs, [metric])
    lacking = without_curves(runs, curves, metric)
    _check_curves(runs, curves, lacking, metric)

    hits = curves[reaches(metric, curves[metric], target)]
    first_hit = hits.groupby("index")[CLOCK_COLUMNS].first()
    last = curves.groupby("index")[CLOCK_COLUMNS].last()
    # A run that diverged within the first epoch has no row.
    last = last.reindex(runs.index, fill_value=0)

    table = first_hit.reindex(runs.index).fillna(last)
    table = table.join(last.add_suffix(" at the end"))
    table = table.join(runs[["where", "arm", "status"]]).assign(
        reached=runs.index.isin(first_hit.index),
        known=~runs.index.isin(lacking.index),
    )
    _refuse_stopped(runs, table)
    return table


def _refuse_stopped(runs: pd.DataFrame, times: pd.DataFrame) -> None:
    """Refuse runs that were stopped before the target, and because they were good.

    To count them as still waiting would take them for runs that say nothing of when
    they would have arrived.
    """
    have_stopped = (runs["ended_by"] == "stop_at") & ~times["reached"]
    count = int(have_stopped.sum())
    if count:
        stops = ", ".join(sorted(set(runs.loc[have_stopped, "trainer.stop_at"])))
        raise ValueError(
            f"target must be one that runs are not stopped before, {count} of "
            f"{len(runs)} stopped at {stops}; give this target, or train without "
            "trainer.stop_at"
        )


def _check_curves(
    runs: pd.DataFrame,
    curves: pd.DataFrame,
    lacking: pd.DataFrame,
    metric: str,
) -> None:
    """Refuse a metric of which no run has a curve."""
    values = curves[metric].astype(float)
    has_values = np.isfinite(values).any()
    if is_metric(metric) and has_values and len(lacking) < len(runs):
        return
    known = [name for name in runs.columns if name.startswith(("val/", "train/"))]
    check_key(metric, known, "curve of the metric")
    raise ValueError(
        f"time to target needs {metric} in every epoch, and no metrics.csv of "
        f"{len(runs)} runs holds it"
    )


def _clock_rows(
    group: pd.DataFrame,
    where: str,
    clock: str,
    comparison: Comparison,
) -> list[dict]:
    """One row for every arm that has runs in the group."""
    num_runs = group["arm"].value_counts()
    known = group[group["known"]]

    # The mean is restricted to the time that all arms were observed for. Runs that
    # diverged end early and say nothing about that time, nor do arms in which every run
    # has reached the target: they are known for any time.
    finished = known[known["status"] == "finished"]
    observed = finished if len(finished) else known
    by_arm = observed.groupby("arm")
    lengths = by_arm[f"{clock} at the end"].max()
    limits = lengths[~by_arm["reached"].all()]
    horizon = limits.min() if len(limits) else lengths.max()

    never_reached = (known["status"] == "diverged") & ~known["reached"]
    durations = known[clock].where(~never_reached, lengths.max())
    arms = {}
    for arm in comparison.arms:
        if arm in num_runs:
            in_arm = known["arm"] == arm
            arms[arm] = (
                np.asarray(durations[in_arm], float),
                np.asarray(known["reached"][in_arm], bool),
            )

    rows = []
    for arm, (times, reached) in arms.items():
        median, mean = survival(times, reached, horizon)
        rows.append(
            {
                "where": where,
                "arm": arm,
                "clock": CLOCKS[clock],
                "runs": len(times),
                "reached": int(reached.sum()),
                "median": median,
                "restricted_mean": mean,
                "horizon": horizon,
                "p": _log_rank_p(arms, arm, comparison.baseline),
                "without_curves": int(num_runs[arm] - len(times)),
            }
        )
    return rows


def survival(
    durations: ArrayLike,
    reached: ArrayLike,
    horizon: float,
) -> tuple[float, float]:
    """Median and restricted mean of the time until an event.

    Both are taken from the estimate S(t) of Kaplan and Meier, the share of runs that
    still wait at time t: the median is the first t with ``S(t) <= 1/2``, and the
    restricted mean the area under S from 0 to the horizon. Kaplan and Meier (1958),
    Nonparametric estimation from incomplete observations, Journal of the American
    Statistical Association 53.

    Args:
        durations: time until the event or until the observation ended, shape `(n,)`.
        reached: whether the event happened, shape `(n,)`.
        horizon: where the area ends, in the unit of the durations.

    Returns:
        The median, infinite if fewer than half of the runs reach the event, and the
        restricted mean; NaN without runs.
    """
    durations = np.asarray(durations, float)
    reached = np.asarray(reached, bool)
    if not len(durations):
        return math.nan, math.nan
    waiting = stats.ecdf(_censored(durations, reached)).sf

    below = waiting.quantiles[waiting.probabilities <= 0.5]
    median = float(below[0]) if len(below) else math.inf

    inside = waiting.quantiles < horizon
    ends = np.concatenate([[0.0], waiting.quantiles[inside], [horizon]])
    shares = np.concatenate([[1.0], waiting.probabilities[inside]])
    return median, float((np.diff(ends) * shares).sum())


def _censored(durations: NDArray, reached: NDArray) -> stats.CensoredData:
    return stats.CensoredData(uncensored=durations[reached], right=durations[~reached])


def _log_rank_p(
    arms: dict[str, tuple[NDArray, NDArray]],
    arm: str,
    baseline: str,
) -> float:
    """Two-sided p-value of the log-rank test between an arm and the baseline.

    Args:
        arms: durations and whether the target was reached, by arm.
        arm: the arm.
        baseline: the arm that it is compared to.
    """
    if arm == baseline or baseline not in arms:
        return math.nan
    durations, reached = arms[arm]
    others, others_reached = arms[baseline]
    if min(len(durations), len(others)) < SMALLEST_N:
        return math.nan
    if not (reached.any() or others_reached.any()):
        return math.nan

    with np.errstate(invalid="ignore"):
        test = stats.logrank(
            _censored(durations, reached), _censored(others, others_reached)
        )
    if math.isnan(test.pvalue):  # all runs arrive at the same moment
        return 1.0
    return float(test.pvalue)
