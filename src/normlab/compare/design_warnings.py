"""Warnings about how contrasts were made: pairs, folds, and arms that spread unequally.

The sentence of a contrast says what follows from it; these lines say what to change.
"""

from collections.abc import Sequence

import pandas as pd

from normlab.compare.columns import NO_SEED
from normlab.compare.equivalence import times
from normlab.compare.inference import welch
from normlab.compare.sentences import p_value, signed
from normlab.compare.settings import setting_text, sorted_labels
from normlab.compare.shapes import UNEQUAL_SPREADS
from normlab.compare.summaries import finished_runs

Groups = Sequence[tuple[str, pd.DataFrame]]


def design_warnings(contrasts: pd.DataFrame, groups: Groups, metric: str) -> list[str]:
    """Lines about contrasts that rest on less than pairs of like arms.

    Args:
        contrasts: the table of a comparison, which may have no rows.
        groups: label of a group and its runs, with their arm in `arm`.
        metric: what was compared.
    """
    rows = contrasts.to_dict("records")
    group_of = dict(groups)
    lines = []
    for row in rows:
        lines += _pairing_lines(row, group_of[row["where"]], metric)
        lines += _spread_lines(row)
    if any(row["design"] == "folds" for row in rows):
        lines.append(
            "Folds share training data and are not independent: intervals and p-values "
            "are corrected for it (Nadeau and Bengio, 2003)."
        )
    return lines


def _pairing_lines(row: dict, group: pd.DataFrame, metric: str) -> list[str]:
    at = f" at {row['where']}" if row["where"] else ""
    names = f"{row['arm']} and {row['baseline']}"
    is_mean = row["test"] != "ranks"  # otherwise lost runs have the missing partners
    if row["design"] == "paired" and row["left_out"] and is_mean:
        return [f"{names}{at}: {_all_runs(row, group, metric)}"]
    has_values = min(row["n"], row["n_baseline"]) > 0
    single_runs = row["n"] == row["n_baseline"] == 1  # the verdict says why it is none
    if row["design"] != "independent" or not has_values or single_runs:
        return []
    if group["seed"].astype(str).str.startswith(NO_SEED).all():
        return [f"{names}{at} have no seeds and are compared as independent runs."]
    return [
        f"{names} share too few seeds{at} "
        f"({_seeds(group, row['arm'])} against {_seeds(group, row['baseline'])}): "
        "compared as independent runs. The same seeds would make pairs."
    ]


def _all_runs(row: dict, group: pd.DataFrame, metric: str) -> str:
    """How many runs the pairs leave out, and what Welch's test says of all."""
    scored = finished_runs(group, metric)
    arm = scored.loc[scored["arm"] == row["arm"], metric].to_numpy(float)
    baseline = scored.loc[scored["arm"] == row["baseline"], metric].to_numpy(float)
    text = (
        f"{row['left_out']} of {len(arm) + len(baseline)} finished runs have no "
        f"partner with the same seed and are left out of the {row['n']} pairs."
    )
    (low, high), p = welch(arm, baseline)
    return (
        f"{text} All of them as independent runs, by Welch's test: "
        f"{signed(arm.mean() - baseline.mean())} (95 % interval {signed(low)} to "
        f"{signed(high)}, {len(arm)} against {len(baseline)} runs, {p_value(p)})."
    )


def _spread_lines(row: dict) -> list[str]:
    """A line if one arm spreads so much more that its mean hides rare runs."""
    if not row["spread_ratio"] > UNEQUAL_SPREADS:
        return []
    at = f" at {row['where']}" if row["where"] else ""
    return [
        f"Of {row['arm']} and {row['baseline']}{at}, one spreads "
        f"{times(row['spread_ratio'])} as much as the other: their means may differ by "
        "rare runs that were not seen. Look at the single runs, the medians and "
        "P(better)."
    ]


def _seeds(group: pd.DataFrame, arm: str) -> str:
    """Up to four seeds of an arm; of more the first three and the last."""
    runs = group[group["arm"] == arm]
    seeds = sorted_labels(runs["seed"].map(setting_text))
    if len(seeds) > 4:
        seeds = [*seeds[:3], "…", seeds[-1]]
    return ", ".join(seeds)
