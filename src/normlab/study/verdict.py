"""The verdict of a study: every claim with its answer."""

import math
from dataclasses import dataclass, replace

import pandas as pd

from normlab.compare.arguments import name_list
from normlab.compare.columns import LARGEST_STABLE_RATE
from normlab.compare.comparison import Candidates, Comparison, compare
from normlab.compare.selection import (
    grid_step,
    largest_stable,
    stable_edge_warnings,
    validation_metric,
)
from normlab.compare.settings import NO_SETTING, arm_labels, check_keys, setting_text
from normlab.study import plans
from normlab.study.confirmation import (
    compare_tested,
    confirm_seeds,
    of_confirm_seeds,
    with_confirm_seeds,
)
from normlab.study.definition import Study
from normlab.study.derived import derived_runs, is_derived
from normlab.study.plans import Settings
from normlab.study.rules import RULES, judge

TRIAL = "a trial"
LEVEL = 0.05  # of a study that states none
COMPARE_OPTIONS = ("by", "metric", "baseline", "within", "arms", "margin", "level")


@dataclass(frozen=True)
class Claim:
    """One claim of a study with its answer.

    Attributes:
        says: the claim in words.
        rule: when it is supported or contradicted.
        verdict: `supported`, `contradicted` or `cannot tell`; of a trial, `a trial`.
        reason: what the verdict rests on.
        comparison: the numbers.
        written_before: whether all runs carry the rule as it is now.
    """

    says: str
    rule: str
    verdict: str
    reason: str
    comparison: Comparison
    written_before: bool = False


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
        settings: from `plans.planned_settings`; runs that were made with others cannot
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
    trial_warnings = _trial_warnings(study, int(is_trial.sum()))
    runs = runs[~is_trial]
    grid = with_confirm_seeds(study.plan, study.params)
    outside, texts = plans.unplanned_runs(grid, runs)
    warnings = _unplanned_warnings(study, runs[outside], texts, len(runs))
    warnings = [*trial_warnings, *warnings]
    runs = runs[~outside]
    missing = plans.missing_runs_with_command(study.command, study.params, runs)
    if runs.empty:
        raise ValueError("\n".join([*warnings, *missing]))

    deviating = ""
    if settings:
        deviating = plans.deviations(settings, study.params, runs)
    try:
        claims = [
            _answer_claim(study, study.plan | claim, runs, deviating)
            for claim in study.plan["claims"]
        ]
    except ValueError as error:
        lines = [str(error), *missing]
        raise ValueError("\n".join(lines)) from error
    changes = _change_warnings(study, runs)
    claims = [replace(claim, written_before=not changes) for claim in claims]
    warnings += [*missing, *changes]
    return _overall_verdict(claims), claims, warnings


def _tried_claims(study: Study, runs: pd.DataFrame) -> list[Claim]:
    """The numbers of every claim on the runs of a trial, and no verdict on them."""
    seeds = runs["seed"].nunique()
    reason = (
        f"{len(runs)} short runs with {seeds} seeds show that the study runs; they "
        f"cannot support or contradict anything, `{study.command}` can"
    )
    claims = []
    for claim in study.plan["claims"]:
        plan = study.plan | claim
        comparison, _ = _compare(plan, runs)
        rule = RULES[plan["expect"]]
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
    is_test = of_confirm_seeds(study.plan, runs)
    tests = runs[is_test]
    runs = runs[~is_test]
    look, not_yet = _look(study, plan, runs)
    if look:
        seeds = plans.planned_seeds(study.params)[:look]
        runs = runs[runs["seed"].map(setting_text).isin(seeds)]
        plan = plan | {"level": plan.get("level", LEVEL) / len(_looks(study, plan))}
    comparison, open_question = _compare(plan, runs)
    not_yet = not_yet or open_question
    if plan.get("select") and confirm_seeds(plan) and not not_yet:
        comparison, not_yet = compare_tested(comparison, plan, tests, study.command)
    verdict, reason = judge(
        comparison,
        plan["expect"],
        plan["minimum_seeds"],
        plan.get("arms"),
    )
    if not_yet:
        verdict = "cannot tell"
        reason = not_yet
    if deviating:
        verdict = "cannot tell"
        reason = f"the runs were not made as planned: {deviating}"
    return Claim(
        says=plan["says"],
        rule=RULES[plan["expect"]],
        verdict=verdict,
        reason=reason,
        comparison=comparison,
    )


def _looks(study: Study, plan: Settings) -> list[int]:
    """After how many seeds the study may answer; by default after all of them."""
    return plan.get("looks") or [len(plans.planned_seeds(study.params))]


def _look(study: Study, plan: Settings, runs: pd.DataFrame) -> tuple[int, str]:
    """The number of seeds that the study answers from now, or why it does not yet.

    Whoever reads a verdict after every seed gets a wrong one more often than the level
    says (.12 instead of .05, see docs/results/calibration.md). So there is one after
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
    if plan.get("select") or plan.get("largest_stable"):
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


def _compare(plan: Settings, runs: pd.DataFrame) -> tuple[Comparison, str]:
    """The numbers of a claim, and why they are no answer; empty if they are one."""
    if not is_derived(plan):
        return _compare_runs(plan, runs), ""
    table, column, reason = derived_runs(plan, runs)
    options = {key: plan[key] for key in COMPARE_OPTIONS if key in plan}
    return compare(table, **(options | {"metric": column})), reason


def _compare_runs(plan: Settings, runs: pd.DataFrame) -> Comparison:
    options = {key: plan[key] for key in COMPARE_OPTIONS if key in plan}
    key = plan.get("largest_stable")
    if key is None:
        select = plan.get("select")
        # There is no verdict before the planned grid is complete, see `_look`.
        return compare(runs, **options, select=select, incomplete=select is not None)

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


def _with_step(contrasts: pd.DataFrame, step: float, key: str) -> pd.DataFrame:
    """Contrasts whose sentences say how closely the largest stable value is known."""
    if contrasts.empty or math.isnan(step):
        return contrasts
    note = (
        f" Neighbouring values of {key} lie up to a factor of {step:.3g} apart, so "
        "each largest one is known to one such step."
    )
    return contrasts.assign(sentence=contrasts["sentence"] + note)


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
    started = 0
    if "study" in outside:
        started = int((outside["study"] == study.name).sum())
    if started:
        line += (
            f" {started} of them were started by the study itself: if its grid was "
            "changed afterwards, and not only overridden on the command line, its "
            "verdict is exploratory."
        )
    return [line]


def _change_warnings(study: Study, runs: pd.DataFrame) -> list[str]:
    """Lines about runs that do not carry the plan as it is now.

    A plan that was changed after any of the runs were started is no plan.
    """
    plans_of_runs = _stored_plans(runs)
    stored = plans_of_runs[(plans_of_runs != NO_SETTING).any(axis=1)]
    not_started = "they were not started by it."
    if stored.empty:
        return [f"The runs do not carry the study's plan: {not_started}"]

    lines = []
    num_lacking = len(runs) - len(stored)
    if num_lacking:
        lines.append(
            f"{num_lacking} of {len(runs)} runs do not carry the study's plan: "
            f"{not_started}"
        )
    changed = _changed_keys(study, stored)
    if changed:
        lines.append(
            f"The study was changed after its runs were started ({', '.join(changed)}):"
            " its verdict is exploratory."
        )
    return lines


def _stored_plans(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per run: the `study:` block that it was started with, as text."""
    texts = runs.filter(regex=r"^study\.").map(setting_text)
    return texts.rename(columns=lambda name: name.partition(".")[2])


def _changed_keys(study: Study, stored: pd.DataFrame) -> list[str]:
    """Keys whose value differs between the plan and the runs, with their number."""
    changed = []
    for key in sorted({*study.plan, *stored}):
        expected = setting_text(study.plan.get(key))
        absent = pd.Series(NO_SETTING, index=stored.index)
        differs = stored.get(key, absent) != expected
        count = int(differs.sum())
        if count == len(stored):
            changed.append(key)
        elif count:
            changed.append(f"{key} in {count} of {len(stored)} runs")
    return changed
