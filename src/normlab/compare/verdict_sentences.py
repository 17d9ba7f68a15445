"""One plain sentence, or a few, for a contrast and its verdict."""

import math

from normlab.compare.effects import seeds_needed
from normlab.compare.inference import SMALLEST_N
from normlab.compare.sentences import counted, number, p_value, percent, signed
from normlab.compare.settings import capitalized
from normlab.compare.shapes import UNEQUAL_SPREADS, unseen_share
from normlab.compare.verdict_notes import (
    SIDES,
    collapsed_note,
    detectable_note,
    lost_note,
    meaningful_note,
    more_seeds_note,
    spread_note,
)

WORST = "with diverged and failed runs as the worst"


def sentence(row: dict, metric: str, level: float) -> str:
    """What one contrast says, in words that need no statistics.

    Args:
        row: a row of `Comparison.contrasts` with its verdict.
        metric: what was compared.
        level: significance level over all contrasts.
    """
    if _never_differ(row):
        text = _the_same(row, metric, level)
    else:
        verdicts = {
            "better": _different,
            "worse": _different,
            "equivalent": _equivalent,
            "not told apart": _not_told_apart,
            "cannot tell": _cannot_tell,
        }
        text = verdicts[row["verdict"]](row, metric, level)
    text += lost_note(row)
    if row["test"] == "ranks" and row["verdict"] != "cannot tell":
        text += _finished_note(row, metric)
    text += collapsed_note(row)
    if row["spread_ratio"] > UNEQUAL_SPREADS:
        text += spread_note(row)

    if row["where"]:
        return f"At {row['where']}, {text}"
    # Other sentences begin with the name of an arm, which stays as it is.
    if text.startswith(("no ", "cannot ")):
        return capitalized(text)
    return text


def _arms(row: dict) -> str:
    return f"{row['arm']} and {row['baseline']}"


def _never_differ(row: dict) -> bool:
    has_pairs = row["design"] == "paired" and row["n"] > 1
    if not has_pairs or row["test"] == "ranks":
        return False
    return row["low"] == row["high"] == 0


def _the_same(row: dict, metric: str, level: float) -> str:
    text = (
        f"{_arms(row)} have the same {metric} in each of {row['n']} pairs with the "
        f"same seed; up to {percent_unseen(row['n'], level)} of pairs could still "
        "differ."
    )
    if row["verdict"] != "equivalent":
        return text
    tested = _tested(row, "equivalence_p")
    return (
        f"{text} They are equivalent within ±{number(row['margin'])}, provided that "
        "the runs of such a pair lie no further apart than these runs do "
        f"({tested})."
    )


def percent_unseen(n: int, level: float) -> str:
    """`26%`: the share of runs or pairs that n of them can have missed."""
    return f"{unseen_share(n, level):.0%}"


def _different(row: dict, metric: str, level: float) -> str:
    head = f"{row['arm']} does {row['verdict']} than {row['baseline']}"
    if row["test"] == "ranks":
        text = f"{head} by ranks, {WORST} ({_ranks(row)})."
        return text + meaningful_note(row, level)

    text = (
        f"{head}: its {metric} is {_size(row)}{_factor(row, metric)} "
        f"({_evidence(row)}, {_tested(row)})."
    )
    margin = row["margin"]
    if row["equivalence_p_holm"] < level and not row["doubt"]:
        text += f" The difference is below the margin of {number(margin)}."
    return text + meaningful_note(row, level)


def _size(row: dict) -> str:
    way = "higher" if row["difference"] > 0 else "lower"
    return f"{number(abs(row['difference']))} {way}"


def _evidence(row: dict, name: str = "holm") -> str:
    """Interval and data that a statement rests on, for a pair of parentheses.

    Args:
        row: of the contrast.
        name: whose interval: `holm`, which belongs to the corrected test of a
            difference, or `equivalence`.
    """
    if name == "holm":
        share = row["confidence"]
        low = signed(row["low_holm"])
        high = signed(row["high_holm"])
    else:
        share = row["equivalence_confidence"]
        low = signed(row["equivalence_low"])
        high = signed(row["equivalence_high"])
    confidence = percent(round(share, 12)).removesuffix("%")
    return f"{confidence} % interval {low} to {high}, {_data(row)}"


def _data(row: dict) -> str:
    """Number and kind of the values that the mean rests on."""
    text = _sizes(row["design"], row["n"], row["n_baseline"])
    if row["left_out"]:
        text += f", {counted(row['left_out'], 'run')} without a partner left out"
    return text


def _sizes(design: str, n: int, n_baseline: int) -> str:
    if design == "paired":
        return f"{n} pairs of runs with the same seed"
    if design == "folds":
        return f"the same {n} folds in both arms, corrected for shared training data"
    return f"{n} against {n_baseline} independent runs"


def _ranks(row: dict) -> str:
    """Data and test of a verdict by ranks, for a pair of parentheses."""
    design = judged_design(row)
    tests = {
        "paired": "exact signed-rank test",
        "folds": "corrected t test of the signed ranks",
        "independent": "rank-sum test",
    }
    sizes = _sizes(design, row["judged"], row["judged_baseline"])
    return f"{sizes}, {tests[design]} {_tested(row)}"


def judged_design(row: dict) -> str:
    """The design of the values that decide, which may include runs that were lost.

    Args:
        row: of the contrast.
    """
    if row["design"] == "folds" or row["test"] != "ranks":
        return str(row["design"])
    return "paired" if row["judged_in_pairs"] else "independent"


def _tested(row: dict, name: str = "p") -> str:
    text = p_value(row[f"{name}_holm"])
    if row["contrasts"] > 1:
        text += f" after Holm's correction for {row['contrasts']} contrasts"
    if name == "p" and row["test"] == "mean and wins":
        text += ", the larger one of the tests of the mean and of the wins"
    return text


def _factor(row: dict, metric: str) -> str:
    if not metric.startswith("log10 "):
        return ""
    return f", a factor of {10 ** abs(row['difference']):.3g}"


def _finished_note(row: dict, metric: str) -> str:
    """What the runs that finished say, after a verdict by ranks."""
    if math.isnan(row["difference"]):
        return ""
    return (
        f" Of the runs that finished, those of {row['arm']} have a mean {metric} "
        f"{_size(row)} ({_evidence(row)}); these are the better part of an arm that "
        "lost runs."
    )


def _equivalent(row: dict, metric: str, level: float) -> str:
    tested = _tested(row, "equivalence_p")
    n = min(row["n"], row["n_baseline"])
    what = {"paired": "pairs", "folds": "folds"}.get(row["design"], "runs per arm")
    return (
        f"{_arms(row)} are equivalent in {metric} within ±{number(row['margin'])}: "
        f"the difference is {signed(row['difference'])} "
        f"({_evidence(row, 'equivalence')}, two one-sided tests {tested}). {n} {what} "
        f"cannot exclude that up to {percent_unseen(n, level)} of runs behave "
        "otherwise."
    )


def _not_told_apart(row: dict, metric: str, level: float) -> str:
    margin = row["margin"]
    limits = ", and that is no proof that they are equal"
    if not math.isnan(margin):
        limits = f", nor that they are equivalent within ±{number(margin)}"
    head = f"no difference in {metric} between {_arms(row)} was shown"
    if row["test"] == "ranks":
        return f"{head} by ranks, {WORST}{limits} ({_ranks(row)})."
    difference = signed(row["difference"])
    notes = (_doubt(row, level), detectable_note(row), more_seeds_note(row))
    return (
        f"{head}{limits}: {difference} ({_evidence(row)}, {_tested(row)})."
        f"{''.join(notes)}"
    )


def _doubt(row: dict, level: float) -> str:
    """Why arms are not called equivalent, although two one-sided tests would."""
    if not (row["equivalence_p_holm"] < level and row["doubt"]):
        return ""
    return (
        f" Two one-sided tests would call them equivalent "
        f"({_tested(row, 'equivalence_p')}), but {row['doubt']}."
    )


def _cannot_tell(row: dict, metric: str, level: float) -> str:
    n = min(row["judged"], row["judged_baseline"])
    question = f"whether {_arms(row)} differ in {metric}"
    if n == 0:
        return f"cannot tell {question}: {_no_values(row, metric)}"
    if n == 1:
        return (
            f"cannot tell with 1 run {question}: one run says nothing about the "
            f"spread; at least {SMALLEST_N} are needed."
        )

    unit = "folds" if row["design"] == "folds" else "seeds"
    text = f"cannot tell with {n} {unit} {question}: "
    if not math.isnan(row["difference"]):
        difference = signed(row["difference"])
        text += f"the difference is {difference} ({_evidence(row)}), but "
    text += f"{_needed(row, level, n)}."
    if not math.isnan(row["margin"]) and math.isnan(row["equivalence_p"]):
        text += (
            f" Equivalence within ±{number(row['margin'])} is not tested below "
            f"{SMALLEST_N} either."
        )
    return text + _doubt(row, level) + detectable_note(row)


def _no_values(row: dict, metric: str) -> str:
    """Why one of the arms has no value to compare."""
    if row["left_out"]:
        return (
            "no run of one shares fold and seed with a run of the other, and folds are "
            "never compared as independent runs; run both arms on the same folds and "
            "seeds."
        )
    reasons = []
    for name, suffix in SIDES:
        if not row[f"n{suffix}"]:
            reasons.append(_no_result(row, name, suffix, metric))
    return f"{' and '.join(reasons)}."


def _no_result(row: dict, name: str, suffix: str, metric: str) -> str:
    if row[f"without_metric{suffix}"]:
        return f"no finished run of {row[name]} has {metric}"
    return f"no run of {row[name]} finished"


def _needed(row: dict, level: float, n: int) -> str:
    """Why the test cannot show a difference, and what to run."""
    if row["design"] == "folds":
        return (
            f"no p-value is given below {SMALLEST_N} folds; dataset.num_folds=10 "
            "'dataset.fold=range(10)' has more"
        )
    if judged_design(row) != "paired":
        return f"no p-value is given below {SMALLEST_N} runs per arm"

    count = row["contrasts"]
    text = (
        f"the exact test of {n} pairs cannot give a p below {row['attainable_p']:.3g}"
    )
    if count > 1:
        text += f", times {count} contrasts"
    needed = seeds_needed(level, count)
    if row["left_out"]:
        return f"{text}; at least {needed} pairs are needed"
    return f"{text}; run at least {needed} seeds"
