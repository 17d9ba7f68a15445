"""Numbers as people read them, and one plain sentence for a contrast."""

import math

from normlab.compare.effects import seeds_needed
from normlab.compare.inference import SMALLEST_N
from normlab.compare.settings import capitalized
from normlab.metrics import higher_is_better

NO_NUMBER = "–"
# Names of the two arms in a row of contrasts, and the end of the columns about them.
SIDES = (("arm", ""), ("baseline", "_baseline"))
# Probability that a run of one arm beats one of the other; Bouthillier et al. (2021).
MEANINGFUL = 0.75


def number(value: float | None) -> str:
    """A number as text, a dash for none.

    Numbers of about 1 get four decimals, larger ones four digits, small ones two.
    """
    if value is None or math.isnan(value):
        return NO_NUMBER
    size = abs(value)
    if value == 0 or 0.001 <= size < 100:
        return f"{value:.4f}"
    if 1e-6 <= size < 0.001:
        decimals = 1 - math.floor(math.log10(size))
        return f"{value:.{decimals}f}"
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def signed(value: float) -> str:
    """`+0.0123`, with a true minus sign; a dash for NaN."""
    if math.isnan(value):
        return NO_NUMBER
    sign = "−" if value < 0 else "+"
    return sign + number(abs(value))


def percent(share: float) -> str:
    """`95%`, with decimals if the share is near 0 or 1: `99.9%`, `0.01%`.

    Two digits of the rarer side are shown; a dash stands for NaN.
    """
    if math.isnan(share):
        return NO_NUMBER
    decimals = 0
    rarer = min(share, 1 - share)
    if rarer > 0:
        decimals = max(0, -1 - math.floor(math.log10(rarer)))
    digits = f"{share:.{decimals}%}".removesuffix("%")
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    return f"{digits}%"


def p_value(value: float) -> str:
    """`p = 0.031`, `p < 0.001`, or `no p-value` for NaN."""
    if math.isnan(value):
        return "no p-value"
    if value < 0.001:
        return "p < 0.001"
    return f"p = {value:.3f}"


def direction(metric: str) -> str:
    """`higher is better` or `lower is better`."""
    return "higher is better" if higher_is_better(metric) else "lower is better"


def sentence(
    row: dict,
    metric: str,
    level: float,
    margin: float | None,
) -> str:
    """What one contrast says, in words that need no statistics.

    Args:
        row: a row of `Comparison.contrasts` with its verdict.
        metric: what was compared.
        level: significance level; the intervals have `1 - level`.
        margin: differences below it do not matter; None if not stated.
    """
    verdicts = {
        "better": _different,
        "worse": _different,
        "equivalent": _equivalent,
        "not told apart": _not_told_apart,
        "cannot tell": _cannot_tell,
    }
    write = verdicts[row["verdict"]]
    text = write(row, metric, level, margin)
    if _never_differ(row):
        text = (
            f"{_arms(row)} have the same {metric} in each of {row['n']} pairs with the "
            "same seed."
        )
    text += _outcomes(row)

    if row["where"]:
        return f"At {row['where']}, {text}"
    # Other sentences begin with the name of an arm, which stays as it is.
    if text.startswith(("no ", "cannot ")):
        return capitalized(text)
    return text


def _arms(row: dict) -> str:
    return f"{row['arm']} and {row['baseline']}"


def _never_differ(row: dict) -> bool:
    if row["design"] != "paired" or row["n"] < 2:
        return False
    return row["low"] == row["high"] == 0


def _different(
    row: dict,
    metric: str,
    level: float,
    margin: float | None,
) -> str:
    way = "higher" if row["difference"] > 0 else "lower"
    size = number(abs(row["difference"]))
    text = (
        f"{row['arm']} does {row['verdict']} than {row['baseline']}: "
        f"its {metric} is {size} {way}{_factor(row, metric)} "
        f"({_evidence(row, level)}, {_tested(row)})."
    )
    if margin is not None and row["equivalence_p_holm"] < level:
        text += f" The difference is below the margin of {number(margin)}."
    return text + _meaningful(row)


def _evidence(row: dict, level: float) -> str:
    """Interval and data that a statement rests on, for a pair of parentheses."""
    confidence = percent(1 - level).removesuffix("%")
    low = signed(row["low"])
    high = signed(row["high"])
    text = f"{confidence} % interval {low} to {high}"

    n = row["n"]
    if row["design"] == "paired":
        text += f", {n} pairs of runs with the same seed"
    elif row["design"] == "folds":
        text += f", the same {n} folds in both arms, corrected for shared training data"
    else:
        text += f", {n} against {row['n_baseline']} independent runs"

    if row["left_out"]:
        text += f", {_num_runs(row['left_out'])} without a partner left out"
    return text


def _num_runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def _tested(row: dict, name: str = "p") -> str:
    text = p_value(row[f"{name}_holm"])
    if row["contrasts"] > 1:
        text += f" after Holm's correction for {row['contrasts']} contrasts"
    return text


def _factor(row: dict, metric: str) -> str:
    if not metric.startswith("log10 "):
        return ""
    return f", a factor of {10 ** abs(row['difference']):.3g}"


def _meaningful(row: dict) -> str:
    """Says if a difference of the means also shows in single runs.

    See `effects.probability_of_improvement`.
    """
    winner = row["arm"]
    loser = row["baseline"]
    probability = row["improvement"]
    low = row["improvement_low"]
    if row["verdict"] == "worse":
        winner, loser = loser, winner
        probability = 1 - probability
        low = 1 - row["improvement_high"]
    if not (probability >= MEANINGFUL and low > 0.5):
        return ""
    return (
        f" It is meaningful: a run of {winner} beats one of {loser} with probability "
        f"{probability:.2f}."
    )


def _equivalent(
    row: dict,
    metric: str,
    level: float,
    margin: float | None,
) -> str:
    tested = _tested(row, "equivalence_p")
    return (
        f"{_arms(row)} are equivalent in {metric} within ±{number(margin)}: "
        f"the difference is {signed(row['difference'])} "
        f"({_evidence(row, level)}, two one-sided tests {tested})."
    )


def _not_told_apart(
    row: dict,
    metric: str,
    level: float,
    margin: float | None,
) -> str:
    limits = ", and that is no proof that they are equal"
    if margin is not None:
        limits = f", nor that they are equivalent within ±{number(margin)}"
    text = (
        f"no difference in {metric} between {_arms(row)} was shown{limits}: "
        f"{signed(row['difference'])} "
        f"({_evidence(row, level)}, {_tested(row)})."
    )
    return text + _more_seeds(row, margin)


def _more_seeds(row: dict, margin: float | None) -> str:
    needed = row["sample_size"]
    if margin is None or math.isnan(needed) or needed <= row["n"]:
        return ""
    return (
        f" About {needed:.0f} seeds would show a difference of {number(margin)} with "
        "80 % power."
    )


def _cannot_tell(
    row: dict,
    metric: str,
    level: float,
    margin: float | None,
) -> str:
    n = min(row["n"], row["n_baseline"])
    question = f"whether {_arms(row)} differ in {metric}"
    if n == 0:
        return f"cannot tell {question}: {_no_values(row, metric)}"
    if n == 1:
        return (
            f"cannot tell with 1 run {question}: one run says nothing about the "
            f"spread; at least {SMALLEST_N} are needed."
        )

    unit = "folds" if row["design"] == "folds" else "seeds"
    text = (
        f"cannot tell with {n} {unit} {question}: the difference is "
        f"{signed(row['difference'])} ({_evidence(row, level)}), but "
        f"{_needed(row, level, n)}."
    )
    if margin is not None and math.isnan(row["equivalence_p"]):
        text += (
            f" Equivalence within ±{number(margin)} is not tested below {SMALLEST_N} "
            "either."
        )
    return text


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
    text = f"no run of {row[name]} finished"
    if row[f"failed{suffix}"]:
        text += f" ({row[f'failed{suffix}']} failed)"
    return text


def _needed(row: dict, level: float, n: int) -> str:
    """Why the test cannot show a difference, and what to run."""
    if row["design"] == "folds":
        return (
            f"no p-value is given below {SMALLEST_N} folds; dataset.num_folds=10 "
            "'dataset.fold=range(10)' has more"
        )
    if row["design"] != "paired":
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


def _outcomes(row: dict) -> str:
    """Names diverged runs, which are an outcome of their own and not in the means."""
    parts = []
    for name, suffix in SIDES:
        count = row[f"diverged{suffix}"]
        if count:
            parts.append(f"{_num_runs(count)} of {row[name]}")
    if not parts:
        return ""
    text = f"{' and '.join(parts)} diverged and cannot be in these means"
    if not math.isnan(row["trained_p"]):
        text += f" (trained as often: Fisher's {p_value(row['trained_p'])})"
    return f" {capitalized(text)}."
