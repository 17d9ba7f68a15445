"""Compare the arms of a table of runs: which runs with which, and what came out."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import pandas as pd

from normlab import metrics
from normlab.compare.arguments import (
    Question,
    Seeds,
    arm_and_group_keys,
    check_arguments,
    choose_baseline,
    group_margins,
    name_list,
    planned_arms,
    refuse_single_runs,
    seeds_of_the_test,
)
from normlab.compare.budgets import budget_checks, budget_curves
from normlab.compare.choices import (
    Choice,
    Selection,
    choice_lines,
    choice_notes,
    choose_values,
    refuse_untested,
)
from normlab.compare.columns import rows_of_arm, setting_columns
from normlab.compare.contrasts import contrasts_of, with_verdicts
from normlab.compare.design_warnings import design_warnings
from normlab.compare.fairness import Check, fairness_checks
from normlab.compare.hindsight import (
    left_out_warnings,
    monitor_warnings,
    stop_warnings,
)
from normlab.compare.selection import edge_warnings
from normlab.compare.settings import (
    arm_labels,
    check_one_run_each,
    direction_warnings,
    group_labels,
    origin_warnings,
    setting_text,
    sorted_labels,
)
from normlab.compare.summaries import finished_runs, have_finished, summaries_of

Group = tuple[str, pd.DataFrame]  # its label, and its runs


@dataclass(frozen=True)
class Candidates:
    """Runs at every candidate value of a setting, of which each arm keeps the best.

    Attributes:
        runs: with their arm in `arm`.
        key: the setting.
        metric: by which its values are judged.
    """

    runs: pd.DataFrame
    key: str
    metric: str


@dataclass(frozen=True)
class Comparison:
    """What was compared, and what came out.

    Attributes:
        runs: every run, with its arm in `arm` and the label of its group in `where`.
        by: the settings that make an arm.
        within: the settings that make a group; arms are compared within groups only.
        metric: what is compared.
        baseline: the arm that the others are compared to.
        margins: differences below it do not matter, by group; empty if not stated.
        level: probability of a false alarm over all contrasts.
        summaries: one row per arm and group.
        contrasts: one row per arm other than the baseline and group, with its verdict
            and its sentence.
        warnings: what a reader must know before believing the comparison.
        candidates: the grid behind `select`, if there was one.
        choice: what every arm chose by `select`, if that was asked for.
        checks: whether the arms differ in nothing but what is compared.
    """

    runs: pd.DataFrame
    by: list[str]
    within: list[str]
    metric: str
    baseline: str
    margins: dict[str, float]
    level: float
    summaries: pd.DataFrame
    contrasts: pd.DataFrame
    warnings: list[str] = field(default_factory=list)
    candidates: Candidates | None = None
    choice: Choice | None = None
    checks: list[Check] = field(default_factory=list)

    @property
    def arms(self) -> list[str]:
        """The arms, the baseline first."""
        arms = sorted_labels(self.runs["arm"])
        return sorted(arms, key=lambda arm: arm != self.baseline)

    @property
    def higher_is_better(self) -> bool:
        """Whether a higher value of the metric is better."""
        return metrics.higher_is_better(self.metric)

    @property
    def confidence(self) -> float:
        """Confidence of the intervals: 0.95 for level 0.05."""
        return 1 - self.level

    @cached_property
    def budgets(self) -> pd.DataFrame:
        """The `budget_curves` of what the arms chose; empty if they chose nothing."""
        if self.choice is None:
            return pd.DataFrame()
        return budget_curves(self.choice, self.confidence)


def compare(
    runs: pd.DataFrame,
    by: str | Sequence[str] = "norm",
    metric: str = "test/accuracy",
    baseline: str | None = None,
    within: str | Sequence[str] | None = None,
    arms: str | Sequence[str] | None = None,
    margin: float | str | None = None,
    level: float = 0.05,
    select: str | None = None,
    confirm: Seeds | None = None,
    incomplete: bool = False,
) -> Comparison:
    """Summarize every arm and compare it to the baseline.

    Args:
        runs: from `load_runs`.
        by: the settings whose values are the arms.
        metric: a column such as `test/accuracy`.
        baseline: an arm; by default the first that begins with `none`, or else the
            first of all.
        within: settings whose values are compared separately; by default all that vary
            besides arm and seed.
        arms: the planned contrasts, each against the baseline; by default all arms.
            Holm's method corrects for their number.
        margin: differences below it do not matter; a number, or `5%` of the baseline's
            mean in the same group.
        level: probability of a false alarm over all contrasts.
        select: a setting of which every arm keeps its best value, by the mean of the
            validation metric.
        confirm: seeds that only test the chosen values, and have no part in the choice;
            by default the seeds of the choice test them.
        incomplete: lets an arm choose from a grid that lacks runs.

    Raises:
        ValueError: an unknown key, metric or arm; arms with one run each; runs that
            differ in more than was named; a choice from a grid that lacks runs.
    """
    by = name_list(by)
    check_arguments(runs, by, metric, level, select)
    tests = seeds_of_the_test(select, confirm, incomplete)
    groups_by = None if within is None else name_list(within)
    by, within = arm_and_group_keys(runs, by, groups_by, select)

    # Tables that were joined count their rows from 0 several times.
    runs = runs.assign(arm=arm_labels(runs, by)).reset_index(drop=True)
    baseline = choose_baseline(runs, baseline)
    wanted = None if arms is None else name_list(arms)
    planned = planned_arms(runs, wanted, baseline)
    question = Question(
        by, within, metric, baseline, planned, margin, level, select, tests, incomplete
    )
    return _compare(runs, question)


def _compare(runs: pd.DataFrame, question: Question) -> Comparison:
    warnings: list[str] = []
    choice = _choice(runs, question)
    if choice:
        refuse_untested(choice)
        runs = choice.runs
        warnings = choice_lines(choice)
    runs = runs.assign(where=group_labels(runs, question.within))
    groups = _groups(runs)
    for where, group in groups:
        prefix = f"{where}: " if where else ""
        check_one_run_each(group, ["arm"], question.by, prefix)

    summaries = _summaries(groups, question)
    refuse_single_runs(runs, question.metric, question.within, summaries)
    margins = group_margins(question.margin, summaries, question.baseline)
    if question.margin is not None:
        warnings += _lacking_margin_warnings(question, groups, margins)

    comparison = Comparison(
        runs=runs,
        by=question.by,
        within=question.within,
        metric=question.metric,
        baseline=question.baseline,
        margins=margins,
        level=question.level,
        summaries=summaries,
        contrasts=_contrasts(groups, question, margins),
        checks=_checks(groups, question),
    )
    if choice:
        comparison = _with_choice(comparison, choice)
    warnings += [check.message for check in comparison.checks if check.warns]
    warnings += _warnings(comparison, groups)
    warnings += left_out_warnings(runs, question.planned, question.baseline)
    return replace(comparison, warnings=list(dict.fromkeys(warnings)))


def _choice(runs: pd.DataFrame, question: Question) -> Choice | None:
    """What every arm chooses, if the question has a setting to choose a value of."""
    if not question.select:
        return None
    selection = Selection(
        question.select,
        question.within,
        question.by,
        question.metric,
        question.confirm,
        question.incomplete,
    )
    return choose_values(runs, selection)


def _with_choice(comparison: Comparison, choice: Choice) -> Comparison:
    """The comparison with the budgets of the arms in its sentences and checks."""
    key = choice.selection.key
    budgets = budget_checks(choice, comparison.baseline)
    return replace(
        comparison,
        candidates=Candidates(choice.grid, key, comparison.metric),
        choice=choice,
        contrasts=choice_notes(choice, comparison.contrasts),
        checks=[*comparison.checks, *budgets],
    )


def _lacking_margin_warnings(
    question: Question,
    groups: list[Group],
    margins: dict[str, float],
) -> list[str]:
    """Lines about groups in which a share of the baseline's mean is no margin."""
    lines = []
    for where, group in groups:
        if where in margins:
            continue
        runs = rows_of_arm(group, question.baseline)
        reason = "whose mean is 0"
        if finished_runs(runs, question.metric).empty:
            reason = f"which has no {question.metric}"
        at = f" at {where}" if where else ""
        lines.append(
            f"The margin of {question.margin} is left out{at}: it is a share of "
            f"{question.baseline}, {reason}."
        )
    return lines


def _groups(runs: pd.DataFrame) -> list[Group]:
    """The groups in the order of their labels."""
    groups = {}
    for where, group in runs.groupby("where", sort=False):
        groups[str(where)] = group
    return [(where, groups[where]) for where in sorted_labels(groups)]


def _summaries(groups: list[Group], question: Question) -> pd.DataFrame:
    rows: list[dict] = []
    for _, group in groups:
        rows += summaries_of(
            group,
            question.metric,
            1 - question.level,
            question.baseline,
        )
    return pd.DataFrame(rows)


def _contrasts(
    groups: list[Group],
    question: Question,
    margins: dict[str, float],
) -> pd.DataFrame:
    rows: list[dict] = []
    for where, group in groups:
        rows += contrasts_of(
            group,
            question.metric,
            question.baseline,
            question.planned,
            question.level,
            margins.get(where),
        )
    return with_verdicts(rows, question.metric, question.level)


def _checks(groups: list[Group], question: Question) -> list[Check]:
    compared = list(question.by)
    if question.select:
        compared.append(question.select)
    return fairness_checks(groups, compared, question.baseline)


def _warnings(comparison: Comparison, groups: list[Group]) -> list[str]:
    runs = comparison.runs
    return [
        *direction_warnings(comparison.metric),
        *_single_arm_warnings(runs),
        *_missing_metric_warnings(comparison),
        *_missing_baseline_warnings(comparison, groups),
        *monitor_warnings(runs, comparison.metric),
        *stop_warnings(runs, comparison.metric),
        *design_warnings(comparison.contrasts, groups, comparison.metric),
        *edge_warnings(runs, comparison.by, comparison.within, comparison.metric),
        *origin_warnings(runs),
    ]


def _single_arm_warnings(runs: pd.DataFrame) -> list[str]:
    if runs["arm"].nunique() > 1:
        return []
    arm = runs["arm"].iloc[0]
    return [f"All runs are of one arm, {arm}: there is nothing to compare it to."]


def _missing_metric_warnings(comparison: Comparison) -> list[str]:
    runs = comparison.runs
    finished = runs[runs["status"] == "finished"]
    is_scored = have_finished(finished, comparison.metric)
    lacking = finished[~is_scored]
    if lacking.empty:
        return []
    first = lacking["folder"].iloc[0]
    return [
        f"{comparison.metric} is missing in {len(lacking)} of {len(finished)} runs "
        f"that finished, and they are left out; the first is {first}. "
        "rerun=true trains a run again."
    ]


def _missing_baseline_warnings(
    comparison: Comparison,
    groups: list[Group],
) -> list[str]:
    baseline = comparison.baseline
    lines = []
    for where, group in groups:
        if not (group["arm"] == baseline).any():
            there = f"At {where}: there" if where else "There"
            lines.append(f"{there} is no run of the baseline {baseline}.")
    return lines


def shared_settings(runs: pd.DataFrame) -> dict[str, str]:
    """Settings that have the same value in all runs."""
    shared = {}
    for key in setting_columns(runs):
        values = runs[key]
        if values.nunique(dropna=False) == 1:
            shared[key] = setting_text(values.iloc[0])
    return shared
