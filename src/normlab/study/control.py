"""The control of a study: its baseline compared with itself.

Nothing differs between the seeds of one arm, so a difference between two halves of them
is a false alarm, or a sign that something else changed while the runs were made:
another machine, other versions, other data.
"""

from dataclasses import dataclass

import pandas as pd

from normlab.compare.arguments import name_list
from normlab.compare.comparison import Comparison
from normlab.compare.settings import (
    arm_labels,
    pairing_keys,
    setting_text,
    sorted_labels,
)
from normlab.study.comparing import compare_claim
from normlab.study.plans import Settings

HALF = "half"  # the column that takes the place of the compared setting
FEWEST_SEEDS = 12  # a difference of fewer than six runs an arm gets no p-value
MOST_SENTENCES = 2


@dataclass(frozen=True)
class Control:
    """What came out of a control.

    Attributes:
        text: the finding in sentences.
        alarm: what it says against the study; empty if no difference was shown.
    """

    text: str
    alarm: str = ""


def control_of(plan: Settings, runs: pd.DataFrame) -> Control:
    """Compare every second seed of the baseline with the other ones.

    Metric, groups, selection, margin and level are those of the claim. The halves share
    no seed, so the test is the one for independent runs.

    Args:
        plan: the study's block with the keys of a claim in place of its own.
        runs: those that answer the claim.
    """
    baseline = setting_text(plan["baseline"])
    arms = arm_labels(runs, name_list(plan["by"]))
    own = runs[arms == baseline]
    seeds = sorted_labels(own["seed"].map(setting_text))
    start = f"The control compares {baseline} with itself"
    reason = _obstacle(own, seeds)
    if reason:
        return Control(f"{start}, and cannot be made: {reason}.")

    first, second = seeds[::2], seeds[1::2]
    labels = [f"{baseline} (half 1)", f"{baseline} (half 2)"]
    half_of = dict.fromkeys(first, labels[0])
    half_of |= dict.fromkeys(second, labels[1])
    halves = own.copy()
    halves[HALF] = own["seed"].map(setting_text).map(half_of)
    asked = dict(plan)
    for key in ("arms", "value"):
        asked.pop(key, None)
    asked["by"] = HALF
    asked["baseline"] = labels[0]
    try:
        comparison, _ = compare_claim(asked, halves)
    except ValueError as error:
        return Control(f"{start}, and cannot be made: {error}.")
    start = (
        f"{start}, seeds {','.join(first)} (half 1) and {','.join(second)} (half 2)."
    )
    return _judged(start, comparison, baseline)


def _obstacle(own: pd.DataFrame, seeds: list[str]) -> str:
    if len(seeds) < FEWEST_SEEDS:
        return f"it needs {FEWEST_SEEDS} seeds, and there are {len(seeds)}"
    others = pairing_keys(own)[1:]
    if others:
        return f"its runs differ in {', '.join(others)} too, and share data"
    return ""


def _judged(
    start: str,
    comparison: Comparison,
    baseline: str,
) -> Control:
    contrasts = comparison.contrasts
    shown = contrasts[contrasts["verdict"].isin(["better", "worse"])]
    told = contrasts if shown.empty else shown
    sentences = told["sentence"].tolist()
    more = len(sentences) - MOST_SENTENCES
    if more > 0:
        sentences = sentences[:MOST_SENTENCES]
        sentences.append(f"{more} more comparisons agree.")
    finding = " ".join(sentences)
    if shown.empty:
        text = f"{start} {finding} A difference would have put the answer in question."
        return Control(text)
    alarm = (
        f"The control shows a difference of {baseline} to itself, which puts every "
        f"verdict on these runs in question: {finding} Chance alone does this in "
        f"{100 * comparison.level:g} % of all controls; otherwise something changed "
        "between the seeds, such as machine, versions or data."
    )
    return Control(f"{start} {finding}", alarm)
