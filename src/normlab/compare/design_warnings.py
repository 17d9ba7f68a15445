"""Warnings about how contrasts were made: pairs, folds, and arms that spread unequally.

The sentence of a contrast says what follows from it; these lines say what to change.
"""

from collections.abc import Sequence

import pandas as pd

from normlab.compare.columns import NO_SEED, rows_of_arm
from normlab.compare.equivalence import spread_beside
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
    designs = set()
    for row in rows:
        group = group_of[row["where"]]
        designs.add(row["design"])
        lines += _pairing_lines(row, group, metric)
        lines += _spread_lines(row)
    if "folds" in designs:
        lines.append(
            "Folds share training data and are not independent: intervals and p-values "
            "are corrected for it (Nadeau and Bengio, 2003)."
        )
    return lines


def _at(row: dict) -> str:
    """Where a contrast was made: ` at model=vgg`; empty if there is one group only."""
    if not row["where"]:
        return ""
    return f" at {row['where']}"


def _pairing_lines(row: dict, group: pd.DataFrame, metric: str) -> list[str]:
    arm = row["arm"]
    baseline = row["baseline"]
    names = f"{arm} and {baseline}"
    at = _at(row)
    is_mean = row["test"] != "ranks"  # otherwise lost runs have the missing partners
    if row["design"] == "paired" and row["left_out"] and is_mean:
        all_runs = _all_runs(row, group, metric)
        return [f"{names}{at}: {all_runs}"]

    sizes = (row["n"], row["n_baseline"])
    single_runs = sizes == (1, 1)  # the verdict says why it is none
    if row["design"] != "independent" or 0 in sizes or single_runs:
        return []
    seeds = group["seed"].astype(str)
    if seeds.str.startswith(NO_SEED).all():
        return [f"{names}{at} have no seeds and are compared as independent runs."]
    return [
        f"{names} share too few seeds{at} "
        f"({_seeds(group, arm)} against {_seeds(group, baseline)}): "
        "compared as independent runs. The same seeds would make pairs."
    ]


def _all_runs(row: dict, group: pd.DataFrame, metric: str) -> str:
    """How many runs the pairs leave out, and what Welch's test says of all."""
    scored = finished_runs(group, metric)
    arm = rows_of_arm(scored, row["arm"])[metric].to_numpy(float)
    baseline = rows_of_arm(scored, row["baseline"])[metric].to_numpy(float)
    n = len(arm)
    n_baseline = len(baseline)
    text = (
        f"{row['left_out']} of {n + n_baseline} finished runs have no "
        f"partner with the same seed and are left out of the {row['n']} pairs."
    )
    difference = signed(arm.mean() - baseline.mean())
    (low, high), p = welch(arm, baseline)
    interval = f"{signed(low)} to {signed(high)}"
    return (
        f"{text} All of them as independent runs, by Welch's test: "
        f"{difference} (95 % interval {interval}, {n} against {n_baseline} runs, "
        f"{p_value(p)})."
    )


def _spread_lines(row: dict) -> list[str]:
    """A line if one arm spreads so much more that its mean hides rare runs."""
    if not row["spread_ratio"] > UNEQUAL_SPREADS:
        return []
    spread = spread_beside(row["spread_ratio"], "those of the other")
    return [
        f"Of {row['arm']} and {row['baseline']}{_at(row)}, the runs of one {spread}: "
        "their means may differ by rare runs that were not seen. Look at the single "
        "runs, the medians and P(better)."
    ]


def _seeds(group: pd.DataFrame, arm: str) -> str:
    """Up to four seeds of an arm; of more the first three and the last."""
    runs = rows_of_arm(group, arm)
    seeds = sorted_labels(runs["seed"].map(setting_text))
    if len(seeds) > 4:
        seeds[3:-1] = ["…"]
    return ", ".join(seeds)
