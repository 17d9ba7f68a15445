"""A reviewer's checklist of a comparison, answered from its runs.

What the runs do not record is said to be so; nothing is assumed.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from normlab.compare.arm_checks import DIFFERENT, UNKNOWN
from normlab.compare.comparison import Comparison
from normlab.compare.sentences import number
from normlab.report.recorded import (
    COMMIT,
    TESTS,
    chose_epoch,
    designs_of,
    lost_counts,
    recorded_values,
    some,
    unrecorded_note,
)

YES, NO, OPEN = "yes", "no", "not recorded"
FEWEST_RUNS = 10  # below, equivalence is not tested and a lost run weighs a lot
DIRTY = "environment.git.dirty"
ALIKE = "The arms differ only in what is compared"
NOT_RECORDED = "the runs do not record it"
RECORDED = {
    "One version of PyTorch": "environment.packages.torch",
    "One kind of device": "environment.device.name",
}


@dataclass(frozen=True)
class ChecklistItem:
    """One question of a reviewer.

    Attributes:
        question: What a reader wants to know.
        answer: `yes`, `no` or `not recorded`.
        detail: What the answer rests on.
    """

    question: str
    answer: str
    detail: str


def checklist(
    comparison: Comparison,
    rule_written_before: bool | None = None,
) -> list[ChecklistItem]:
    """What a reviewer asks of a comparison, answered from its runs.

    Args:
        comparison: The comparison, with its runs and checks.
        rule_written_before: Whether all runs carry the rule of the verdict; None if
            there is no rule.
    """
    question = "The rule of the verdict was written before the runs"
    if rule_written_before is None:
        rule = ChecklistItem(question, NO, "no study states one")
    elif rule_written_before:
        rule = ChecklistItem(question, YES, "all runs carry it")
    else:
        rule = ChecklistItem(question, OPEN, "not all runs carry it as it is now")
    return [
        rule,
        *_design_items(comparison),
        *_fairness_items(comparison),
        *_origin_items(comparison.runs),
    ]


def _design_items(comparison: Comparison) -> Iterable[ChecklistItem]:
    runs = comparison.runs
    fewest = int(comparison.summaries["n"].min())
    enough = YES if fewest >= FEWEST_RUNS else NO
    detail = f"the smallest arm has {fewest} results"
    yield ChecklistItem(f"At least {FEWEST_RUNS} runs per arm", enough, detail)

    designs = designs_of(comparison)
    if designs:
        paired = YES if "independent" not in designs else NO
        detail = "; ".join(TESTS[design] for design in designs)
        yield ChecklistItem("Arms share seeds or folds", paired, detail)
        count = len(comparison.contrasts)
        detail = f"Holm's method over {count} contrasts"
        if count == 1:
            detail = "one contrast needs none"
        yield ChecklistItem("Corrected for several contrasts", YES, detail)

    counts = lost_counts(runs)
    detail = "all runs finished"
    if counts:
        detail = f"{' and '.join(counts)}, as the worst outcomes"
    yield ChecklistItem("Runs that did not finish are counted", YES, detail)
    margins = [f"±{number(value)}" for value in set(comparison.margins.values())]
    detail = ", ".join(sorted(margins)) or "no margin was given"
    yield ChecklistItem("A margin was stated", YES if margins else NO, detail)
    yield _selection_item(comparison)
    yield _parts_item(comparison)


def _selection_item(comparison: Comparison) -> ChecklistItem:
    """Whether every arm got its own choice of a hyperparameter, on validation."""
    question = "A hyperparameter was chosen per arm, not by the compared scores"
    choice = comparison.choice
    if choice is None:
        detail = "none was chosen here; the runs do not record what was tried before"
        return ChecklistItem(question, OPEN, detail)
    detail = f"{choice.selection.key} by {choice.metric}"
    if choice.selection.confirm:
        return ChecklistItem(question, YES, f"{detail}, tested on other seeds")
    answer = NO if choice.metric == comparison.metric else YES
    return ChecklistItem(question, answer, detail)


def _parts_item(comparison: Comparison) -> ChecklistItem:
    question = "The metric was computed on data that training did not see"
    part = comparison.metric.partition("/")[0]
    if part in ("test", "val"):
        answer = YES if part == "test" else NO
        detail = f"{comparison.metric} is of the {part} part"
        if part == "val" and chose_epoch(comparison):
            detail += ", which also chose the epoch"
        return ChecklistItem(question, answer, detail)
    if part == "train":
        return ChecklistItem(question, NO, f"{comparison.metric} is of training data")
    detail = f"the name {comparison.metric} does not say"
    return ChecklistItem(question, OPEN, detail)


def _fairness_items(comparison: Comparison) -> Iterable[ChecklistItem]:
    """The checks that the runs allow, one item per check."""
    details: dict[str, list[str]] = {}
    answers: dict[str, str] = {}
    for check in comparison.checks:
        details.setdefault(check.name, []).append(check.message)
        answer = YES
        if check.result == UNKNOWN:
            answer = OPEN
        elif check.result == DIFFERENT and check.warns:
            answer = NO
        if answers.get(check.name) in (None, YES):
            answers[check.name] = answer
    if not recorded_values(comparison.runs, "initial_weights"):
        details["initial weights"] = [NOT_RECORDED]
        answers["initial weights"] = OPEN
    for name, messages in details.items():
        detail = " ".join(messages[:2])
        if len(messages) > 2:
            detail += f" And {len(messages) - 2} more, see the fairness table."
        yield ChecklistItem(f"{ALIKE}: {name}", answers[name], detail)


def _origin_items(runs: pd.DataFrame) -> Iterable[ChecklistItem]:
    yield _recorded_item(runs, "One version of the code", COMMIT)
    if DIRTY in runs and runs[DIRTY].notna().all():
        count = int(runs[DIRTY].eq(True).sum())
        detail = f"{count} of {len(runs)} runs had uncommitted changes"
        answer = NO if count else YES
        yield ChecklistItem("All code was committed", answer, detail)
    for question, column in RECORDED.items():
        yield _recorded_item(runs, question, column)


def _recorded_item(
    runs: pd.DataFrame,
    question: str,
    column: str,
) -> ChecklistItem:
    """Whether all runs have one value of something that they record."""
    values = recorded_values(runs, column)
    if not values:
        return ChecklistItem(question, OPEN, NOT_RECORDED)
    detail = f"{some(values)}{unrecorded_note(runs, column)}"
    if len(values) > 1:
        return ChecklistItem(question, NO, detail)
    answer = YES if runs[column].notna().all() else OPEN
    return ChecklistItem(question, answer, detail)
