"""The rules by which a claim is supported or contradicted."""

from normlab.compare.comparison import Comparison
from normlab.compare.sentences import number, p_value
from normlab.compare.settings import setting_text

RULES = {
    "equal": (
        "supported if two one-sided tests put every difference inside the margin; "
        "contradicted if the interval of any difference lies outside of it"
    ),
    "higher": (
        "supported if every difference is above zero at the level, after Holm's "
        "correction; contradicted if any is below zero at the level, or equivalent to "
        "zero within the margin"
    ),
    "lower": (
        "supported if every difference is below zero at the level, after Holm's "
        "correction; contradicted if any is above zero at the level, or equivalent to "
        "zero within the margin"
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
        expect: `equal`, `higher` or `lower`; `equal` needs a margin.
        minimum_seeds: fewer in any arm cannot tell.
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
        n = min(row["n"], row["n_baseline"])
        if n < minimum_seeds:
            at = f" at {row['where']}" if row["where"] else ""
            arms_compared = f"{row['arm']} against {row['baseline']}{at}"
            return "cannot tell", f"{arms_compared} has {n} of {minimum_seeds} seeds"

    if expect == "equal":
        assert comparison.margin is not None, "a claim of equality states its margin"
        return _judge_equal(rows, comparison.margin, comparison.level)
    sign = 1 if expect == "higher" else -1
    return _judge_direction(rows, sign, comparison.level)


def _judge_equal(
    rows: list[dict],
    margin: float,
    level: float,
) -> tuple[str, str]:
    for row in rows:
        if row["low"] > margin or row["high"] < -margin:
            return "contradicted", row["sentence"]
    # The claim stands only if every test passes by itself, so no correction is needed
    # (intersection-union test; Berger, 1982, Multiparameter hypothesis testing and
    # acceptance sampling, Technometrics 24).
    for row in rows:
        if not row["equivalence_p"] < level:
            return "cannot tell", row["sentence"]

    if all(row["verdict"] == "equivalent" for row in rows):
        return "supported", _all_sentences(rows)
    largest = p_value(max(row["equivalence_p"] for row in rows))
    return (
        "supported",
        f"every difference is inside ±{number(margin)} by two one-sided tests, the "
        f"largest {largest}.",
    )


def _judge_direction(
    rows: list[dict],
    sign: int,
    level: float,
) -> tuple[str, str]:
    """Judge that all differences are positive (`sign` 1) or negative (`sign` -1)."""
    unproven = []
    for row in rows:
        significant = row["p_holm"] < level
        if not (significant and row["difference"] * sign > 0):
            unproven.append(row)
    if not unproven:
        return "supported", _all_sentences(rows)

    for row in unproven:
        if row["p_holm"] < level or row["equivalence_p_holm"] < level:
            return "contradicted", row["sentence"]
    return "cannot tell", unproven[0]["sentence"]


def _all_sentences(rows: list[dict]) -> str:
    first = rows[0]["sentence"]
    if len(rows) == 1:
        return first
    return f"All {len(rows)} contrasts agree; the first: {first}"
