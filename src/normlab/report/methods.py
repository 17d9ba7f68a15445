"""The methods paragraph of a paper, from the stored runs.

Every sentence says what the runs recorded or what the comparison computed. What was not
recorded is named as missing; nothing is assumed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from normlab.compare.comparison import Comparison, shared_settings
from normlab.compare.sentences import direction, number
from normlab.compare.settings import setting_text, sorted_labels
from normlab.report.checklist import ChecklistItem, checklist
from normlab.report.recorded import (
    COMMIT,
    MONITOR,
    TESTS,
    chose_epoch,
    designs_of,
    lost_counts,
    number_range,
    recorded_values,
    some,
    unrecorded_note,
)
from normlab.report.sections import Section

# Settings that a paper states, with their words, if all runs share them.
TRAINING = {
    "optimizer": "optimizer",
    "optimizer.lr": "learning rate",
    "optimizer.weight_decay": "weight decay",
    "scheduler": "schedule",
    "dataset.batch_size": "batch size",
    "trainer.max_epochs": "epochs at most",
    "device.precision": "precision",
}
# Columns with the origin of a run, and what they are called.
HARDWARE = {"environment.device.name": "device", "environment.platform": "platform"}
VERSIONS = {
    "environment.python": "Python",
    "environment.packages.torch": "PyTorch",
    "environment.packages.normlab": "normlab",
}
RULES = {
    "ranks": "by ranks, in which runs that diverged or failed are the worst (Wilcoxon)",
    "mean and wins": "by the larger p-value of the tests of the mean and of the wins, "
    "since one arm spreads more than three times as much as the other",
}


def methods_paragraph(comparison: Comparison) -> str:
    """How a comparison was made, in words for a paper.

    Args:
        comparison: The comparison, with its runs.
    """
    sentences = [
        _compared(comparison),
        _trained(comparison),
        _sizes(comparison),
        _lost(comparison.runs),
        _chosen(comparison),
        _tested(comparison),
        _margin(comparison),
        _origin(comparison.runs),
    ]
    return " ".join(filter(None, sentences))


def _compared(comparison: Comparison) -> str:
    arms = ", ".join(comparison.arms)
    metric = comparison.metric
    text = (
        f"We compared {', '.join(comparison.by)} ({arms}) by {metric} "
        f"({direction(metric)})"
    )
    groups = sorted_labels(comparison.runs["where"])
    if len(groups) > 1:
        text += f", separately at each of {len(groups)} groups ({some(groups, '; ')})"
    return f"{text}, with {comparison.baseline} as the baseline."


def _trained(comparison: Comparison) -> str:
    """The training that all runs share, as far as it is recorded."""
    shared = shared_settings(comparison.runs)
    parts = []
    for key in ("model", "dataset"):
        if key in shared:
            parts.append(f"{key} {shared[key]}")
    for key, words in TRAINING.items():
        if key in shared and key not in comparison.by:
            parts.append(f"{words} {shared[key]}")
    if not parts:
        return ""
    return f"All runs share {', '.join(parts)}."


def _sizes(comparison: Comparison) -> str:
    """Runs per arm, and whether arms share their seeds."""
    size = number_range(comparison.summaries["runs"])
    designs = designs_of(comparison)
    text = f"Every arm was run {size} times per group"
    if len(comparison.summaries["where"].unique()) == 1:
        text = f"Every arm was run {size} times"
    if comparison.contrasts.empty:
        return f"{text}."
    if designs == ["paired"]:
        seeds = sorted_labels(comparison.runs["seed"].map(setting_text))
        text += f"; arms share their seeds ({some(seeds)})"
    elif designs == ["independent"]:
        text += "; the runs of two arms share too few seeds to make pairs"
    return f"{text}."


def _lost(runs: pd.DataFrame) -> str:
    counts = lost_counts(runs)
    if not counts:
        return f"All {len(runs)} runs finished."
    return f"Of {len(runs)} runs, {' and '.join(counts)}; such runs count as outcomes."


def _chosen(comparison: Comparison) -> str:
    """How a hyperparameter was chosen, if one was, and the state that is scored."""
    parts = [_epoch(comparison)]
    choice = comparison.choice
    if choice is not None:
        values = sorted_labels(value for arm in choice.arms for value in arm.tried)
        text = (
            f"Every arm was compared at its best {choice.selection.key} of "
            f"{len(values)} values ({some(values)}), "
            f"chosen by the mean {choice.metric}"
        )
        if choice.selection.confirm:
            text += "; seeds that had no part in the choice test it"
        parts.append(f"{text}.")
    return " ".join(filter(None, parts))


def _epoch(comparison: Comparison) -> str:
    """Which epoch the scores are of, if the runs record it."""
    runs = comparison.runs
    if not chose_epoch(comparison):
        return ""
    monitors = recorded_values(runs, MONITOR)
    by = monitors[0] if monitors else "the validation score of its task"
    return f"The scores of a run are those of its best epoch by {by}."


def _tested(comparison: Comparison) -> str:
    """The tests that were really used, and the correction."""
    contrasts = comparison.contrasts
    if contrasts.empty:
        return ""
    ways = [TESTS[design] for design in designs_of(comparison)]
    text = f"Differences to the baseline were tested {' or '.join(ways)}"
    for test, words in RULES.items():
        count = int((contrasts["test"] == test).sum())
        if count:
            text += f"; {count} of {len(contrasts)} contrasts were decided {words}"
    level = f"{comparison.level:g}"
    if len(contrasts) > 1:
        return (
            f"{text}. Holm's correction over {len(contrasts)} contrasts keeps the "
            f"probability of any false alarm at {level}."
        )
    return f"{text}, at level {level}."


def _margin(comparison: Comparison) -> str:
    margins = sorted(set(comparison.margins.values()))
    if not margins:
        return ""
    texts = ", ".join(f"±{number(margin)}" for margin in margins)
    contrasts = comparison.contrasts
    if contrasts.empty or contrasts["equivalence_p"].isna().all():
        return (
            f"A margin of {texts} was stated; no contrast has enough runs to test it."
        )
    return f"Equivalence was tested by two one-sided t tests within {texts}."


def _origin(runs: pd.DataFrame) -> str:
    """Hardware, versions and commit, as far as they are recorded."""
    parts = []
    for column, words in (HARDWARE | VERSIONS).items():
        values = recorded_values(runs, column)
        if values:
            parts.append(f"{words} {some(values)}{unrecorded_note(runs, column)}")
    commits = recorded_values(runs, COMMIT)
    if commits:
        parts.append(f"commit {some(commits)}{unrecorded_note(runs, COMMIT)}")
    return f"The runs record {'; '.join(parts)}." if parts else ""


@dataclass(frozen=True)
class Methods:
    """How one comparison of a report was made.

    Attributes:
        heading: The claim, or what is compared.
        paragraph: For the methods section of a paper.
        items: For its reviewer.
    """

    heading: str
    paragraph: str
    items: list[ChecklistItem]


def methods_of(sections: Sequence[Section]) -> list[Methods]:
    """How the comparisons of a report were made; what several say alike, once.

    Args:
        sections: The parts of a report.
    """
    found: dict[str, Methods] = {}
    for section in sections:
        paragraph = methods_paragraph(section.comparison)
        written = section.rule_written_before if section.rule else None
        items = checklist(section.comparison, written)
        found.setdefault(paragraph, Methods(section.heading, paragraph, items))
    return list(found.values())
