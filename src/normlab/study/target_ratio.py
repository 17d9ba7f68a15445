"""Claims about how much faster an arm reaches a loss than the baseline.

For every seed there is a ratio, the steps of the baseline over the steps of the arm;
arms are compared by the geometric mean of these ratios, as differences of log10.

A run that never reaches the target is censored: its time is longer than its training,
and nothing is known of by how much. So there are two tables with the extreme times that
are possible. In the one that is worst for the arm, a censored run of the baseline has
the length of its training as its time, and a censored run of the arm is slower than all
others; in the one that is best for the arm, it is the other way around. A verdict must
hold in the table that speaks against it. These are the bounds of Manski (1990),
Nonparametric bounds on treatment effects, American Economic Review 80.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from normlab.compare.arguments import name_list
from normlab.compare.curves import CLOCK_COLUMNS, read_curves, without_curves
from normlab.compare.sentences import number
from normlab.compare.settings import arm_labels, check_keys, setting_text
from normlab.metrics import declare_metrics, higher_is_better, reaches
from normlab.study.claim_metrics import chosen_runs, claimed_runs, validation_metric_of
from normlab.study.derived import check_unique
from normlab.study.plans import Settings

WORST, BEST = "worst", "best"  # the tables, for the arm
# Of metrics.csv, by the clock.
COLUMNS = {"steps": "step", "epochs": "epoch", "seconds": "seconds"}
TIME, END, REACHED = "time to target", "time at the end", "reached"


@dataclass(frozen=True)
class Speeds:
    """How fast every run reaches the target.

    Attributes:
        runs: with their arm in `arm`, `TIME`, `END` and `REACHED`.
        column: the name of the metric that is compared, log10 of one over the time.
        baseline: the arm that the others are compared with.
        reason: why they are no answer, in words; empty if they are one.
    """

    runs: pd.DataFrame
    column: str
    baseline: str
    reason: str

    @property
    def is_censored(self) -> bool:
        """Whether the time of any run is known to be longer than its training only."""
        return bool(self._censored.any())

    @property
    def _censored(self) -> pd.Series:
        return ~self.runs[REACHED] & (self.runs["status"] == "finished")

    def table(self, bound: str) -> pd.DataFrame:
        """The runs with their extreme speeds.

        Args:
            bound: `WORST` or `BEST` for the arms other than the baseline.
        """
        runs = self.runs
        at_end = self._censored & self._takes_end(bound)
        times = runs[TIME].mask(at_end, runs[END])
        has_failed = runs["status"] == "failed"
        status = runs["status"].mask(~has_failed, "diverged")
        status = status.mask(times.notna() & ~has_failed, "finished")
        table = runs.assign(status=status)
        table[self.column] = -np.log10(times)
        return table

    def _takes_end(self, bound: str) -> pd.Series:
        """Whether a censored run would count with the length of its training."""
        is_baseline = self.runs["arm"] == self.baseline
        return is_baseline if bound == WORST else ~is_baseline

    def note(self, arm: str, bound: str) -> str:
        """How the censored runs of an arm count, as a sentence; empty without any."""
        is_own = self.runs["arm"] == arm
        count = int(self._censored[is_own].sum())
        if not count:
            return ""
        how = "as slower than all"
        if self._takes_end(bound)[is_own].all():
            how = "with the length of training"
        return (
            f" {count} of {is_own.sum()} runs of {arm} never reached the target and "
            f"count {how}."
        )


def speeds_of(plan: Settings, runs: pd.DataFrame) -> Speeds:
    """How fast the runs of a claim reach its target.

    Args:
        plan: the claim, with `ratio_to_target` and the keys of its study.
        runs: from `load_runs`.

    Raises:
        ValueError: no run has a curve or a target, or several runs have one seed.
    """
    asked = plan["ratio_to_target"]
    metric = asked["metric"]
    baseline = setting_text(plan["baseline"])
    places = [*plan.get("within", []), "seed"]
    runs = _runs_of_claim(plan, runs, places)
    curves = read_curves(runs, [metric])
    ended = runs[runs["status"] != "failed"]
    lacking = without_curves(ended, curves, metric)
    if len(lacking) == len(ended):
        raise ValueError(
            f"ratio_to_target needs {metric} in metrics.csv, no run has it"
        )
    targets = _targets(asked, runs, curves, baseline, places)
    without_target = targets.isna()
    if without_target.all():
        raise ValueError(f"no run of {baseline} has a {metric} for the others to reach")

    clock = asked.get("clock", "steps")
    if clock == "seconds":
        curves = _with_step_seconds(ended, curves)
    timed = _timed(runs, curves, metric, targets, COLUMNS[clock])
    is_lost = without_target | timed.index.isin(lacking.index)
    column = f"log10 1/{clock} to {_target_words(asked, baseline)}"
    declare_metrics({column: True})
    reasons = []
    if len(lacking):
        reasons.append(f"{len(lacking)} of {len(runs)} runs have no curve of {metric}")
    count = int(without_target.sum())
    if count:
        reasons.append(
            f"{count} of {len(runs)} runs have no target, since {baseline} did not "
            "finish or has no curve at the same seed"
        )
    return Speeds(timed[~is_lost], column, baseline, " and ".join(reasons))


def _runs_of_claim(
    plan: Settings,
    runs: pd.DataFrame,
    places: list[str],
) -> pd.DataFrame:
    """One run per arm and place, with the arm in `arm`.

    Args:
        plan: the claim, with `ratio_to_target` and the keys of its study.
        runs: from `load_runs`.
        places: settings that tell the runs of an arm apart.
    """
    check_keys(runs, places)
    runs = claimed_runs(plan, runs)
    if plan.get("select"):
        curve = {"curve": plan["ratio_to_target"]["metric"]}
        runs = chosen_runs(plan, runs, validation_metric_of(curve, runs))
    runs = runs.assign(arm=arm_labels(runs, name_list(plan["by"])))
    check_unique(runs, ["arm", *places])
    return runs


def _target_words(
    asked: Mapping[str, Any],
    baseline: str,
) -> str:
    target = asked["target"]
    if isinstance(target, str):
        return f"the {target} {asked['metric']} of {baseline}"
    return f"{asked['metric']} {number(float(target))}"


def _with_step_seconds(runs: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Curves whose `seconds` are those of optimizer steps alone.

    They are the number of steps times the mean time of a step in the run, so that
    batches that are read, scores and records do not count.

    Args:
        runs: those that did not fail.
        curves: from `read_curves`.

    Raises:
        ValueError: the time of a step was not measured, is no time, or was shared by
            several runs.
    """
    finished = runs[runs["status"] == "finished"]
    is_time = pd.to_numeric(finished["step_milliseconds"], errors="coerce") > 0
    unknown = ~is_time | finished["stacked"].notna()
    if unknown.any():
        raise ValueError(
            f"seconds to a target need the time of each run's own steps, and "
            f"{unknown.sum()} of {len(finished)} runs do not have it, such as "
            f"{finished.loc[unknown, 'folder'].iloc[0]}; count steps, or train them "
            "again without hydra/launcher=stacked"
        )
    seconds = runs["step_milliseconds"].astype(float) / 1000
    return curves.assign(seconds=curves["step"] * curves["index"].map(seconds))


def _targets(
    asked: Mapping[str, Any],
    runs: pd.DataFrame,
    curves: pd.DataFrame,
    baseline: str,
    places: list[str],
) -> pd.Series:
    """The value that every run has to reach; NaN where the baseline has none.

    Args:
        asked: `ratio_to_target` of the claim.
        runs: with their arm in `arm`.
        curves: of the metric, from `read_curves`.
        baseline: the arm whose runs give the targets, if they are no number.
        places: settings in which a run and its run of the baseline agree.
    """
    metric = asked["metric"]
    if not isinstance(asked["target"], str):
        return pd.Series(float(asked["target"]), index=runs.index)
    by_run = curves.groupby("index")[metric]
    if asked["target"] == "final":
        values = by_run.last()
    else:
        values = by_run.max() if higher_is_better(metric) else by_run.min()
    is_source = (runs["arm"] == baseline) & (runs["status"] == "finished")
    source = runs.loc[is_source, places]
    source = source.assign(target=values.reindex(source.index))
    merged = runs[places].merge(source, on=places, how="left")
    return merged["target"].set_axis(runs.index)


def _timed(
    runs: pd.DataFrame,
    curves: pd.DataFrame,
    metric: str,
    targets: pd.Series,
    clock: str,
) -> pd.DataFrame:
    """The runs with the times at which they reach their target, and end."""
    goal = curves["index"].map(targets)
    hits = reaches(metric, curves[metric], goal)
    first = curves[hits].groupby("index")[CLOCK_COLUMNS].first()[clock]
    last = curves.groupby("index")[clock].last()
    times = first.reindex(runs.index)
    ends = last.reindex(runs.index)
    return runs.assign(**{TIME: times, END: ends, REACHED: times.notna()})
