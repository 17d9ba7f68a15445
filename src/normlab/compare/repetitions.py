"""Checks of the runs of one arm: are they repetitions, each of its own?"""

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from normlab.compare.arm_checks import DIFFERENT, SAME, Check, group_prefix
from normlab.compare.columns import rows_of_arm
from normlab.compare.settings import (
    capitalized,
    distinct_texts,
    pairing_keys,
    sorted_labels,
)
from normlab.metrics import higher_is_better, is_metric

DIGITS = 4  # decimals; a number that has no more may be rounded


def repeated_runs(where: str, group: pd.DataFrame) -> Iterator[Check]:
    """Whether runs of several seeds agree to the last digit, as copies of a run do.

    Losses do not tie by chance, unless they are rounded. Accuracies do, so without
    losses the first weights have to agree too.

    Args:
        where: label of the group.
        group: its runs, with their arm in `arm`.
    """
    keys, evidence = _compared_columns(group)
    finished = group[group["status"] == "finished"]
    is_telling = finished[evidence].map(_is_telling)
    judged = finished[is_telling.any(axis=1)]
    for arm in sorted_labels(judged["arm"]):
        runs = rows_of_arm(judged, arm)
        alike = runs.groupby(keys, dropna=False)["seed"]
        num_seeds = alike.transform("nunique")
        copies = runs[num_seeds > 1]
        if len(copies):
            prefix = group_prefix(where)
            yield _told(prefix, arm, copies, len(runs))


def _is_telling(value: Any) -> bool:
    """Whether a value would not be met twice: a digest, or a number of many digits."""
    if isinstance(value, float):
        return math.isfinite(value) and value != round(value, DIGITS)
    return isinstance(value, str)


def _compared_columns(group: pd.DataFrame) -> tuple[list[str], list[str]]:
    """The columns in which copies agree, and those of which a run must have one."""
    metrics = list(filter(is_metric, group.columns))
    losses = []
    for name in metrics:
        is_loss = not higher_is_better(name)
        if is_loss:
            losses.append(name)
    if losses:
        return losses, losses
    weights = []
    name = "initial_weights"
    if name in group:
        weights.append(name)
    return [*metrics, *weights], weights


def _told(prefix: str, arm: str, copies: pd.DataFrame, num_runs: int) -> Check:
    seeds = distinct_texts(copies["seed"])
    count = len(copies)
    message = (
        f"{prefix}{count} of {num_runs} runs of {arm} agree with another run to "
        f"the last digit (seeds {seeds}): either they are copies or the seed has no "
        "effect, and they say no more than one run."
    )
    return Check("different seeds", SAME, message, warns=True)


def replaced_data(where: str, group: pd.DataFrame) -> Iterator[Check]:
    """Whether runs of one arm that differ in their seed had different data.

    Args:
        where: label of the group.
        group: its runs, with their arm in `arm`.
    """
    if "data_digest" not in group:
        return
    others = pairing_keys(group)[1:]  # all but the seed
    found = group.dropna(subset="data_digest")
    keys = ["arm", *others]
    alike = found.groupby(keys, dropna=False)
    versions = alike["data_digest"].transform("nunique")
    for arm in sorted_labels(found["arm"]):
        is_own = found["arm"] == arm
        most = versions[is_own].max()
        if most > 1:
            prefix = group_prefix(where)
            message = (
                f"{prefix}the runs of {arm} had {most} versions of the data: files "
                "were replaced while the runs were made."
            )
            yield Check("data", DIFFERENT, capitalized(message), warns=True)
