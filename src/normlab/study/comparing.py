"""The comparison that a claim of a study asks for."""

import math
from dataclasses import replace

import pandas as pd

from normlab.compare.arguments import name_list
from normlab.compare.columns import LARGEST_STABLE_RATE, check_key, metric_columns
from normlab.compare.comparison import Candidates, Comparison, compare
from normlab.compare.hindsight import left_out_warnings
from normlab.compare.selection import (
    grid_step,
    largest_stable,
    stable_edge_warnings,
    validation_metric,
)
from normlab.compare.settings import arm_labels, check_keys
from normlab.study.claim_metrics import with_claim_metric
from normlab.study.derived import derived_runs, is_derived
from normlab.study.plans import Settings
from normlab.study.rules import Answer, judge
from normlab.study.target_ratio import BEST, WORST, Speeds, speeds_of
from normlab.study.values import compare_arms, is_about_value

COMPARE_OPTIONS = ("by", "metric", "baseline", "within", "arms", "margin", "level")


def check_claim(plan: Settings, runs: pd.DataFrame) -> None:
    """Refuse a claim about a setting or a metric that no run has.

    Args:
        plan: the study's block with the keys of the claim in place of its own.
        runs: from `load_runs`.

    Raises:
        ValueError: names similar settings or metrics that the runs have.
    """
    check_keys(runs, name_list(plan["by"]))
    metric = plan["metric"]
    is_stored = isinstance(metric, str) and not plan.get("ratio_to_target")
    if is_stored:
        check_key(metric, metric_columns(runs), "metric")


def compare_claim(
    plan: Settings,
    runs: pd.DataFrame,
) -> tuple[Comparison, str]:
    """Compare runs as a claim asks.

    Args:
        plan: the study's block with the keys of the claim in place of its own.
        runs: those that may answer, from `load_runs`.

    Returns:
        The numbers, and why they are no answer; empty if they are one.
    """
    if plan.get("ratio_to_target"):
        speeds = speeds_of(plan, runs)
        return compare_speeds(plan, speeds, _against(plan)), speeds.reason
    plan, runs, unknown = with_claim_metric(plan, runs)
    reason = ""
    if is_derived(plan):
        runs, column, reason = derived_runs(plan, runs)
        plan = plan | {"metric": column, "select": None}
    if is_about_value(plan):
        comparison = compare_arms(plan, runs, _compare_options(plan))
    else:
        comparison = as_planned(_compare_runs(plan, runs))
    return comparison, unknown or reason


def compare_speeds(
    plan: Settings,
    speeds: Speeds,
    bound: str,
) -> Comparison:
    """Compare how fast arms reach a target.

    Args:
        plan: the claim, with `ratio_to_target` and the keys of its study.
        speeds: of its runs.
        bound: how runs that never reach it count, see `Speeds.table`.
    """
    options = _compare_options(plan) | {"metric": speeds.column}
    if plan.get("margin"):
        options["margin"] = math.log10(plan["margin"])
    comparison = as_planned(compare(speeds.table(bound), **options))
    sentences = []
    for row in comparison.contrasts.to_dict("records"):
        note = speeds.note(row["arm"], bound) + speeds.note(speeds.baseline, bound)
        sentences.append(f"{row['sentence']} Times are known to one epoch.{note}")
    if not sentences:
        return comparison
    contrasts = comparison.contrasts.assign(sentence=sentences)
    return replace(comparison, contrasts=contrasts)


def judge_speeds(plan: Settings, speeds: Speeds) -> Answer:
    """Judge how much faster arms reach a target, if some runs may never do.

    A claim is supported by the times that speak most against it, and contradicted by
    those that speak most for it.

    Args:
        plan: the claim, with `ratio_to_target` and the keys of its study.
        speeds: of the runs that answer.
    """
    bound = _against(plan)
    answer = _judge_bound(plan, speeds, bound)
    if not speeds.is_censored:
        return answer
    if plan["expect"] == "equal":
        text = "Runs that never reached the target have no ratio to be equal."
        return "cannot tell", f"{answer[1]} {text}"
    if answer[0] == "supported":
        return answer
    other = _judge_bound(plan, speeds, BEST if bound == WORST else WORST)
    if other[0] == "contradicted":
        return other
    return "cannot tell", answer[1]


def _judge_bound(
    plan: Settings,
    speeds: Speeds,
    bound: str,
) -> Answer:
    comparison = compare_speeds(plan, speeds, bound)
    return judge(comparison, plan["expect"], plan["minimum_seeds"], plan.get("arms"))


def _against(plan: Settings) -> str:
    """The table of times that speaks most against a claim."""
    return BEST if plan["expect"] == "lower" else WORST


def _compare_options(plan: Settings) -> Settings:
    return {key: plan[key] for key in COMPARE_OPTIONS if key in plan}


def _compare_runs(
    plan: Settings,
    runs: pd.DataFrame,
) -> Comparison:
    options = _compare_options(plan)
    key = plan.get("largest_stable")
    if key is None:
        select = plan.get("select")
        # There is no verdict before the planned grid is complete, see `verdict.py`.
        is_partial = select is not None
        return compare(runs, **options, select=select, incomplete=is_partial)

    by = name_list(options["by"])
    within = list(options.get("within", []))
    check_keys(runs, [key, *within])
    runs = runs.assign(arm=arm_labels(runs, by))
    # Whether a value trains is judged on validation: judged by its test score, it would
    # be chosen by the very scores that are compared.
    metric = validation_metric(runs, plan["metric"])
    tolerance = plan.get("tolerance", 0.01)
    table = largest_stable(runs, key, within, metric, tolerance)
    options |= {"metric": LARGEST_STABLE_RATE, "within": within}
    comparison = compare(table, **options)
    return replace(
        comparison,
        contrasts=_with_step(comparison.contrasts, grid_step(runs, key), key),
        warnings=[*comparison.warnings, *stable_edge_warnings(runs, table, key)],
        candidates=Candidates(runs, key, metric),
    )


def as_planned(comparison: Comparison) -> Comparison:
    """The comparison without the line about other arms: the plan named those of each
    claim.
    """
    named = []
    if len(comparison.contrasts):
        named = comparison.contrasts["arm"].tolist()
    others = left_out_warnings(comparison.runs, named, comparison.baseline)
    kept = [line for line in comparison.warnings if line not in others]
    return replace(comparison, warnings=kept)


def _with_step(
    contrasts: pd.DataFrame,
    step: float,
    key: str,
) -> pd.DataFrame:
    """Contrasts whose sentences say how closely the largest stable value is known."""
    if contrasts.empty or math.isnan(step):
        return contrasts
    note = (
        f" Neighbouring values of {key} lie up to a factor of {step:.3g} apart, so "
        "each largest one is known to one such step."
    )
    return contrasts.assign(sentence=contrasts["sentence"] + note)
