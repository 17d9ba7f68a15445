"""Claims about the mean of a metric in every arm, against a number that is stated.

The number has no spread, so nothing is compared in pairs: the interval of the mean of
an arm lies inside value ± margin, beyond it, or neither. The t interval takes runs to
be normal. Where they are skewed it is wrong in one direction, and the claim stays open.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from normlab.compare.arguments import name_list
from normlab.compare.comparison import Comparison, compare
from normlab.compare.design_warnings import design_warnings
from normlab.compare.inference import SMALLEST_N
from normlab.compare.intervals import Interval, fold_interval, t_interval
from normlab.compare.sentences import number, percent
from normlab.compare.settings import arm_labels, setting_text, sorted_labels
from normlab.compare.shapes import (
    EQUIVALENT_SKEWNESS,
    FEWEST_FOR_EQUIVALENCE,
    skewness,
)
from normlab.compare.summaries import finished_runs, num_folds, score_values
from normlab.study.plans import Settings
from normlab.study.rules import Answer

LOGARITHM = "log10 "  # before the name of a metric whose values are logarithms


@dataclass(frozen=True)
class Limits:
    """What the mean of an arm is compared with.

    Attributes:
        expect: `equal`, `higher` or `lower`.
        low: the mean lies below the value if its interval ends below this.
        high: the mean lies above the value if its interval begins above this.
        text: the limits in words.
    """

    expect: str
    low: float
    high: float
    text: str


@dataclass(frozen=True)
class ArmMean:
    """The runs of an arm in a group.

    Attributes:
        arm: its name.
        where: the label of its group; empty if there is one group only.
        values: one per run, or per fold ``(n,)``.
        folds: number of folds; None without cross-validation.
        runs: number of all its runs.
        lost: number of those that have no value.
    """

    arm: str
    where: str
    values: NDArray
    folds: int | None
    runs: int
    lost: int

    @property
    def name(self) -> str:
        """Arm and group, for a sentence."""
        return f"{self.arm} at {self.where}" if self.where else self.arm

    def interval(self, confidence: float) -> Interval:
        """The interval of the mean at a confidence."""
        if self.folds:
            return fold_interval(self.values, self.folds, confidence)
        return t_interval(self.values, confidence)


def is_about_value(plan: Settings) -> bool:
    """Whether a claim compares means with a number.

    Args:
        plan: the claim with the keys of its study.
    """
    return plan.get("value") is not None


def compare_arms(
    plan: Settings,
    runs: pd.DataFrame,
    options: Settings,
) -> Comparison:
    """The arms of a claim about a value, without contrasts.

    Args:
        plan: the claim with the keys of its study.
        runs: those that may answer.
        options: arguments of `compare`.
    """
    shown = dict(options)
    for name in ("arms", "margin", "baseline"):
        shown.pop(name, None)
    if plan.get("select"):
        shown |= {"select": plan["select"], "incomplete": True}
    if plan.get("arms"):
        named = list(map(setting_text, plan["arms"]))
        runs = runs[arm_labels(runs, name_list(plan["by"])).isin(named)]
    comparison = compare(runs, **shown)
    groups = [(str(where), group) for where, group in comparison.runs.groupby("where")]
    about_contrasts = design_warnings(comparison.contrasts, groups, comparison.metric)
    kept = []
    for line in comparison.warnings:
        if line not in about_contrasts and not line.startswith("All runs are of one"):
            kept.append(line)
    return replace(comparison, contrasts=pd.DataFrame(), margins={}, warnings=kept)


def judge_value(
    plan: Settings,
    comparison: Comparison,
) -> Answer:
    """Apply the rule of a claim about a value.

    Every arm must pass by itself, so no correction is needed for "supported". One arm
    is enough for "contradicted", so those intervals hold for all at once (Bonferroni).

    Args:
        plan: the claim with the keys of its study.
        comparison: from `compare_arms`.

    Returns:
        The verdict and what it rests on.
    """
    arms = list(_arm_means(comparison))
    lacking = _lacking(plan, arms)
    if lacking:
        return "cannot tell", lacking
    limits = _limits(plan, comparison.metric)
    level = comparison.level
    confidence = 1 - 2 * level if limits.expect == "equal" else 1 - level
    strict = 1 - level / len(arms)
    for arm in arms:
        if not _doubt(arm, "") and _is_outside(arm.interval(strict), limits):
            return "contradicted", _sentence(arm, strict, limits, comparison.metric)
    sentences = []
    for arm in arms:
        text = _sentence(arm, confidence, limits, comparison.metric)
        doubt = _doubt(arm, limits.expect)
        if doubt:
            return "cannot tell", f"{text} {doubt}"
        if not _is_inside(arm.interval(confidence), limits):
            return "cannot tell", text
        sentences.append(text)
    return "supported", " ".join(sentences)


def _arm_means(comparison: Comparison) -> Iterator[ArmMean]:
    runs = comparison.runs
    for where in sorted_labels(runs["where"]):
        group = runs[runs["where"] == where]
        folds = num_folds(group)
        for arm in sorted_labels(group["arm"]):
            own = group[group["arm"] == arm]
            scored = finished_runs(own, comparison.metric)
            yield ArmMean(
                arm=arm,
                where=where,
                values=score_values(scored, comparison.metric, folds),
                folds=folds,
                runs=len(own),
                lost=len(own) - len(scored),
            )


def _lacking(plan: Settings, arms: Sequence[ArmMean]) -> str:
    """What is missing for any answer; empty if nothing is."""
    present = {arm.arm for arm in arms}
    for wanted in map(setting_text, plan.get("arms") or []):
        if wanted not in present:
            return f"there are no runs of {wanted}"
    fewest = max(plan["minimum_seeds"], SMALLEST_N)
    for arm in arms:
        if arm.lost:
            return (
                f"{arm.lost} of {arm.runs} runs of {arm.name} have no value, and its "
                "mean is not known"
            )
        if len(arm.values) < fewest:
            return f"{arm.name} has {len(arm.values)} of {fewest} seeds"
    return ""


def _limits(plan: Settings, metric: str) -> Limits:
    value = float(plan["value"])
    if _is_logarithm(metric):
        margin = math.log10(plan.get("margin") or 1)
        value = math.log10(value)
    else:
        margin = _margin(plan.get("margin"), value)
    expect = plan["expect"]
    low, high = value - margin, value + margin
    if expect == "equal":
        text = f"{number(value)} ± {number(margin)}"
        if _is_logarithm(metric):
            text = f"{_shown(low, metric)} to {_shown(high, metric)}"
        return Limits(expect, low, high, text)
    limit = high if expect == "higher" else low
    return Limits(expect, limit, limit, _shown(limit, metric))


def _is_logarithm(metric: str) -> bool:
    return metric.startswith(LOGARITHM)


def _shown(value: float, metric: str) -> str:
    """A value as a number; a logarithm as what it is the logarithm of."""
    return number(10**value if _is_logarithm(metric) else value)


def _margin(given: float | str | None, value: float) -> float:
    """The margin as a number; `3%` is a share of the value."""
    if given is None:
        return 0.0
    text = str(given)
    margin = float(text.removesuffix("%"))
    if text.endswith("%"):
        return margin / 100 * abs(value)
    return margin


def _is_outside(interval: Interval, limits: Limits) -> bool:
    """Whether a whole interval contradicts the claim."""
    low, high = interval
    is_below, is_above = high < limits.low, low > limits.high
    if limits.expect == "higher":
        return is_below
    if limits.expect == "lower":
        return is_above
    return is_below or is_above


def _is_inside(interval: Interval, limits: Limits) -> bool:
    """Whether a whole interval supports the claim."""
    low, high = interval
    if limits.expect == "higher":
        return low > limits.high
    if limits.expect == "lower":
        return high < limits.low
    return limits.low < low and high < limits.high


def _doubt(arm: ArmMean, expect: str) -> str:
    """Why the interval of an arm must not be believed; empty if it may."""
    skewed = skewness(arm.values)
    if abs(skewed) > EQUIVALENT_SKEWNESS:
        shown = f"{skewed:+.1f}".replace("-", "−")
        return f"Its runs are skewed (skewness {shown}), so the interval may be wrong."
    if expect == "equal" and len(arm.values) < FEWEST_FOR_EQUIVALENCE:
        return (
            f"{len(arm.values)} runs miss rare runs too easily; at least "
            f"{FEWEST_FOR_EQUIVALENCE} are needed."
        )
    return ""


def _sentence(
    arm: ArmMean,
    confidence: float,
    limits: Limits,
    metric: str,
) -> str:
    """The mean of an arm, its interval, and where that lies."""
    low, high = arm.interval(confidence)
    shown = percent(round(confidence, 12)).removesuffix("%")
    unit = "folds" if arm.folds else "runs"
    ends = f"{_shown(low, metric)} to {_shown(high, metric)}"
    evidence = f"{shown} % interval {ends}, {len(arm.values)} {unit}"
    mean = _shown(float(np.mean(arm.values)), metric)
    where = _place((low, high), limits)
    what = f"mean {metric}"
    if _is_logarithm(metric):
        what = f"geometric mean {metric.removeprefix(LOGARITHM)}"
    return f"{arm.name} has a {what} of {mean} ({evidence}), {where}."


def _place(interval: Interval, limits: Limits) -> str:
    low, high = interval
    if high < limits.low:
        return f"below {limits.text}"
    if low > limits.high:
        return f"above {limits.text}"
    if limits.low < low and high < limits.high:
        return f"inside {limits.text}"
    if math.isclose(limits.low, limits.high):
        return f"on both sides of {limits.text}"
    return f"partly outside of {limits.text}"
