"""The rules by which a claim is supported or contradicted."""

import math

from normlab.compare.comparison import Comparison
from normlab.compare.sentences import number, p_value
from normlab.compare.settings import setting_text
from normlab.metrics import higher_is_better

_DIRECTION = (
    "supported if every difference lies {way} {limit}, by its test and its interval "
    "after Holm's correction; contradicted if the interval of any difference, at a "
    "confidence that holds for all at once, ends on the other side of {limit}; "
    "otherwise, and wherever {limit} lies inside an interval, it cannot tell"
)
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
        "supported if every arm is better, or its interval ends before it is worse by "
        "the margin and the arms spread alike; contradicted if any interval, at a "
        "confidence that holds for all at once, lies wholly beyond it; otherwise it "
        "cannot tell"
    ),
}


def judge(
    comparison: Comparison,
    expect: str,
    minimum_seeds: int,
    arms: list | None = None,
) -> tuple[str, str]:
    """Apply one of the `RULES` to a comparison.

    Args:
        comparison: the numbers.
        expect: one of `RULES`; `equal` and `not_worse` need a margin.
        minimum_seeds: fewer in any arm cannot tell; runs that diverged count.
        arms: the arms that the claim is about; by default all.

    Returns:
        The verdict and what it rests on.
    """
    rows = comparison.contrasts.to_dict("records")
    present = set(comparison.contrasts.get("arm", ()))
    wanted = map(setting_text, arms or [])
    absent = [arm for arm in wanted if arm not in present]
    if not rows or absent:
        missing = ", ".join(absent) or "more than one arm"
        return "cannot tell", f"there are no runs of {missing} beside the baseline"

    for row in rows:
        n = min(row["judged"], row["judged_baseline"])
        if n < minimum_seeds:
            at = f" at {row['where']}" if row["where"] else ""
            arms_compared = f"{row['arm']} against {row['baseline']}{at}"
            return "cannot tell", f"{arms_compared} has {n} of {minimum_seeds} seeds"

    if expect == "equal":
        assert comparison.margins, "a claim of equality states its margin"
        return _judge_equal(rows, comparison.level)
    if expect == "not_worse":
        assert comparison.margins, "a claim of non-inferiority states its margin"
        return _judge_not_worse(rows, higher_is_better(comparison.metric))
    sign = 1 if expect == "higher" else -1
    return _judge_direction(rows, sign)


def _judge_equal(rows: list[dict], level: float) -> tuple[str, str]:
    for row in rows:
        # By ranks alone, nothing is known about the size of a difference.
        outside = row["low_all"] > row["margin"] or row["high_all"] < -row["margin"]
        if outside and _is_shown(row):
            return "contradicted", row["sentence"]
    # The claim stands only if every test passes by itself, so no correction is needed
    # (intersection-union test; Berger, 1982, Multiparameter hypothesis testing and
    # acceptance sampling, Technometrics 24).
    for row in rows:
        if not row["equivalence_p"] < level or row["doubt"]:
            return "cannot tell", row["sentence"]

    if all(row["verdict"] == "equivalent" for row in rows):
        return "supported", _all_sentences(rows)
    margins = ", ".join(f"±{number(row['margin'])}" for row in _distinct_margins(rows))
    largest = p_value(max(row["equivalence_p"] for row in rows))
    return (
        "supported",
        f"every difference is inside {margins} by two one-sided tests, the largest "
        f"{largest}.",
    )


def _judge_not_worse(rows: list[dict], higher: bool) -> tuple[str, str]:
    """Judge that no arm is worse than the baseline by the margin or more.

    Every difference must pass by itself, so no correction is needed. As for `higher`,
    the limit is one number: an interval beyond it contradicts.
    """
    sign = 1 if higher else -1
    unproven = [row for row in rows if not _is_not_worse(row, sign)]
    if not unproven:
        return "supported", _all_sentences(rows)
    for row in unproven:
        _, best = _in_direction(row["low_all"], row["high_all"], sign)
        if row["test"] != "ranks" and best < -row["margin"]:
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


def _in_direction(low: float, high: float, sign: int) -> tuple[float, float]:
    """The ends of an interval, so that more lies in the direction of the sign."""
    if sign > 0:
        return low, high
    return -high, -low


def _distinct_margins(rows: list[dict]) -> list[dict]:
    """The first row with each margin."""
    first = {row["margin"]: row for row in reversed(rows)}
    return list(reversed(first.values()))


def _is_shown(row: dict) -> bool:
    """Whether the arms were found to differ."""
    return row["verdict"] in ("better", "worse")


def _judge_direction(rows: list[dict], sign: int) -> tuple[str, str]:
    """Judge that all differences lie above (`sign` 1) or below (-1) the margin.

    The limit is one number. An interval beyond it supports the claim, one before it
    contradicts, and one that holds it does neither, so that a difference cannot give
    both verdicts by chance.
    """
    unproven = [row for row in rows if not _lies_beyond(row, sign)]
    if not unproven:
        return "supported", _all_sentences(rows)
    for row in unproven:
        if _lies_before(row, sign):
            return "contradicted", row["sentence"]
    return "cannot tell", _beside_margin(unproven[0], sign)


def _limit(row: dict) -> float:
    return 0.0 if math.isnan(row["margin"]) else row["margin"]


def _lies_beyond(row: dict, sign: int) -> bool:
    if not (_is_shown(row) and row["direction"] == sign):
        return False
    nearest, _ = _in_direction(row["low_holm"], row["high_holm"], sign)
    if math.isnan(nearest):  # no run of an arm finished, and ranks decide
        return math.isnan(row["margin"])
    return bool(nearest > _limit(row)) or _by_ranks_alone(row)


def _by_ranks_alone(row: dict) -> bool:
    """Whether ranks decide and no margin asks for the size of the difference."""
    return row["test"] == "ranks" and math.isnan(row["margin"])


def _lies_before(row: dict, sign: int) -> bool:
    if row["test"] == "ranks":  # the interval is of the runs that finished only
        return _is_shown(row) and row["direction"] == -sign
    _, farthest = _in_direction(row["low_all"], row["high_all"], sign)
    return bool(farthest < _limit(row))


def _beside_margin(row: dict, sign: int) -> str:
    """The sentence of a contrast, with what the margin leaves open."""
    text = row["sentence"]
    is_wanted = _is_shown(row) and row["direction"] == sign
    if not is_wanted or math.isnan(row["margin"]):
        return text
    limit = number(row["margin"])
    text = f"{text} Whether it exceeds the margin of {limit} cannot be told."
    if math.isnan(row["detectable"]):
        return text
    return (
        f"{text} With 80 % power, as many runs would show it of a difference of "
        f"{number(row['margin'] + row['detectable'])}."
    )


def _all_sentences(rows: list[dict]) -> str:
    first = rows[0]["sentence"]
    if len(rows) == 1:
        return first
    return f"All {len(rows)} contrasts agree; the first: {first}"
