"""Which settings tell runs apart: arms, groups of like runs, pairs, and differences nobody asked for."""

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from normlab.compare.runs import CHOICES, check_key, setting_columns
from normlab.metrics import HIGHER_IS_BETTER, direction_is_known


def direction_warnings(metric: str) -> list[str]:
    """A line where the name of a metric does not tell which direction is better."""
    if direction_is_known(metric):
        return []
    return [
        f"Lower {metric} is taken to be better: its name does not say. Better when high are names that end in "
        f"{', '.join(HIGHER_IS_BETTER[:2])}, {', '.join(HIGHER_IS_BETTER[4:])}."
    ]


def setting_text(value: Any) -> str:
    """A setting as it is shown: 0.1, 64, custom, null; a dash where the run has no such setting."""
    if value is None or (isinstance(value, float) and value != value):
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | dict):
        return json.dumps(value)
    return (
        f"{value:g}"
        if isinstance(value, int | float) and abs(value) < 1e15
        else str(value)
    )


def group_labels(runs: pd.DataFrame, keys: Sequence[str]) -> pd.Series:
    """One text per run: `key=value, key=value`; empty without keys."""
    rows = runs[list(keys)].itertuples(index=False)
    texts = [
        ", ".join(
            f"{key}={setting_text(value)}" for key, value in zip(keys, row, strict=True)
        )
        for row in rows
    ]
    return pd.Series(texts, index=runs.index, dtype=object)


def arm_labels(runs: pd.DataFrame, keys: Sequence[str]) -> pd.Series:
    """One text per run: the first key's value, then `key=value` for those that the run has."""
    shown = [[setting_text(value) for value in runs[key]] for key in keys]
    texts = []
    for first, *rest in zip(*shown, strict=True):
        told = [
            f"{key}={value}"
            for key, value in zip(keys[1:], rest, strict=True)
            if value != "–"
        ]
        texts.append(", ".join([first, *told]))
    return pd.Series(texts, index=runs.index, dtype=object)


def sorted_labels(texts: Sequence[str]) -> list[str]:
    """Each once, by name, numbers (also behind `key=`) by size and before words."""

    def place(text: str) -> list[tuple]:
        parts = []
        for part in text.split(", "):
            key, _, value = part.rpartition("=")
            try:
                parts.append((key, 0, float(value), ""))
            except ValueError:
                parts.append((key, 1, 0.0, value))
        return parts

    return sorted(set(texts), key=place)


def pairing_keys(runs: pd.DataFrame) -> list[str]:
    """`seed`, and whatever else repeats a run: folds and further seeds, where they vary."""
    repeated = [name for name in setting_columns(runs) if only_repeats(name)]
    return [
        "seed",
        *(
            name
            for name in repeated
            if name != "seed" and runs[name].nunique(dropna=False) > 1
        ),
    ]


def only_repeats(key: str) -> bool:
    """True for `seed`, folds and the like: runs that differ in nothing else are repetitions of one run."""
    return key.rpartition(".")[2] in ("fold", "repeat", "seed") or key.endswith("_seed")


def _compared(runs: pd.DataFrame) -> list[str]:
    """Settings that may matter: not where data lie, and not what only repeats a run."""
    paired = pairing_keys(runs)
    elsewhere = ("root", "cache")
    return [
        name
        for name in setting_columns(runs)
        if name not in paired and name.rpartition(".")[2] not in elsewhere
    ]


def is_compared(key: str, by: Sequence[str]) -> bool:
    """True if `key` is part of what `by` compares: norm=group comes with norm.num_groups."""
    owners = [name for name in by if name in CHOICES]
    if "norm" in owners and key.partition(".")[0] == "reparametrize":
        return True
    return key in by or any(key.startswith(f"{owner}.") for owner in owners)


def distinguishing_settings(runs: pd.DataFrame, by: Sequence[str]) -> list[str]:
    """The fewest settings that, with `by`, tell apart all runs that differ in more than seed or fold."""
    found: list[str] = []
    for key in _compared(runs):
        if (
            key not in by
            and runs[key].nunique(dropna=False) > 1
            and not _determined(runs, [*by, *found], key)
        ):
            found.append(key)
    return found


def _determined(runs: pd.DataFrame, by: list[str], key: str) -> bool:
    return runs.groupby(by, dropna=False)[key].nunique(dropna=False).max() <= 1


def check_keys(runs: pd.DataFrame, keys: Sequence[str]) -> list[str]:
    """The keys as they are.

    Raises:
        ValueError: for one that no run has; names first those that vary.
    """
    known = setting_columns(runs)
    if not set(keys) <= set(known):  # the error shows the first of them
        known = sorted(known, key=lambda name: runs[name].nunique(dropna=False) == 1)
    return [check_key(key, known, "setting") for key in keys]


def differences(
    arm: pd.DataFrame, baseline: pd.DataFrame, by: Sequence[str]
) -> dict[str, tuple[str, str]]:
    """Settings with other values in one arm than in the other, apart from the compared one."""
    both = pd.concat([arm, baseline])
    found = {}
    for key in _compared(both):
        if is_compared(key, by) or both[key].nunique(dropna=False) <= 1:
            continue
        values = [set(part[key].map(setting_text)) for part in (arm, baseline)]
        if values[0] != values[1] and not _explained(both, key, found):
            found[key] = tuple(
                ", ".join(sorted_labels(list(value))) for value in values
            )
    return found


def _explained(runs: pd.DataFrame, key: str, found: dict) -> bool:
    """optimizer._target_ adds nothing where optimizer is already named."""
    owners = [name for name in found if key.startswith(f"{name}.")]
    return bool(owners) and _determined(runs, owners, key)


def check_one_run_each(
    runs: pd.DataFrame, keys: Sequence[str], by: Sequence[str], where: str
) -> None:
    """Refuse to take runs of different settings for a distribution over seeds.

    Raises:
        ValueError: if two runs share seed, fold and `keys`; names the settings in which they differ.
    """
    identity = [*keys, *pairing_keys(runs)]
    twice = runs[runs.duplicated(identity, keep=False)]
    if twice.empty:
        return
    first = twice[
        (
            twice[identity].map(setting_text)
            == twice[identity].map(setting_text).iloc[0]
        ).all(axis=1)
    ]
    other = [key for key in _compared(first) if first[key].nunique(dropna=False) > 1][
        :4
    ]
    fix = (
        f"they differ in {', '.join(other)}: {_where_to_add(other, by)}"
        if other
        else "compare one folder at a time"
    )
    raise ValueError(
        f"{where}several runs share seed {setting_text(first['seed'].iloc[0])} ({len(twice)} runs); {fix}"
    )


def _where_to_add(keys: Sequence[str], by: Sequence[str]) -> str:
    """Only some arms have what belongs to the compared setting: within equal values of it they have no partner."""
    own = [key for key in keys if is_compared(key, by)]
    if len(own) in (0, len(keys)):
        return f"add {'it' if len(keys) == 1 else 'them'} to {'--by' if own else '--within'}"
    return f"add {', '.join(own)} to --by and {', '.join(key for key in keys if key not in own)} to --within"


def origin_warnings(runs: pd.DataFrame) -> list[str]:
    """Where the runs were not made alike: code, PyTorch, machine."""
    told = []
    for key, name in (
        ("environment.git.commit", "commits"),
        ("environment.packages.torch", "versions of PyTorch"),
        ("environment.device.name", "devices"),
    ):
        values = sorted_labels(list(runs[key].map(setting_text))) if key in runs else []
        if len(values) > 1:
            told.append(
                f"The runs come from {len(values)} {name}: {', '.join(value[:20] for value in values[:4])}."
            )
    dirty = runs.get("environment.git.dirty")
    if dirty is not None and (count := int((dirty == True).sum())):  # noqa: E712, a column of objects
        told.append(
            f"{count} of {len(runs)} runs were made with uncommitted changes in the code."
        )
    return told


def study_of(runs: pd.DataFrame) -> pd.DataFrame:
    """The study block that every run was started with, as labels: a row a run, a dash for what it does not state."""
    columns = [name for name in runs.columns if name.startswith("study.")]
    return (
        runs[columns]
        .map(setting_text)
        .rename(columns=lambda name: name.partition(".")[2])
    )
