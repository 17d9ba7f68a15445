"""The rules by which claims are judged, in words, which every run stores."""

from collections.abc import Mapping
from typing import Any

_DIRECTION = (
    "supported if every difference lies {way} {limit}, by its test and its interval "
    "after Holm's correction; contradicted if the interval of any difference, at a "
    "confidence that holds for all at once, ends on the other side of {limit}; "
    "otherwise, and wherever {limit} lies inside an interval, it cannot tell"
)
# What a claim may expect, and the rule for each, which `normlab.study.rules` applies.
RULES = {
    "equal": (
        "supported if two one-sided tests put every difference inside the margin and "
        "the arms spread alike; contradicted if the interval of any difference, at a "
        "confidence that holds for all at once, lies outside of it"
    ),
    "higher": _DIRECTION.format(way="above", limit="the margin (zero without one)"),
    "lower": _DIRECTION.format(
        way="below", limit="minus the margin (zero without one)"
    ),
    "not_worse": (
        "supported if every arm is better, or worse by less than the margin in its "
        "whole interval with arms that spread alike; contradicted if an arm is worse "
        "by more than the margin in its whole interval, at a confidence that holds for "
        "all at once; otherwise it cannot tell"
    ),
}
EXPECTATIONS = tuple(RULES)
_BESIDE_VALUE = (
    "supported if the interval of every arm's mean lies {way} {limit}, and its runs "
    "are not skewed; contradicted if that of any arm, at a confidence that holds for "
    "all at once, ends on the other side; otherwise it cannot tell"
)
_OF_RATIO = (
    "a difference is the logarithm of how many times sooner the arm reaches the target "
    "than the baseline, the margin is such a ratio, and the times of runs that never "
    "reach it are the possible ones that speak most against the verdict"
)
_OF_LOGARITHM = (
    "value and metric are compared as logarithms, so that the mean is a geometric one, "
    "and the margin is a factor that multiplies or divides the value"
)
# The rules of claims about the mean of a metric against a number, by what they expect.
VALUE_RULES = {
    "equal": (
        "supported if the interval of every arm's mean, which belongs to two one-sided "
        "tests, lies inside the value plus or minus the margin, and its runs are not "
        "skewed; contradicted if that of any arm, at a confidence that holds for all "
        "at once, lies outside; otherwise it cannot tell"
    ),
    "higher": _BESIDE_VALUE.format(
        way="above", limit="the value plus the margin (zero without one)"
    ),
    "lower": _BESIDE_VALUE.format(
        way="below", limit="the value minus the margin (zero without one)"
    ),
}


def rule_of(claim: Mapping[str, Any]) -> tuple[str, str]:
    """The name of the rule that a claim is judged by, and its words.

    Args:
        claim: one that was checked, with the keys of its study.
    """
    expected = claim["expect"]
    if claim.get("ratio_to_target"):
        return f"{expected} (ratio)", f"{RULES[expected]}; {_OF_RATIO}"
    if claim.get("value") is not None:
        metric = claim["metric"]
        if isinstance(metric, Mapping) and metric.get("ratio"):
            name = f"{expected} (value of a ratio)"
            return name, f"{VALUE_RULES[expected]}; {_OF_LOGARITHM}"
        return f"{expected} (value)", VALUE_RULES[expected]
    return expected, RULES[expected]
