"""One plain sentence for a contrast."""

import math

from normlab.compare.inference import SMALLEST_N, seeds_needed
from normlab.metrics import higher_is_better

SIDES = (
    ("arm", ""),
    ("baseline", "_baseline"),
)  # name, and end of the columns about it
MEANINGFUL = 0.75  # probability that a run of one arm beats one of the other; Bouthillier et al. (2021)


def number(value: float) -> str:
    """Four decimals for numbers about one, four digits for larger ones, two for small ones, a dash for none."""
    if value is None or math.isnan(value):
        return "–"
    if value == 0 or 0.001 <= abs(value) < 100:
        return f"{value:.4f}"
    if 1e-6 <= abs(value) < 0.001:
        return f"{value:.{1 - math.floor(math.log10(abs(value)))}f}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def signed(value: float) -> str:
    """`+0.0123`, with a true minus sign."""
    return (
        "–" if math.isnan(value) else f"{'−' if value < 0 else '+'}{number(abs(value))}"
    )


def percent(share: float) -> str:
    """`95%`, with decimals where the share is near none or all: `99.9%`, `0.01%`; a dash for none."""
    if math.isnan(share):
        return "–"
    rarer = min(share, 1 - share)
    decimals = (
        max(0, -1 - math.floor(math.log10(rarer))) if rarer > 0 else 0
    )  # two digits of the rarer side
    shown = f"{share:.{decimals}%}".removesuffix("%")
    return f"{shown.rstrip('0').rstrip('.') if '.' in shown else shown}%"


def p_value(value: float) -> str:
    """`p = 0.031`, `p < 0.001`."""
    if math.isnan(value):
        return "no p-value"
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def sentence(row: dict, metric: str, level: float, margin: float | None) -> str:
    """What one contrast says, in words that need no statistics.

    Args:
        row: a row of `Comparison.contrasts`.
        metric: what was compared.
        level: of the intervals and tests.
        margin: differences below it do not matter; None if not stated.
    """
    at = f"At {row['where']}, " if row["where"] else ""
    text = {
        "better": _different,
        "worse": _different,
        "equivalent": _equivalent,
        "not told apart": _not_told_apart,
        "cannot tell": _cannot_tell,
    }[row["verdict"]](row, metric, level, margin)
    if row["design"] == "paired" and row["n"] > 1 and row["low"] == row["high"] == 0:
        text = f"{row['arm']} and {row['baseline']} have the same {metric} in each of {row['n']} pairs with the same seed."
    if not at and text.startswith(
        ("no ", "cannot ")
    ):  # other sentences begin with the name of an arm
        text = text[0].upper() + text[1:]
    return at + text + _outcomes(row)


def _evidence(row: dict, level: float) -> str:
    n = row["n"]
    runs = {
        "paired": f"{n} pairs of runs with the same seed",
        "folds": f"the same {n} folds in both arms, corrected for shared training data",
        "independent": f"{n} against {row['n_baseline']} independent runs",
    }[row["design"]]
    if row["left_out"]:
        runs += f", {row['left_out']} {'run' if row['left_out'] == 1 else 'runs'} without a partner left out"
    return f"{percent(1 - level).replace('%', ' %')} interval {signed(row['low'])} to {signed(row['high'])}, {runs}"


def _tested(row: dict, name: str = "p") -> str:
    count = row["contrasts"]
    holm = f" after Holm's correction for {count} contrasts" if count > 1 else ""
    return f"{p_value(row[f'{name}_holm'])}{holm}"


def _different(row: dict, metric: str, level: float, margin: float | None) -> str:
    way = "higher" if row["difference"] > 0 else "lower"
    small = margin is not None and row["equivalence_p_holm"] < level
    also = f" The difference is below the margin of {number(margin)}." if small else ""
    also += _meaningful(row)
    return (
        f"{row['arm']} does {row['verdict']} than {row['baseline']}: its {metric} is "
        f"{number(abs(row['difference']))} {way}{_factor(row, metric)} ({_evidence(row, level)}, {_tested(row)}).{also}"
    )


def _meaningful(row: dict) -> str:
    """Whether a difference that is there also shows in single runs (`inference.probability_of_improvement`)."""
    names, value, low = (
        (row["arm"], row["baseline"]),
        row["improvement"],
        row["improvement_low"],
    )
    if row["verdict"] == "worse":
        names, value, low = names[::-1], 1 - value, 1 - row["improvement_high"]
    if not (value >= MEANINGFUL and low > 0.5):
        return ""
    return f" It is meaningful: a run of {names[0]} beats one of {names[1]} with probability {value:.2f}."


def _factor(row: dict, metric: str) -> str:
    return (
        f", a factor of {10 ** abs(row['difference']):.3g}"
        if metric.startswith("log10 ")
        else ""
    )


def _equivalent(row: dict, metric: str, level: float, margin: float | None) -> str:
    return (
        f"{row['arm']} and {row['baseline']} are equivalent in {metric} within ±{number(margin)}: the difference is "
        f"{signed(row['difference'])} ({_evidence(row, level)}, two one-sided tests {_tested(row, 'equivalence_p')})."
    )


def _not_told_apart(row: dict, metric: str, level: float, margin: float | None) -> str:
    more = ", and that is no proof that they are equal"
    if margin is not None:
        more = f", nor that they are equivalent within ±{number(margin)}"
    return (
        f"no difference in {metric} between {row['arm']} and {row['baseline']} was shown{more}: "
        f"{signed(row['difference'])} ({_evidence(row, level)}, {_tested(row)}).{_more_seeds(row, margin)}"
    )


def _cannot_tell(row: dict, metric: str, level: float, margin: float | None) -> str:
    n, count = min(row["n"], row["n_baseline"]), row["contrasts"]
    whether = f"whether {row['arm']} and {row['baseline']} differ in {metric}"
    if n == 0 and row["left_out"]:
        return (
            f"cannot tell {whether}: no run of one shares fold and seed with a run of the other, and folds are never "
            "compared as independent runs; run both arms on the same folds and seeds."
        )
    if n == 0:
        none = " and ".join(
            _no_result(row, name, end, metric)
            for name, end in SIDES
            if not row[f"n{end}"]
        )
        return f"cannot tell {whether}: {none}."
    start = f"cannot tell with {n} {'run' if n == 1 else 'folds' if row['design'] == 'folds' else 'seeds'} {whether}"
    if n == 1:
        return f"{start}: one run says nothing about the spread; at least {SMALLEST_N} are needed."
    advice = f"no p-value is given below {SMALLEST_N} runs an arm"
    if row["design"] == "folds":
        advice = f"no p-value is given below {SMALLEST_N} folds; dataset.num_folds=10 'dataset.fold=range(10)' has more"
    if row["design"] == "paired":
        times = f", times {count} contrasts" if count > 1 else ""
        needed = seeds_needed(level, count)
        run = (
            f"at least {needed} pairs are needed"
            if row["left_out"]
            else f"run at least {needed} seeds"
        )
        advice = f"the exact test of {n} pairs cannot give a p below {row['attainable_p']:.3g}{times}; {run}"
    untested = margin is not None and math.isnan(row["equivalence_p"])
    equal = (
        f" Equivalence within ±{number(margin)} is not tested below {SMALLEST_N} either."
        if untested
        else ""
    )
    return f"{start}: the difference is {signed(row['difference'])} ({_evidence(row, level)}), but {advice}.{equal}"


def _no_result(row: dict, name: str, suffix: str, metric: str) -> str:
    if row[f"without_metric{suffix}"]:
        return f"no finished run of {row[name]} has {metric}"
    failed = row[f"failed{suffix}"]
    return f"no run of {row[name]} finished" + (f" ({failed} failed)" if failed else "")


def _more_seeds(row: dict, margin: float | None) -> str:
    if (
        margin is None
        or math.isnan(row["sample_size"])
        or row["sample_size"] <= row["n"]
    ):
        return ""
    return f" About {row['sample_size']:.0f} seeds would show a difference of {number(margin)} with 80 % power."


def _outcomes(row: dict) -> str:
    """Diverged runs are no part of the means, and an outcome of their own."""
    counts = [
        (row["arm"], row["diverged"]),
        (row["baseline"], row["diverged_baseline"]),
    ]
    told = " and ".join(
        f"{count} {'run' if count == 1 else 'runs'} of {arm}"
        for arm, count in counts
        if count
    )
    if not told:
        return ""
    test = (
        ""
        if math.isnan(row["trained_p"])
        else f" (trained as often: Fisher's {p_value(row['trained_p'])})"
    )
    return f" {told[0].upper()}{told[1:]} diverged and cannot be in these means{test}."


def direction(metric: str) -> str:
    """`higher is better` or `lower is better`."""
    return "higher is better" if higher_is_better(metric) else "lower is better"
