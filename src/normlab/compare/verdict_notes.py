"""Further sentences about a contrast: what its verdict leaves open, and why."""

import math

from normlab.compare.equivalence import spread_beside
from normlab.compare.sentences import counted, number, p_value, percent, signed
from normlab.compare.settings import capitalized

# Names of the two arms in a row of contrasts, and the end of the columns about them.
SIDES = (("arm", ""), ("baseline", "_baseline"))
# Probability that a run of one arm beats one of the other; Bouthillier et al. (2021).
MEANINGFUL = 0.75


def meaningful_note(row: dict, level: float) -> str:
    """Says if a difference of the means also shows in single runs.

    See `effects.probability_of_improvement`.

    Args:
        row: of a contrast that is better or worse.
        level: significance level of the interval.
    """
    count = row["pairs"]
    ties = row["ties"]
    if row["verdict"] == "worse":
        winner = row["baseline"]
        probability = 1 - row["improvement"]
        low = 1 - row["improvement_high"]
        high = 1 - row["improvement_low"]
        wins = count - row["wins"] - ties
    else:
        winner = row["arm"]
        probability = row["improvement"]
        low = row["improvement_low"]
        high = row["improvement_high"]
        wins = row["wins"]
    if not (probability >= MEANINGFUL and low > 0.5):
        return ""
    confidence = percent(1 - level).removesuffix("%")
    interval = f"{confidence} % interval {low:.2f} to {high:.2f}"
    if not count:
        return (
            f" It is meaningful: of the comparisons of one run with another, {winner} "
            f"wins {percent(probability)} ({interval})."
        )
    pairs = f"{wins} of {count} pairs"
    if ties:
        pairs += f", with {counted(ties, 'tie')}"
    return (
        f" It is meaningful: {winner} is the better one in {pairs} "
        f"(P(better) {interval})."
    )


def lost_note(row: dict) -> str:
    """How many runs of both arms diverged or failed; empty if none did.

    Args:
        row: of the contrast.
    """
    texts = []
    trained_p = row["trained_p"]
    for status in ("diverged", "failed"):
        total = 0
        parts = []
        for name, suffix in SIDES:
            count = row[f"{status}{suffix}"]
            num_runs = row[f"runs{suffix}"]
            total += count
            parts.append(f"{count} of {num_runs} runs of {row[name]}")
        if total == 0:
            continue
        text = f"{' and '.join(parts)} {status}"
        if status == "diverged" and not math.isnan(trained_p):
            text += f" (trained as often: Fisher's {p_value(trained_p)})"
        texts.append(f" {capitalized(text)}.")
    return "".join(texts)


def collapsed_note(row: dict) -> str:
    """How many finished runs are far worse than the rest of their arm.

    Args:
        row: of the contrast.
    """
    parts = []
    for name, suffix in SIDES:
        count = row[f"collapsed{suffix}"]
        num_finished = row[f"n{suffix}"]
        if count:
            parts.append(f"{count} of {num_finished} of {row[name]}")
    if not parts:
        return ""
    return f" Finished runs far worse than the rest of their arm: {', '.join(parts)}."


def spread_note(row: dict) -> str:
    """What a mean cannot say if one arm spreads far more than the other.

    Args:
        row: of the contrast.
    """
    spreads = [(row["sd"], row["arm"]), (row["sd_baseline"], row["baseline"])]
    (smaller, calm), (larger, wide) = sorted(spreads)
    spread = spread_beside(row["spread_ratio"], f"those of {calm}")
    median = signed(row["median"])
    return (
        f" The runs of {wide} {spread} (SD {number(larger)} against "
        f"{number(smaller)}), so the means say little about rare bad runs: "
        f"the median difference is {median}{_wins(row)}."
    )


def _wins(row: dict) -> str:
    if not row["pairs"]:
        return f", and P(better) is {row['improvement']:.2f}"
    return f", and {row['arm']} wins {row['wins']} of {row['pairs']} pairs"


def detectable_note(row: dict) -> str:
    """The smallest difference that this number of runs would show.

    Args:
        row: of a contrast that leaves the question open.
    """
    if math.isnan(row["detectable"]):
        return ""
    units = {"paired": "pairs", "folds": "folds"}
    unit = units.get(row["design"], "runs per arm")
    count = row["detectable_n"]
    difference = number(row["detectable"])
    text = f" With 80 % power, {count} {unit} show a difference of {difference}"
    if count > row["n"]:
        text += ", if they spread like these"
    return f"{text}."


def more_seeds_note(row: dict) -> str:
    """How many new runs would show a difference as large as the margin.

    Args:
        row: of the contrast.
    """
    needed = row["sample_size"]
    if math.isnan(needed) or needed <= row["n"]:
        return ""
    unit = "folds" if row["design"] == "folds" else "new seeds"
    return (
        f" About {needed:,.0f} {unit} would show a difference of "
        f"{number(row['margin'])} with 80 % power if they spread like these; added to "
        "these, they would be a second look."
    )
