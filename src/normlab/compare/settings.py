"""Which settings tell runs apart: those of arms, groups and pairs, and others."""

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from normlab.compare.columns import (
    CHANGED_ORIGIN,
    CHOICES,
    check_key,
    setting_columns,
)
from normlab.metrics import HIGHER_IS_BETTER, direction_is_known

NO_SETTING = "–"  # shown where a run does not have a setting
# Names of columns with the origin of a run, and what their values are.
ORIGINS = {
    "environment.git.commit": "commits",
    "environment.packages.torch": "versions of PyTorch",
    "environment.device.name": "devices",
}
MAX_ORIGINS = 4
MAX_DIFFERING = 4
LARGEST_WHOLE = 1e15  # up to here, a real number is shown as the whole number it is


def has_numbers(column: pd.Series) -> bool:
    """Whether a setting is a number in every run that has it.

    Tables of other programs are read with columns of any values.
    """
    return pd.api.types.is_numeric_dtype(column.infer_objects())


def setting_text(value: Any) -> str:
    """A setting as it is shown: `0.1`, `64`, `custom`, `true`, `[128, 64]`.

    Different numbers have different texts, and 1 and 1.0 have the same. A dash stands
    for a setting that the run does not have.
    """
    is_nan = isinstance(value, float) and math.isnan(value)
    if value is None or is_nan:
        return NO_SETTING
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return _float_text(value)
    if isinstance(value, list | dict):
        return json.dumps(value)
    return str(value)


def _float_text(value: float) -> str:
    """The number with six digits if these are all that it has, or with every digit."""
    if value.is_integer() and abs(value) < LARGEST_WHOLE:
        return str(int(value))
    short = f"{value:g}"
    return short if float(short) == value else str(value)


def capitalized(text: str) -> str:
    """The text with a capital first letter; the rest stays as it is."""
    return text[0].upper() + text[1:]


def group_labels(runs: pd.DataFrame, keys: Sequence[str]) -> pd.Series:
    """One string per run, `key=value, key=value`; empty without keys."""
    texts = []
    for row in runs[list(keys)].itertuples(index=False):
        parts = []
        for key, value in zip(keys, row, strict=True):
            parts.append(f"{key}={setting_text(value)}")
        texts.append(", ".join(parts))
    return pd.Series(texts, index=runs.index, dtype=object)


def arm_labels(runs: pd.DataFrame, keys: Sequence[str]) -> pd.Series:
    """One string per run: the first setting's value, then `key=value` for the others.

    Settings that the run does not have are left out, except for the first.
    """
    texts = []
    table = runs[list(keys)].map(setting_text)
    other_keys = keys[1:]
    for first, *others in table.itertuples(index=False):
        parts = [first]
        for key, value in zip(other_keys, others, strict=True):
            if value != NO_SETTING:
                parts.append(f"{key}={value}")
        texts.append(", ".join(parts))
    return pd.Series(texts, index=runs.index, dtype=object)


def sorted_labels(texts: Iterable[str]) -> list[str]:
    """The distinct labels by name; numbers by size, and before words.

    A number may also follow a key, as in `optimizer.lr=0.1`.
    """
    return sorted(set(texts), key=_sorting_key)


def _sorting_key(label: str) -> list[tuple[str, int, float, str]]:
    parts = []
    for part in label.split(", "):
        key, _, value = part.rpartition("=")
        try:
            parts.append((key, 0, float(value), ""))
        except ValueError:
            parts.append((key, 1, 0.0, value))
    return parts


def pairing_keys(runs: pd.DataFrame) -> list[str]:
    """Columns by which runs of two arms are matched.

    They are `seed`, and every other setting that only repeats a run, such as the fold,
    if it varies.
    """
    keys = ["seed"]
    for name in setting_columns(runs):
        if name == "seed" or not only_repeats(name):
            continue
        if _num_values(runs, name) > 1:
            keys.append(name)
    return keys


def only_repeats(key: str) -> bool:
    """Whether runs that differ only in this setting are repetitions of one run.

    True for `seed`, folds and the like.
    """
    name = key.rpartition(".")[2]
    return name in ("fold", "repeat", "seed") or key.endswith("_seed")


def _num_values(runs: pd.DataFrame, key: str) -> int:
    """Number of distinct values; having no value counts as one."""
    return runs[key].nunique(dropna=False)


def _comparable_settings(runs: pd.DataFrame) -> list[str]:
    """Settings that may change a result.

    Left out are those that only repeat a run or say where its data are stored.
    """
    repeating = pairing_keys(runs)
    settings = []
    for key in setting_columns(runs):
        name = key.rpartition(".")[2]
        if key not in repeating and name not in ("root", "cache"):
            settings.append(key)
    return settings


def is_compared(key: str, by: Sequence[str]) -> bool:
    """Whether a setting is one of the compared settings `by`, or an option of one.

    `norm.num_groups` is an option of `norm`: arms that differ in their norm are meant
    to differ in it too.
    """
    if key in by:
        return True
    owners = [name for name in by if name in CHOICES]
    group = key.partition(".")[0]
    if group in owners:
        return True
    # Norms that act on weights are configured in a group of their own.
    return group == "reparametrize" and "norm" in owners


def distinguishing_settings(runs: pd.DataFrame, by: Sequence[str]) -> list[str]:
    """The fewest settings that, with `by`, tell apart all runs but repetitions.

    Runs that differ in seed or fold alone are repetitions.
    """
    found: list[str] = []
    for key in _comparable_settings(runs):
        if key in by or _num_values(runs, key) <= 1:
            continue
        if not _is_determined(runs, [*by, *found], key):
            found.append(key)
    return found


def _is_determined(runs: pd.DataFrame, keys: list[str], key: str) -> bool:
    """Whether runs with equal `keys` always have an equal `key`."""
    counts = runs.groupby(keys, dropna=False)[key].nunique(dropna=False)
    return counts.max() <= 1


def check_keys(runs: pd.DataFrame, keys: Sequence[str]) -> list[str]:
    """Return the keys if the runs have all these settings.

    Raises:
        ValueError: for an unknown key; the message lists settings that vary first.
    """
    known = setting_columns(runs)

    def is_constant(name: str) -> bool:
        return _num_values(runs, name) == 1

    if not set(keys) <= set(known):
        known = sorted(known, key=is_constant)
    return [check_key(key, known, "setting") for key in keys]


def differences(
    arm: pd.DataFrame,
    baseline: pd.DataFrame,
    by: Sequence[str],
) -> dict[str, tuple[str, str]]:
    """Settings, apart from the compared ones, whose values differ between two arms.

    Returns:
        For every such key the values in the arm and those in the baseline, as text.
    """
    both = pd.concat([arm, baseline])
    found: dict[str, tuple[str, str]] = {}
    for key in _comparable_settings(both):
        if is_compared(key, by) or _num_values(both, key) <= 1:
            continue
        values = distinct_texts(arm[key])
        expected = distinct_texts(baseline[key])
        if values != expected and not _is_explained(both, key, found):
            found[key] = (values, expected)
    return found


def distinct_texts(column: pd.Series) -> str:
    """The distinct values of a column as they are shown: `0.01, 0.1`."""
    texts = column.map(setting_text)
    return ", ".join(sorted_labels(texts))


def _is_explained(
    runs: pd.DataFrame,
    key: str,
    found: Iterable[str],
) -> bool:
    """Whether a difference follows from one in `found`.

    `optimizer._target_` adds nothing if `optimizer` is already named.
    """
    owners = [name for name in found if key.startswith(f"{name}.")]
    return bool(owners) and _is_determined(runs, owners, key)


def check_one_run_each(
    runs: pd.DataFrame,
    keys: Sequence[str],
    by: Sequence[str],
    group: str,
) -> None:
    """Refuse runs of different settings that would pass for a distribution over seeds.

    Args:
        runs: the runs of one group.
        keys: columns that, with seed and fold, must identify a run.
        by: the compared settings.
        group: what the message begins with.

    Raises:
        ValueError: if two runs share seed, fold and `keys`. The message names the
            settings in which they differ.
    """
    identity = [*keys, *pairing_keys(runs)]
    duplicates = runs[runs.duplicated(identity, keep=False)]
    if duplicates.empty:
        return

    texts = duplicates[identity].map(setting_text)
    like_first = (texts == texts.iloc[0]).all(axis=1)
    first = duplicates[like_first]
    differing = []
    for key in _comparable_settings(first):
        if _num_values(first, key) > 1:
            differing.append(key)
    remedy = "compare one folder at a time"
    if differing:
        shown = differing[:MAX_DIFFERING]
        names = ", ".join(shown)
        if len(differing) > len(shown):
            names += f" and {len(differing) - len(shown)} more"
        remedy = f"they differ in {names}: {_where_to_add(shown, by)}"

    seed = setting_text(first["seed"].iloc[0])
    count = len(duplicates)
    raise ValueError(f"{group}several runs share seed {seed} ({count} runs); {remedy}")


def _where_to_add(keys: Sequence[str], by: Sequence[str]) -> str:
    """Which argument of `compare` should name the settings.

    Options of a compared setting make arms: only some arms have them, so that within
    equal values of such an option those arms would have no partner.
    """
    options = []
    others = []
    for key in keys:
        if is_compared(key, by):
            options.append(key)
        else:
            others.append(key)
    if options and others:
        return f"add {', '.join(options)} to `by` and {', '.join(others)} to `within`"
    argument = "by" if options else "within"
    pronoun = "it" if len(keys) == 1 else "them"
    return f"add {pronoun} to `{argument}`"


def direction_warnings(metric: str) -> list[str]:
    """A line if the name of the metric does not tell which direction is better."""
    if direction_is_known(metric):
        return []
    speeds = ("samples_per_second", "learning rate")
    endings = [name for name in HIGHER_IS_BETTER if name not in speeds]
    return [
        f"Lower {metric} is taken to be better: its name does not say. Higher is "
        f"better for names that end in {', '.join(endings)}."
    ]


def origin_warnings(runs: pd.DataFrame) -> list[str]:
    """Lines about runs that differ in code, version of PyTorch or device."""
    lines = []
    for key, kind in ORIGINS.items():
        if key not in runs:
            continue
        values = sorted_labels(runs[key].dropna().map(setting_text))
        count = len(values)
        if count > 1:
            shown = [value[:20] for value in values[:MAX_ORIGINS]]
            names = ", ".join(shown)
            lines.append(f"The runs come from {count} {kind}: {names}.")

    if "environment.git.dirty" in runs:
        is_dirty = runs["environment.git.dirty"].eq(True)
        count = int(is_dirty.sum())
        if count:
            lines.append(
                f"{count} of {len(runs)} runs were made with uncommitted changes in "
                "the code."
            )
    return lines + _changed_origin_warnings(runs)


def _changed_origin_warnings(runs: pd.DataFrame) -> list[str]:
    """A line about runs whose `environment.json` is not as they stored it."""
    if CHANGED_ORIGIN not in runs:
        return []
    changed = runs.loc[runs[CHANGED_ORIGIN].eq(True), "folder"]
    if changed.empty:
        return []
    return [
        f"environment.json was changed in {len(changed)} of {len(runs)} runs, whose "
        f"code, versions and machines are taken as unknown; the first is "
        f"{changed.iloc[0]}."
    ]
