"""The rules by which a claim is supported or contradicted.

Their words are in `normlab.config.claim_rules`, since every run stores them.
"""

import math

from normlab.compare.comparison import Comparison
from normlab.compare.sentences import number, p_value
from normlab.compare.settings import setting_text
from normlab.metrics import higher_is_better

Answer = tuple[str, str]  # a verdict, and what it rests on


def judge(
    comparison: Comparison,
    expect: str,
    minimum_seeds: int,
    arms: list | None = None,
) -> Answer:
    """Apply one of the rules to a comparison.

    Args:
        comparison: the numbers.
        expect: one of `RULES`; `equal` and `not_worse` need a margin.
        minimum_seeds: fewer in any arm cannot tell; runs that diverged count.
        arms: the arms that the claim is about; by default all.

    Returns:
        The verdict and what it rests on.
    """
    rows = comparison.contrasts.to_dict("records")
    lacking = _lacking(rows, minimum_seeds, arms or [])
    if lacking:
        return "cannot tell", lacking
    if expect == "equal":
        assert comparison.margins, "a claim of equality states its margin"
        return _judge_equal(rows, comparison.level)
    if expect == "not_worse":
        assert comparison.margins, "a claim of non-inferiority states its margin"
        sign = 1 if higher_is_better(comparison.metric) else -1
        return _judge_not_worse(rows, sign)
    sign = 1 if expect == "higher" else -1
    return _judge_direction(rows, sign)


def _lacking(
    rows: list[dict],
    minimum_seeds: int,
    arms: list,
) -> str:
    """What is missing for any answer; empty if nothing is."""
    absent = list(map(setting_text, arms))
    for row in rows:
        arm = row["arm"]
        if arm in absent:
            absent.remove(arm)
    if not rows or absent:
        missing = ", ".join(absent) or "more than one arm"
        return f"there are no runs of {missing} beside the baseline"

    for row in rows:
        count = min(row["judged"], row["judged_baseline"])
        if count < minimum_seeds:
            compared = _compared_arms(row)
            return f"{compared} has {count} of {minimum_seeds} seeds"
    return ""


def _compared_arms(row: dict) -> str:
    arm = row["arm"]
    text = f"{arm} against {row['baseline']}"
    where = row["where"]
    return f"{text} at {where}" if where else text


def _judge_equal(rows: list[dict], level: float) -> Answer:
    for row in rows:
        if _exceeds_both_margins(row):
            return "contradicted", row["sentence"]
    # The claim stands only if every test passes by itself, so no correction is needed
    # (intersection-union test; Berger, 1982, Multiparameter hypothesis testing and
    # acceptance sampling, Technometrics 24).
    for row in rows:
        passed = row["equivalence_p"] < level
        if not passed or row["doubt"]:
            return "cannot tell", row["sentence"]

    verdicts = {row["verdict"] for row in rows}
    if verdicts == {"equivalent"}:
        return "supported", _all_sentences(rows)
    margins = _margins(rows)
    values = [row["equivalence_p"] for row in rows]
    largest = p_value(max(values))
    return (
        "supported",
        f"every difference is inside {margins} by two one-sided tests, the largest "
        f"{largest}.",
    )


def _judge_not_worse(rows: list[dict], sign: int) -> Answer:
    """Judge that no arm is worse than the baseline by the margin or more.

    Every difference must pass by itself, so no correction is needed. As for `higher`,
    the limit is one number: an interval beyond it contradicts.
    """
    unproven = [row for row in rows if not _is_not_worse(row, sign)]
    if not unproven:
        return "supported", _all_sentences(rows)
    for row in unproven:
        if row["test"] != "ranks" and _ends_before(row, sign, -row["margin"]):
            return "contradicted", row["sentence"]
    row = unproven[0]
    limit = number(row["margin"])
    reason = f"{row['sentence']} Whether it is worse by {limit} cannot be told"
    if row["doubt"]:
        reason = f"{reason}: {row['doubt']}"
    return "cannot tell", f"{reason}."


def _is_not_worse(row: dict, sign: int) -> bool:
    if _is_shown(row) and row["direction"] == sign:
        return True
    if row["test"] == "ranks":  # nothing is known about the size of a difference
        return False
    worst, _ = _in_direction(row["low"], row["high"], sign)
    return worst > -row["margin"] and not row["doubt"]


def _in_direction(
    low: float,
    high: float,
    sign: int,
) -> tuple[float, float]:
    """The ends of an interval, so that more lies in the direction of the sign."""
    if sign > 0:
        return low, high
    return -high, -low


def _exceeds_both_margins(row: dict) -> bool:
    """Whether a difference that was found lies on one side of both margins."""
    if not _is_shown(row):
        return False
    if row["test"] == "ranks" and _better_side_lost_runs(row):
        return False
    margin = row["margin"]
    is_above = row["low_all"] > margin
    is_below = row["high_all"] < -margin
    return bool(is_above or is_below)


def _margins(rows: list[dict]) -> str:
    """The distinct margins in the order of their groups."""
    texts = []
    for row in rows:
        margin = number(row["margin"])
        text = f"±{margin}"
        if text not in texts:
            texts.append(text)
    return ", ".join(texts)


def _is_shown(row: dict) -> bool:
    """Whether the arms were found to differ."""
    return row["verdict"] in ("better", "worse")


def _judge_direction(rows: list[dict], sign: int) -> Answer:
    """Judge that all differences lie above (`sign` 1) or below (-1) the margin.

    The limit is one number. An interval beyond it supports the claim, one before it
    contradicts, and one that holds it does neither, so that a difference cannot give
    both verdicts by chance.
    """
    unproven = []
    for row in rows:
        is_proven = _lies_beyond(row, sign)
        if not is_proven:
            unproven.append(row)
    if not unproven:
        return "supported", _all_sentences(rows)
    for row in unproven:
        if _lies_before(row, sign):
            return "contradicted", row["sentence"]
    first = unproven[0]
    return "cannot tell", _beside_margin(first, sign)


def _limit(row: dict) -> float:
    margin = row["margin"]
    if math.isnan(margin):
        return 0.0
    return margin


def _is_shown_as_claimed(row: dict, sign: int) -> bool:
    is_shown = _is_shown(row)
    return is_shown and row["direction"] == sign


def _lies_beyond(row: dict, sign: int) -> bool:
    if not _is_shown_as_claimed(row, sign):
        return False
    if row["test"] == "ranks":  # the interval is of the runs that finished only
        if math.isnan(row["margin"]):
            return True
        if _better_side_lost_runs(row):
            return False
    nearest, _ = _in_direction(row["low_holm"], row["high_holm"], sign)
    return bool(nearest > _limit(row))


def _better_side_lost_runs(row: dict) -> bool:
    """Whether runs of the side that was found to be better are missing in its mean."""
    suffix = "" if row["verdict"] == "better" else "_baseline"
    lost = row[f"diverged{suffix}"] + row[f"failed{suffix}"]
    return bool(lost > 0)


def _lies_before(row: dict, sign: int) -> bool:
    if row["test"] == "ranks":  # the interval is of the runs that finished only
        return _is_shown_as_claimed(row, -sign)
    limit = _limit(row)
    if row["test"] == "mean and wins" and limit == 0:
        return _is_shown_as_claimed(row, -sign) and _ends_before(row, sign, limit)
    return _ends_before(row, sign, limit)


def _ends_before(row: dict, sign: int, limit: float) -> bool:
    """Whether a whole interval lies before a limit, by data that allow a test."""
    if row["verdict"] == "cannot tell":
        return False
    _, farthest = _in_direction(row["low_all"], row["high_all"], sign)
    return bool(farthest < limit)


def _beside_margin(row: dict, sign: int) -> str:
    """The sentence of a contrast, with what the margin leaves open."""
    text = row["sentence"]
    margin = row["margin"]
    if math.isnan(margin) or not _is_shown_as_claimed(row, sign):
        return text
    limit = number(margin)
    text = f"{text} Whether it exceeds the margin of {limit} cannot be told."
    detectable = row["detectable"]
    if math.isnan(detectable):
        return text
    shown = number(margin + detectable)
    return (
        f"{text} With 80 % power, this number of runs shows it if the difference is "
        f"{shown}."
    )


def _all_sentences(rows: list[dict]) -> str:
    first = rows[0]["sentence"]
    count = len(rows)
    if count == 1:
        return first
    return f"All {count} contrasts agree; the first: {first}"
