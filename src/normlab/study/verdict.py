"""The verdict of a study: every claim with its answer."""

from dataclasses import dataclass, replace

import pandas as pd

from normlab.compare.comparison import Comparison
from normlab.compare.settings import setting_text
from normlab.config.claim_rules import rule_of
from normlab.study import plans
from normlab.study.changes import PLAN, UNKNOWN, PlanRecord, plan_record
from normlab.study.comparing import check_claim, compare_claim, judge_speeds
from normlab.study.confirmation import (
    compare_tested,
    confirm_seeds,
    of_confirm_seeds,
    with_confirm_seeds,
)
from normlab.study.control import Control, control_of
from normlab.study.definition import Study
from normlab.study.deviations import deviations
from normlab.study.plans import Settings
from normlab.study.relative_rates import runs_at_rate
from normlab.study.rules import Answer, judge
from normlab.study.target_ratio import speeds_of
from normlab.study.values import is_about_value, judge_value

TRIAL = "a trial"
LEVEL = 0.05  # of a study that states none
ANSWERS = ("supported", "contradicted")
EXPLORATORY = " (exploratory)"  # follows an answer under a plan that was changed


@dataclass(frozen=True)
class Claim:
    """One claim of a study with its answer.

    Attributes:
        says: the claim in words.
        rule: when it is supported or contradicted.
        verdict: `supported`, `contradicted` or `cannot tell`; of a trial, `a trial`. An
            answer is followed by `(exploratory)` if the plan was changed after runs
            were started.
        reason: what the verdict rests on.
        comparison: the numbers.
        rule_origin: what stands before the rule, by what the runs know of it.
        control: the baseline against itself, if the study asks for it.
    """

    says: str
    rule: str
    verdict: str
    reason: str
    comparison: Comparison
    rule_origin: str = UNKNOWN
    control: Control | None = None


def answer(
    study: Study,
    runs: pd.DataFrame,
    settings: list[Settings] | None = None,
) -> tuple[str, list[Claim], list[str]]:
    """The verdict of a study.

    It is supported if all claims are, contradicted if any claim is, and cannot be told
    otherwise. Only runs of the planned grid count: seeds, arms or data sets that were
    added later could have been added until the answer pleased.

    Args:
        study: the plan.
        runs: from `load_runs`.
        settings: from `planned_settings`; runs that were made with others cannot
            answer. None checks nothing.

    Returns:
        The verdict, every claim with its answer, and warnings about the study as a
        whole.

    Raises:
        ValueError: if there are too few runs for any number. The message names what is
            missing and the command that makes it.
    """
    is_trial = plans.of_trials(runs)
    if is_trial.all():
        return TRIAL, _tried_claims(study, runs), []
    warnings = _trial_warnings(study, int(is_trial.sum()))
    runs = runs[~is_trial]
    grid = with_confirm_seeds(study.plan, study.params)
    outside, texts = plans.unplanned_runs(grid, runs)
    warnings += _unplanned_warnings(study, runs[outside], texts, len(runs))
    record = plan_record(study, runs[~outside | _started_by(study, runs)])
    runs = runs[~outside]
    missing = plans.missing_runs_with_command(study.command, study.params, runs)
    if runs.empty:
        raise ValueError("\n".join([*warnings, *missing]))
    try:
        claims = _answer_claims(study, runs, settings)
    except ValueError as error:
        lines = [str(error), *missing]
        raise ValueError("\n".join(lines)) from error
    alarms = [claim.control.alarm for claim in claims if claim.control]
    warnings += [*missing, *record.lines, *filter(None, alarms)]
    overall = _overall_verdict(claims)
    if record.changed:
        overall = _exploratory(overall)
    return overall, _with_record(claims, record), warnings


def _answer_claims(
    study: Study,
    runs: pd.DataFrame,
    settings: list[Settings] | None,
) -> list[Claim]:
    deviating = ""
    if settings:
        deviating = deviations(settings, study.params, runs)
    claims = []
    for claim in study.plan["claims"]:
        plan = study.plan_of(claim)
        claims.append(_answer_claim(study, plan, runs, deviating))
    return claims


def _with_record(
    claims: list[Claim],
    record: PlanRecord,
) -> list[Claim]:
    """The claims with what the runs say about the plan."""
    told = []
    for claim in claims:
        verdict = claim.verdict
        if record.changed:
            verdict = _exploratory(verdict)
        told.append(replace(claim, verdict=verdict, rule_origin=record.origin))
    return told


def _exploratory(verdict: str) -> str:
    return f"{verdict}{EXPLORATORY}" if verdict in ANSWERS else verdict


def _started_by(
    study: Study,
    runs: pd.DataFrame,
) -> pd.Series:
    """Which runs the study itself started."""
    if "study" not in runs:
        return pd.Series(False, index=runs.index)
    return runs["study"] == study.name


def _tried_claims(
    study: Study,
    runs: pd.DataFrame,
) -> list[Claim]:
    """The numbers of every claim on the runs of a trial, and no verdict on them."""
    seeds = runs["seed"].nunique()
    reason = (
        f"{len(runs)} short runs with {seeds} seeds show that the study runs; they "
        f"cannot support or contradict anything, `{study.command}` can"
    )
    claims = []
    for claim in study.plan["claims"]:
        plan = study.plan_of(claim)
        check_claim(plan, runs)
        comparison, _ = compare_claim(plan, runs_at_rate(plan, runs).runs)
        _, rule = rule_of(plan)
        claims.append(Claim(plan["says"], rule, TRIAL, reason, comparison))
    return claims


def _trial_warnings(study: Study, count: int) -> list[str]:
    if not count:
        return []
    return [
        f"{count} runs of a trial are left out; {study.trial_outputs} is their folder."
    ]


def _overall_verdict(claims: list[Claim]) -> str:
    verdicts = {claim.verdict for claim in claims}
    if "contradicted" in verdicts:
        return "contradicted"
    if verdicts == {"supported"}:
        return "supported"
    return "cannot tell"


def _answer_claim(
    study: Study,
    plan: Settings,
    runs: pd.DataFrame,
    deviating: str,
) -> Claim:
    """Answer one claim.

    Args:
        study: the plan.
        plan: the study's block with the keys of the claim in place of its own.
        runs: of the planned grid.
        deviating: how the runs deviate from the plan, in words; empty if they do not.
    """
    check_claim(plan, runs)
    is_test = of_confirm_seeds(study.plan, runs)
    tests = runs[is_test]
    plan, runs, not_yet = _at_look(study, plan, runs[~is_test])
    at_rate = runs_at_rate(plan, runs)
    comparison, open_question = compare_claim(plan, at_rate.runs)
    not_yet = not_yet or at_rate.reason or open_question
    if plan.get("select") and confirm_seeds(plan) and not not_yet:
        comparison, not_yet = compare_tested(comparison, plan, tests, study.command)
    control = None
    if not_yet:
        verdict, reason = "cannot tell", not_yet
    else:
        verdict, reason = _judge(plan, comparison, at_rate.runs)
        reason = f"{reason} {at_rate.note}".rstrip()
        if plan.get("control"):
            control = control_of(plan, at_rate.runs)
    if deviating:
        verdict = "cannot tell"
        reason = f"the runs were not made as planned: {deviating}"
    _, rule = rule_of(plan)
    warnings = [*comparison.warnings, *at_rate.warnings]
    return Claim(
        says=plan["says"],
        rule=rule,
        verdict=verdict,
        reason=reason,
        comparison=replace(comparison, warnings=warnings),
        control=control,
    )


def _at_look(
    study: Study,
    plan: Settings,
    runs: pd.DataFrame,
) -> tuple[Settings, pd.DataFrame, str]:
    """The claim at its share of the level, the runs of the seeds that count by now, and
    why they are no answer yet; empty if they are one.
    """
    look, not_yet = _look(study, plan, runs)
    if not look:
        return plan, runs, not_yet
    seeds = plans.planned_seeds(study.params)[:look]
    share = plan.get("level", LEVEL) / len(_looks(study, plan))
    counting = runs[runs["seed"].map(setting_text).isin(seeds)]
    return plan | {"level": share}, counting, not_yet


def _judge(
    plan: Settings,
    comparison: Comparison,
    runs: pd.DataFrame,
) -> Answer:
    if is_about_value(plan):
        return judge_value(plan, comparison)
    if plan.get("ratio_to_target"):
        return judge_speeds(plan, speeds_of(plan, runs))
    return judge(
        comparison,
        plan["expect"],
        plan["minimum_seeds"],
        plan.get("arms"),
    )


def _looks(study: Study, plan: Settings) -> list[int]:
    """After how many seeds the study may answer; by default after all of them."""
    return plan.get("looks") or [len(plans.planned_seeds(study.params))]


def _look(
    study: Study,
    plan: Settings,
    runs: pd.DataFrame,
) -> tuple[int, str]:
    """The number of seeds that the study answers from now, or why it does not yet.

    Whoever reads a verdict after every seed gets a wrong one more often than the level
    says (0.12 instead of 0.05, see docs/results/calibration.md). So there is one after
    all planned seeds, or one after each planned look, among which the level is shared
    (Bonferroni).

    Args:
        study: the plan.
        plan: the study's block with the keys of the claim in place of its own.
        runs: of the planned grid.

    Returns:
        0 and a sentence if no look is reached.
    """
    arms = []
    if plan.get("arms"):
        arms = list(map(setting_text, [plan["baseline"], *plan["arms"]]))
    if arms and plan.get("at"):
        arms.append(setting_text(plan["at"]["of"]))
    if plan.get("select") or plan.get("largest_stable") or plan.get("at"):
        # A value is only chosen on a grid in which no run is left to repeat.
        runs = runs[runs["status"] != "failed"]
    complete = plans.num_complete_seeds(study.params, runs, plan["by"], arms)
    looks = _looks(study, plan)
    reached = [look for look in looks if look <= complete]
    if reached:
        return reached[-1], ""
    return 0, (
        f"the study answers from {looks[0]} planned seeds; the first {complete} are "
        "complete"
    )


def _unplanned_warnings(
    study: Study,
    outside: pd.DataFrame,
    texts: str,
    num_runs: int,
) -> list[str]:
    """How many runs lie outside of the grid, and how many the study itself started.

    Args:
        study: the plan.
        outside: the runs outside of the grid.
        texts: their values that were not planned, in words.
        num_runs: number of all runs.
    """
    if outside.empty:
        return []
    line = (
        f"{len(outside)} of {num_runs} runs lie outside of the planned grid and are "
        f"left out of the verdict: {texts}."
    )
    without_plan = outside[outside[PLAN].isna()] if PLAN in outside else outside
    started = int(_started_by(study, without_plan).sum())
    if started:
        line += (
            f" {started} of them were started by the study itself: if its grid was "
            "changed afterwards, and not only overridden on the command line, its "
            "verdict is exploratory."
        )
    return [line]
