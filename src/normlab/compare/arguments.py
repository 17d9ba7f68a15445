"""Check the arguments of `compare` against the runs, and complete those left out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from normlab.compare.columns import check_key, metric_columns, rows_of_arm
from normlab.compare.predictions import have_predictions
from normlab.compare.settings import (
    check_keys,
    distinguishing_settings,
    only_repeats,
    setting_text,
    sorted_labels,
)
from normlab.config.seed_lists import seed_list

MAX_SEEDS_NAMED = 5
Seeds = str | int | Sequence[str | int]  # as `seed_list` reads them


@dataclass(frozen=True)
class Question:
    """The arguments of `compare`, checked and completed.

    Attributes:
        by: the settings that make an arm.
        within: the settings that make a group.
        metric: what is compared.
        baseline: the arm that the others are compared to.
        planned: the arms that are compared to the baseline.
        margin: differences below it do not matter; a number, a share of the baseline's
            mean such as `5%`, or None.
        level: probability of a false alarm over all contrasts.
        select: the setting of which every arm keeps its best value; None for none.
        confirm: seeds that only test the chosen values, as text.
        incomplete: whether an arm may choose from a grid that lacks runs.
    """

    by: list[str]
    within: list[str]
    metric: str
    baseline: str
    planned: list[str]
    margin: float | str | None
    level: float
    select: str | None
    confirm: tuple[str, ...] = ()
    incomplete: bool = False


def seeds_of_the_test(
    select: str | None,
    confirm: Seeds | None,
    incomplete: bool,
) -> tuple[str, ...]:
    """The seeds that only test chosen values, as text; none by default.

    Raises:
        ValueError: there is nothing to choose, or a seed is no whole number.
    """
    named = "confirm" if confirm is not None else "incomplete"
    if not select and (confirm is not None or incomplete):
        raise ValueError(
            f"{named} must come with `select`, the setting whose values are chosen"
        )
    if confirm is None:
        return ()
    return tuple(map(setting_text, seed_list("confirm", confirm)))


def name_list(names: str | Sequence[str]) -> list[str]:
    """The distinct names; a single name may be given as a string."""
    if isinstance(names, str):
        return [names]
    return list(dict.fromkeys(names))


def check_arguments(
    runs: pd.DataFrame,
    by: list[str],
    metric: str,
    level: float,
    select: str | None,
) -> None:
    """Refuse arguments of `compare` that the runs cannot answer.

    Raises:
        ValueError: no runs, an unknown setting or metric, a setting that only repeats a
            run, or a level outside of 0 to 1.
    """
    if runs.empty:
        raise ValueError("there must be runs to compare, and the table has none")
    if not by:
        raise ValueError("by must name a setting, such as norm; it names none")
    argument_of = dict.fromkeys(by, "by")
    if select:
        argument_of.setdefault(select, "select")
    check_keys(runs, list(argument_of))
    for key, argument in argument_of.items():
        if only_repeats(key):
            raise ValueError(
                f"{argument} must name a setting that changes what is trained; {key} "
                "only repeats it"
            )
    if select in by:
        raise ValueError(
            "select must name a setting besides those that make the arms, and "
            f"{select} is in `by`"
        )

    if not (runs["status"] == "finished").any():  # such runs need not have any metric
        raise ValueError(_nothing_finished(runs, metric))
    check_key(metric, metric_columns(runs), "metric")
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")


def _nothing_finished(runs: pd.DataFrame, metric: str) -> str:
    counts = []
    for status, count in runs["status"].value_counts().items():
        counts.append(f"{count} {status}")
    if not (runs["status"] == "finished").any():
        counts.append("none finished")
    return (
        f"no finished run has {metric}: {', '.join(counts)}; look at the reasons in "
        "result.json"
    )


def arm_and_group_keys(
    runs: pd.DataFrame,
    by: list[str],
    within: list[str] | None,
    select: str | None,
) -> tuple[list[str], list[str]]:
    """The settings that make the arms, and those that make the groups.

    By default all settings that vary make groups, except for options of a compared
    setting: `norm.momentum=0.1` and `norm.momentum=0.01` are two arms of one norm.

    Args:
        runs: from `load_runs`.
        by: the settings that the user compares.
        within: the settings that the user groups by; None if not stated.
        select: the setting of which every arm keeps its best value.
    """
    arm_keys = list(by)
    group_keys = []
    if within is not None:
        check_keys(runs, within)
        for key in within:
            if key not in (*by, select) and _varies(runs, key):
                group_keys.append(key)
        return arm_keys, group_keys

    options = tuple(f"{name}." for name in by)
    for key in distinguishing_settings(runs, by):
        if key == select:
            continue
        if key.startswith(options):
            arm_keys.append(key)
        else:
            group_keys.append(key)
    return arm_keys, group_keys


def _varies(runs: pd.DataFrame, key: str) -> bool:
    return runs[key].nunique(dropna=False) > 1


def choose_baseline(runs: pd.DataFrame, wanted: str | None) -> str:
    """The arm of that name; by default the first that begins with `none`, or the first.

    Args:
        runs: with their arm in `arm`.
        wanted: what the user named.

    Raises:
        ValueError: if there is no such arm.
    """
    arms = sorted_labels(runs["arm"])
    if wanted is not None:
        return check_key(setting_text(wanted), arms, "arm")
    for arm in arms:
        if arm.split(", ")[0] == "none":
            return arm
    return arms[0]


def planned_arms(
    runs: pd.DataFrame,
    wanted: list[str] | None,
    baseline: str,
) -> list[str]:
    """The arms that are compared to the baseline; by default all others.

    Args:
        runs: with their arm in `arm`.
        wanted: what the user named.
        baseline: the arm that the others are compared to.

    Raises:
        ValueError: an unknown arm, or only the baseline.
    """
    arms = sorted_labels(runs["arm"])
    others = [arm for arm in arms if arm != baseline]
    if wanted is None:
        return others

    texts = list(map(setting_text, wanted))
    named_arms = name_list([check_key(text, arms, "arm") for text in texts])
    planned = [arm for arm in named_arms if arm != baseline]
    if others and not planned:
        named = ", ".join(texts)
        raise ValueError(
            f"arms must name arms besides the baseline {baseline}, such as "
            f"{others[0]}; got {named}"
        )
    return planned


def refuse_single_runs(
    runs: pd.DataFrame,
    metric: str,
    within: list[str],
    summaries: pd.DataFrame,
) -> None:
    """Refuse a comparison in which no arm has two runs.

    Single runs can still be compared by their test predictions, sample by sample.

    Args:
        runs: all compared runs.
        metric: what is compared.
        within: the settings that make a group.
        summaries: one row per arm and group.

    Raises:
        ValueError: with the likely reason.
    """
    most = summaries["n"].max()
    if most >= 2:
        return
    if most == 0:
        raise ValueError(_nothing_finished(runs, metric))
    for key in within:
        if only_repeats(key):
            raise ValueError(
                "every arm must have at least two runs to compare: leave "
                f"{key} out of `within`"
            )
    if metric == "test/accuracy" and have_predictions(runs):
        return
    seeds = sorted_labels(runs["seed"].map(setting_text))
    named = ", ".join(seeds[:MAX_SEEDS_NAMED])
    raise ValueError(
        f"every arm must have at least two runs, each has one (seed {named}): "
        "one run says nothing about the spread; train more seeds, such as "
        "-m seed=0,1,2,3,4,5,6,7,8,9"
    )


def group_margins(
    margin: float | str | None,
    summaries: pd.DataFrame,
    baseline: str,
) -> dict[str, float]:
    """The margin of every group as a number, in units of the metric.

    A share such as `5%` is one of the mean of the baseline in the same group.

    Args:
        margin: a number, a share of the baseline's mean such as `5%`, or None.
        summaries: one row per arm and group.
        baseline: the arm that the others are compared to.

    Returns:
        By label of the group; empty if no margin is given. A share has none in groups
        whose baseline has no mean.

    Raises:
        ValueError: if the margin is not a positive number.
    """
    if margin is None:
        return {}
    text = str(margin)
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ValueError(
            "margin must be a number above 0 such as 0.003, or a share such as 5%, "
            f"got {margin}"
        )
    if not text.endswith("%"):
        return dict.fromkeys(summaries["where"], value)
    margins = {}
    of_baseline = rows_of_arm(summaries, baseline)
    for where, mean in zip(of_baseline["where"], of_baseline["mean"], strict=True):
        size = abs(mean)
        if size > 0:  # not so of NaN
            margins[where] = value / 100 * size
    return margins
