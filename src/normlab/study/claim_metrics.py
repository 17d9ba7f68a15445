"""Metrics of claims that no `result.json` has, computed for every run.

They come from the curves and statistics that a run writes as it trains, or from its
best state, scored again. `normlab.config.claim_metrics` has their keys.
"""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from normlab.compare.arguments import name_list
from normlab.compare.selection import runs_at_best
from normlab.compare.settings import arm_labels, check_keys, setting_text
from normlab.config.claim_metrics import kind_of
from normlab.study.metric_names import declare
from normlab.study.metric_values import metric_values
from normlab.study.plans import Settings

VALIDATION = ("val/accuracy", "val/loss")  # by which values are chosen


def with_claim_metric(
    plan: Settings,
    runs: pd.DataFrame,
) -> tuple[Settings, pd.DataFrame, str]:
    """The runs of the arms of a claim, with its metric unless they have it.

    With `select`, every arm first chooses its best value by the validation metric, and
    only the runs at these values are measured.

    Args:
        plan: the claim with the keys of its study.
        runs: from `load_runs`.

    Returns:
        The claim about a column of the runs, the runs, and why they are no answer, in
        words; empty if they are one.

    Raises:
        ValueError: no run has a value.
    """
    metric = plan["metric"]
    runs = claimed_runs(plan, runs)
    if isinstance(metric, str):
        return plan, runs, ""
    if plan.get("select"):
        runs = chosen_runs(plan, runs, validation_metric_of(metric, runs))
    name = declare(metric)
    finished = runs[runs["status"] == "finished"]
    values, why = metric_values(metric, finished, plan.get("trusted", ()))
    lacking = int(values.isna().sum())
    if lacking == len(finished):
        raise ValueError(f"no finished run has {name}{why}")
    reason = ""
    if lacking:
        reason = f"{lacking} of {len(finished)} runs have no {name}{why}"
    runs = runs.assign(**{name: values.reindex(runs.index)})
    options = dict(plan, metric=name)
    options.pop("select", None)
    if metric.get("ratio") and plan.get("margin"):
        options["margin"] = math.log10(plan["margin"])
    return options, runs, reason


def claimed_runs(plan: Settings, runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of the arms that a claim is about: no others are shown or measured.

    A claim about a value is not about the baseline, unless that is one of its arms.
    """
    if not plan.get("arms"):
        return runs
    named = list(plan["arms"])
    if plan.get("value") is None:
        named.append(plan["baseline"])
    names = list(map(setting_text, named))
    arms = arm_labels(runs, name_list(plan["by"]))
    return runs[arms.isin(names)]


def chosen_runs(plan: Settings, runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The runs of every arm at its best value of the setting in `select`."""
    groups = list(plan.get("within", []))
    groups += plan.get("interaction") or {}
    if plan.get("slope"):
        groups.append(plan["slope"])
    key = plan["select"]
    check_keys(runs, [key, *groups])
    arms = arm_labels(runs, name_list(plan["by"]))
    runs = runs.assign(arm=arms)
    return runs_at_best(runs, key, groups, metric)


def validation_metric_of(metric: Mapping[str, Any], runs: pd.DataFrame) -> str:
    """What chooses the values of a setting: the metric on validation, if it has one."""
    _, _, name = str(metric[kind_of(metric)]).partition("/")
    for candidate in (f"val/{name}", *VALIDATION):
        if candidate in runs:
            return candidate
    raise ValueError(
        "select must choose by val/accuracy or val/loss, and no run has it"
    )
