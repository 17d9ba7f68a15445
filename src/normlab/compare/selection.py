"""Choosing a hyperparameter's value for every arm, and saying when the grid was too small."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from normlab.compare.runs import LARGEST_STABLE_RATE
from normlab.compare.settings import arm_labels, setting_text, sorted_labels
from normlab.metrics import higher_is_better

LEARNING_RATES = ("lr", "max_lr")


def validation_metric(runs: pd.DataFrame, metric: str) -> str:
    """The metric's namesake on the validation part, which choices must be made on; itself if there is none."""
    other = f"val/{metric.partition('/')[2]}"
    return other if metric.startswith("test/") and other in runs else metric


def best_values(
    runs: pd.DataFrame, key: str, within: Sequence[str], metric: str
) -> pd.Series:
    """The best value of `key` for every group and arm, by the mean over seeds.

    Values at which the most runs finished come first; among them the best mean counts.
    """
    good = (runs["status"] == "finished") & np.isfinite(runs[metric].astype(float))
    table = runs.assign(good=good, score=runs[metric].astype(float).where(good))
    found = table.groupby([*within, "arm", key], dropna=False).agg(
        good=("good", "sum"), score=("score", "mean")
    )
    found = found.reset_index().sort_values(
        ["good", "score"], ascending=[False, not higher_is_better(metric)]
    )
    return found.drop_duplicates([*within, "arm"]).set_index([*within, "arm"])[
        key
    ]  # first() would skip no value


def keep_best(
    runs: pd.DataFrame, key: str, within: Sequence[str], metric: str
) -> tuple[pd.DataFrame, list[str]]:
    """The runs at every arm's best value of `key`, chosen on validation, and a line for each choice.

    An arm that does not have the setting is at its best without it. Without a validation metric the choice is made on
    the metric itself, which a line says.
    """
    chosen_by = validation_metric(runs, metric)
    best = best_values(runs, key, within, chosen_by)
    columns = [*within, "arm"]
    wanted = [
        best[tuple(row) if within else row[0]]
        for row in runs[columns].itertuples(index=False, name=None)
    ]
    matches = [
        value == want or (pd.isna(value) and pd.isna(want))
        for value, want in zip(runs[key], wanted, strict=True)
    ]
    told = []
    if chosen_by == metric:
        told.append(
            f"The best {key} was chosen by {metric}, the scores that are compared, for want of a validation metric: "
            "an arm for which more values were tried has the advantage."
        )
    for place, value in best.items():
        *group, arm = place if isinstance(place, tuple) else (place,)
        at = "".join(
            f", {name}={setting_text(part)}"
            for name, part in zip(within, group, strict=True)
        )
        if pd.isna(value) and runs.loc[runs["arm"] == arm, key].isna().all():
            told.append(f"{arm}{at} has no {key} and is compared as it is.")
        else:
            told.append(
                f"{arm}{at}: {key}={setting_text(value)} has the best mean {chosen_by} of its grid and is used."
            )
    return runs[matches], told + edge_warnings(runs, [], [*within, key], metric)


def edge_warnings(
    runs: pd.DataFrame, by: Sequence[str], within: Sequence[str], metric: str
) -> list[str]:
    """A line for every arm whose best learning rate is the smallest or largest that was tried.

    Where the rate is itself part of the arms, what is left of their names counts as the arm.
    """
    told = []
    for key in [*by, *within]:
        if key.rpartition(".")[2] not in LEARNING_RATES:
            continue
        rest, others = (
            [name for name in names if name != key] for names in (by, within)
        )
        table = (
            runs.assign(arm=arm_labels(runs, rest) if rest else "all runs")
            if key in by
            else runs
        )
        best = best_values(table, key, others, validation_metric(table, metric))
        tried = table.groupby([*others, "arm"], dropna=False)[key].agg(
            ["min", "max", "nunique"]
        )
        for place, value in best.items():
            low, high, count = tried.loc[place]
            if count > 1 and value in (low, high):
                *group, arm = place if isinstance(place, tuple) else (place,)
                at = "".join(
                    f", {name}={setting_text(part)}"
                    for name, part in zip(others, group, strict=True)
                )
                end = "smallest" if value == low else "largest"
                told.append(
                    f"{arm}{at}: the best {key}, {setting_text(value)}, is the {end} that was tried; extend the grid before "
                    "comparing arms at their best."
                )
    return told


def largest_stable(
    runs: pd.DataFrame, key: str, within: Sequence[str], metric: str, tolerance: float
) -> pd.DataFrame:
    """One row for every arm, group and seed: the largest `key` that still trains.

    A value trains if its run finished within `tolerance` of the best run of the same arm, group and seed. The new
    column `log10 largest stable learning rate` is empty where no run finished.
    """
    identity = [*within, "arm", "seed"]
    sign = 1 if higher_is_better(metric) else -1
    good = (runs["status"] == "finished") & np.isfinite(runs[metric].astype(float))
    score = (sign * runs[metric].astype(float)).where(good)
    best = score.groupby([runs[name] for name in identity], dropna=False).transform(
        "max"
    )
    stable = runs[key].astype(float).where(score >= best - tolerance)
    table = runs.assign(**{LARGEST_STABLE_RATE: np.log10(stable)}).sort_values(
        LARGEST_STABLE_RATE, na_position="first"
    )
    last = table.groupby(identity, dropna=False).tail(1)
    finished = last[LARGEST_STABLE_RATE].notna()
    return (
        last.assign(status=np.where(finished, "finished", "diverged"))
        .drop(columns=key)
        .sort_index()
    )


def stable_edge_warnings(
    runs: pd.DataFrame, table: pd.DataFrame, key: str
) -> list[str]:
    """A line for every arm that still trains at the largest value tried: the truth may be larger."""
    told = []
    top = runs[key].astype(float).max()
    for arm in sorted_labels(list(table["arm"])):
        part = table[table["arm"] == arm]
        count = int(
            np.isclose(part[LARGEST_STABLE_RATE].astype(float), np.log10(top)).sum()
        )
        if count:
            told.append(
                f"{arm}: {count} of {len(part)} seeds still train at the largest {key} tried, {setting_text(top)}."
            )
    return told
