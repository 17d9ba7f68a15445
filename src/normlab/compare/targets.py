"""How long until a validation metric reaches a target, where some runs never do."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from normlab.compare.comparison import Comparison
from normlab.compare.inference import SMALLEST_N, holm
from normlab.compare.runs import check_key, read_curves, without_curves
from normlab.compare.settings import sorted_labels
from normlab.metrics import higher_is_better

CLOCKS = {"epoch": "epochs", "step": "steps", "seconds": "seconds"}


def parse_target(text: str) -> tuple[str, float]:
    """`val/accuracy=0.97` as metric and value.

    Raises:
        ValueError: anything else.
    """
    metric, _, value = text.partition("=")
    try:
        return metric, float(value)
    except ValueError:
        raise ValueError(
            f"--target must be METRIC=VALUE, such as val/accuracy=0.97, got {text!r}"
        ) from None


def time_to_target(comparison: Comparison, metric: str, target: float) -> pd.DataFrame:
    """Epochs, steps and seconds until `metric` is at least (losses: at most) `target`, a row an arm, group and clock.

    Columns: `runs` (failed ones left out), `reached`, `median` (infinite if fewer than half arrive), `restricted_mean`
    up to `horizon`, `p` of the log-rank test against the baseline with Holm's correction in `p_holm`, and
    `without_curves`: runs whose `metrics.csv` does not tell. A run that ends before the target is censored at its end;
    a diverged run is taken never to arrive.

    Raises:
        ValueError: a target that is not finite, or no run has the metric in its `metrics.csv`.
    """
    if not math.isfinite(target):
        raise ValueError(
            f"--target must have a finite value, such as {metric}=0.97, got {target}"
        )
    times = _times(comparison.runs, metric, target)
    rows = []
    for where in sorted_labels(list(times["where"])):
        group = times[times["where"] == where]
        for clock, unit in CLOCKS.items():
            rows += _clock_rows(group, where, clock, unit, comparison)
    table = pd.DataFrame(rows)
    # The clocks tell the same story: the family is the contrasts by one clock, the baseline's own rows left out.
    contrasts = table[table["arm"] != comparison.baseline]
    return table.assign(p_holm=contrasts.groupby("clock")["p"].transform(holm))


def _times(runs: pd.DataFrame, metric: str, target: float) -> pd.DataFrame:
    """A row a run: `known`, `reached`, and when it was reached or the run ended, by every clock."""
    runs = runs[runs["status"] != "failed"]
    curves = read_curves(runs, [metric])
    lacking = without_curves(runs, curves, metric)
    if (
        "/" not in metric
        or not np.isfinite(curves[metric].astype(float)).any()
        or len(lacking) == len(runs)
    ):
        check_key(
            metric,
            [name for name in runs.columns if name.startswith(("val/", "train/"))],
            "curve of the metric",
        )
        raise ValueError(
            f"--target needs {metric} in every epoch, and no metrics.csv of {len(runs)} runs holds it"
        )
    hit = (
        curves[metric] >= target
        if higher_is_better(metric)
        else curves[metric] <= target
    )
    first = curves[hit].groupby("index")[list(CLOCKS)].first()
    last = curves.groupby("index")[list(CLOCKS)].last()
    last = last.reindex(
        runs.index, fill_value=0
    )  # a run may diverge within the first epoch
    table = first.reindex(runs.index).fillna(last)
    told = runs[["where", "arm", "status"]]
    ends = last.add_suffix(" at the end")
    reached, known = runs.index.isin(first.index), ~runs.index.isin(lacking.index)
    return table.join(ends).join(told).assign(reached=reached, known=known)


def _clock_rows(
    group: pd.DataFrame, where: str, clock: str, unit: str, comparison: Comparison
) -> list[dict]:
    every, group = group["arm"], group[group["known"]]
    ended = group[group["status"] == "finished"]
    lengths = (
        (ended if len(ended) else group).groupby("arm")[f"{clock} at the end"].max()
    )
    never = (group["status"] == "diverged") & ~group["reached"]
    times = group[clock].where(~never, lengths.max())
    in_arm = {
        arm: group["arm"] == arm for arm in comparison.arms if (every == arm).any()
    }
    arms = {arm: (times[mask], group["reached"][mask]) for arm, mask in in_arm.items()}
    rows = []
    for arm, (durations, reached) in arms.items():
        median, mean = survival(durations, reached, lengths.min())
        rows.append(
            {
                "where": where,
                "arm": arm,
                "clock": unit,
                "runs": len(durations),
                "reached": int(reached.sum()),
                "median": median,
                "restricted_mean": mean,
                "horizon": lengths.min(),
                "p": _log_rank(arms, arm, comparison.baseline),
                "without_curves": int((every == arm).sum() - len(durations)),
            }
        )
    return rows


def survival(
    durations: ArrayLike, reached: ArrayLike, horizon: float
) -> tuple[float, float]:
    """Median and restricted mean (up to the horizon) of Kaplan and Meier's estimate."""
    durations, reached = np.asarray(durations, float), np.asarray(reached, bool)
    if not len(durations):
        return math.nan, math.nan
    waiting = stats.ecdf(_censored(durations, reached)).sf
    below = waiting.quantiles[waiting.probabilities <= 0.5]
    inside = waiting.quantiles < horizon
    ends = np.concatenate([[0.0], waiting.quantiles[inside], [horizon]])
    shares = np.concatenate([[1.0], waiting.probabilities[inside]])
    return float(below[0]) if len(below) else math.inf, float(
        (np.diff(ends) * shares).sum()
    )


def _censored(
    durations: Sequence[float], reached: Sequence[bool]
) -> stats.CensoredData:
    return stats.CensoredData(uncensored=durations[reached], right=durations[~reached])


def _log_rank(arms: dict, arm: str, baseline: str) -> float:
    if arm == baseline or baseline not in arms:
        return math.nan
    both = [tuple(map(np.asarray, arms[name])) for name in (arm, baseline)]
    if min(len(durations) for durations, _ in both) < SMALLEST_N or not any(
        reached.any() for _, reached in both
    ):
        return math.nan
    with np.errstate(invalid="ignore"):
        p = stats.logrank(
            *(_censored(durations, reached) for durations, reached in both)
        ).pvalue
    return 1.0 if math.isnan(p) else float(p)  # NaN: all runs arrive at the same moment
