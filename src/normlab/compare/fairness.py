"""Checks that the arms of a comparison differ in nothing but what is compared.

They read what every run stored. What one run can tell about itself, before it trains,
is in `normlab.training.cautions`.
"""

import ast
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from normlab.compare.arm_checks import (
    CHECKS,
    DIFFERENT,
    SAME,
    ArmPair,
    Check,
    group_prefix,
    initial_weights,
    parameters,
)
from normlab.compare.columns import rows_of_arm
from normlab.compare.origin_checks import ORIGIN_CHECKS
from normlab.compare.repetitions import repeated_runs, replaced_data
from normlab.compare.settings import (
    arm_labels,
    capitalized,
    group_labels,
    pairing_keys,
    sorted_labels,
)

START_COLUMNS = ("initial_weights", "num_parameters", "num_norm_parameters")

Groups = Sequence[tuple[str, pd.DataFrame]]


def fairness_checks(
    groups: Groups,
    by: Sequence[str],
    baseline: str,
) -> list[Check]:
    """All checks of every arm against the baseline, in every group.

    A check that passes everywhere is listed once.

    Args:
        groups: label of a group and its runs, with their arm in `arm`.
        by: the settings that are compared.
        baseline: the arm that the others are compared to.
    """
    checks: list[Check] = []
    for pair in _arm_pairs(groups, by, baseline):
        for check in (*CHECKS, *ORIGIN_CHECKS):
            checks += check(pair)
    for where, group in groups:
        checks += synchronization(where, group)
        checks += replaced_data(where, group)
        checks += repeated_runs(where, group)
    return _distinct(checks) + list(cautions(groups))


def start_warnings(
    settings: Sequence[dict[str, str]],
    results: Sequence[dict],
) -> list[str]:
    """Lines about arms that do not start from the same network outside of the norm.

    Args:
        settings: for every job of a sweep, the settings that vary between the jobs.
        results: for every job; those that never built a network are left out.
    """
    runs = _starts(settings, results)
    by = sorted(filter(_is_of_norm, runs.columns))
    if not by:
        return []
    runs = runs.assign(arm=arm_labels(runs, by))
    other = {*by, *START_COLUMNS, "arm", *pairing_keys(runs)}
    within = [key for key in runs.columns if key not in other]
    labels = group_labels(runs, within)
    groups = list(runs.groupby(labels, sort=False))
    arms = sorted_labels(runs["arm"])
    baseline = arms[0]
    if "none" in arms:
        baseline = "none"

    messages: dict[str, None] = {}
    for pair in _arm_pairs(groups, by, baseline):
        checks = [*initial_weights(pair), *parameters(pair)]
        for check in checks:
            if check.warns:
                messages[check.message] = None
    return list(messages)


def _starts(
    settings: Sequence[dict[str, str]],
    results: Sequence[dict],
) -> pd.DataFrame:
    """One row per job that built a network: its settings, and what it started from."""
    rows = []
    for job_settings, result in zip(settings, results, strict=True):
        start = {name: result.get(name) for name in START_COLUMNS}
        if None not in start.values():
            row = {"seed": "", **job_settings, **start}
            rows.append(row)
    return pd.DataFrame(rows)


def _is_of_norm(key: str) -> bool:
    return key == "norm" or key.startswith("norm.")


def _arm_pairs(
    groups: Groups,
    by: Sequence[str],
    baseline: str,
) -> Iterator[ArmPair]:
    """Every arm of every group with the baseline, in groups that have a baseline."""
    for where, group in groups:
        reference = rows_of_arm(group, baseline)
        if reference.empty:
            continue
        prefix = group_prefix(where)
        for arm in sorted_labels(group["arm"]):
            if arm == baseline:
                continue
            runs = rows_of_arm(group, arm)
            yield ArmPair(
                prefix,
                arm,
                baseline,
                runs,
                reference,
                by,
            )


def synchronization(where: str, group: pd.DataFrame) -> Iterator[Check]:
    """Whether the arms of runs on several devices normalize the same samples.

    A norm that looks at the batch sees the whole batch if it is synchronized, and the
    share of its own process otherwise.

    Args:
        where: label of the group.
        group: its runs, with their arm in `arm`.
    """
    if "device.devices" not in group:
        return
    num_devices = pd.to_numeric(group["device.devices"], errors="coerce")
    if not (num_devices > 1).any():
        return

    synchronized = _synchronized(group)
    arms = group.loc[synchronized.index, "arm"]
    with_shares = sorted_labels(arms[~synchronized])
    with_whole = sorted_labels(arms[synchronized])
    shares = ", ".join(with_shares)
    whole = ", ".join(with_whole)
    if shares and whole:
        prefix = group_prefix(where)
        message = (
            f"{prefix}of several processes, {shares} normalizes the share of each, "
            f"{whole} the whole batch."
        )
        yield Check("synchronization", DIFFERENT, capitalized(message), warns=True)
    elif shares or whole:
        samples = "the share of each" if shares else "the whole batch"
        message = (
            "Of several processes, every norm that looks at the batch normalizes "
            f"{samples}."
        )
        yield Check("synchronization", SAME, message)


def _synchronized(group: pd.DataFrame) -> pd.Series:
    """Whether the statistics of each run are over all processes.

    Runs whose norm does not look at the batch are left out. Older results do not record
    it, and their setting `norm.sync` stands in.
    """
    unknown = pd.Series(None, index=group.index, dtype=object)
    recorded = group.get("synchronized", unknown).astype(object)
    setting = group.get("norm.sync", unknown)
    known = recorded.where(recorded.notna(), setting)
    return known.dropna().astype(bool)


def cautions(groups: Groups) -> Iterator[Check]:
    """What the runs said before they trained, with the arms that said it.

    A caution of some arms only is a warning, since it may explain their difference.
    """
    found: dict[tuple[str, str, bool], list[str]] = {}
    for where, group in groups:
        num_arms = group["arm"].nunique()
        for text, arms in _arms_by_caution(group).items():
            shared = len(arms) == num_arms
            names = "all arms"
            if not shared:
                names = ", ".join(sorted_labels(arms))
            caution = (text, names, shared)
            found.setdefault(caution, []).append(where)

    for (text, names, shared), labels in found.items():
        message = f"{names}: {text}."
        if len(labels) < len(groups):
            message = group_prefix("; ".join(labels)) + message
        if shared:
            yield Check("cautions", SAME, capitalized(message))
        else:
            yield Check("cautions", DIFFERENT, message, warns=True)


def _arms_by_caution(group: pd.DataFrame) -> dict[str, set[str]]:
    """The arms with a run that has a caution, by caution."""
    found: dict[str, set[str]] = {}
    if "cautions" not in group:
        return found
    for arm, texts in zip(group["arm"], group["cautions"], strict=True):
        for text in _cautions(texts):
            found.setdefault(text, set()).add(arm)
    return found


def _cautions(cell: Any) -> list[str]:
    """The cautions of a run; a table that was read from CSV has them as a text."""
    if not isinstance(cell, str):
        return list(cell) if pd.api.types.is_list_like(cell) else []
    try:
        cautions = ast.literal_eval(cell)
    except (SyntaxError, ValueError):
        return [cell]
    return list(cautions) if isinstance(cautions, list | tuple) else [cell]


def _distinct(checks: list[Check]) -> list[Check]:
    """Every check once, grouped by name; of a name with warnings only the warnings."""
    by_name: dict[str, list[Check]] = {}
    for check in dict.fromkeys(checks):
        named = by_name.setdefault(check.name, [])
        named.append(check)
    found: list[Check] = []
    for named in by_name.values():
        warnings = [check for check in named if check.warns]
        found += warnings or named
    return found
