"""The combinations of the values of a sweep."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain, product
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import Override

from normlab.config.overrides import parse_override
from normlab.spelling import did_you_mean

# The overrides `key=value` of every value, by the key without a plus.
Axes = Mapping[str, list[str]]

ZIP = "hydra.sweeper.zip"
EXCLUDE = "hydra.sweeper.exclude"


def combinations(
    overrides: Sequence[Override],
    zipped: Sequence[Sequence[str]],
    excluded: Sequence[Mapping[str, Any]],
) -> tuple[list[list[str]], int]:
    """Form every combination of the values of overrides.

    The last key varies fastest. If a key occurs twice, the later override holds.

    Args:
        overrides: parsed overrides, with one value or several.
        zipped: groups of keys whose values advance together instead of being combined.
        excluded: partial settings, by key. A combination that has all settings of one
            of them is left out.

    Returns:
        the overrides `key=value` of every job, and how many combinations were left out.

    Raises:
        ValueError: `zipped` or `excluded` names a key that the sweep does not set,
            zipped keys have different numbers of values, or no combination remains.
    """
    axes = {}
    for key, override in last_overrides(overrides).items():
        axes[key] = _expand(override)
    joined = _join(axes, zipped)
    patterns = _exclusions(excluded, axes)

    kept = []
    left_out = 0
    for parts in product(*joined):
        job = list(chain.from_iterable(parts))
        is_excluded = any(_matches(job, pattern) for pattern in patterns)
        if is_excluded:
            left_out += 1
        else:
            kept.append(job)
    if not kept:
        raise ValueError(f"{EXCLUDE} must leave a job, it leaves none of {left_out}")
    return kept, left_out


def last_overrides(overrides: Sequence[Override]) -> dict[str, Override]:
    """The last override of every key, in the order of the first ones.

    `key`, `+key` and `++key` are one key. If a key has to be added, it is added by an
    override without a plus, too.

    Args:
        overrides: parsed overrides, with one value or several.

    Returns:
        the overrides by their keys without a plus.
    """
    last: dict[str, Override] = {}
    for override in overrides:
        name = override.get_key_element()
        key = name.lstrip("+")
        if key in last and name == key:
            earlier = last[key]
            plus = earlier.get_key_element().removesuffix(key)
            word = f"{plus}{override.input_line}"
            override = replace(override, type=earlier.type, input_line=word)
        last[key] = override
    return last


def _expand(override: Override) -> list[str]:
    """One `key=value` per value of an override.

    `split_arguments` is a private interface of Hydra (hydra-core 1.3.8). It spells the
    values exactly as Hydra's own sweeper does.
    """
    if override.is_sweep_override() and not override.is_discrete_sweep():
        raise ValueError(
            f"{override.input_line} has no values to list: name them (0.1,0.01), "
            f"or search with hydra/sweeper=optuna"
        )
    (batch,) = BasicSweeper.split_arguments([override], None)
    return list(chain.from_iterable(batch))


def with_first_values(
    overrides: Sequence[Override], key: str, count: int
) -> list[Override]:
    """Overrides in which one key keeps its first values only.

    Args:
        overrides: parsed overrides, with one value or several.
        key: the key, such as `seed`.
        count: how many values it keeps.
    """
    shortened = []
    for override in overrides:
        if override.get_key_element().lstrip("+") == key:
            values = []
            for word in _expand(override)[:count]:
                _, _, value = word.partition("=")
                values.append(value)
            override = parse_override(f"{key}={','.join(values)}")
        shortened.append(override)
    return shortened


def _join(axes: Axes, zipped: Sequence[Sequence[str]]) -> list[list[tuple[str, ...]]]:
    """The axes to combine, each a list of tuples of overrides.

    Zipped keys form one axis, at the place of the first of them.
    """
    groups = _zip_groups(axes, zipped)
    positions = list(axes)
    joined = []
    for key in axes:
        group = groups.get(key, [key])
        first = min(group, key=positions.index)
        if key == first:
            columns = [axes[member] for member in group]
            axis = zip(*columns, strict=True)
            joined.append(list(axis))
    return joined


def _zip_groups(axes: Axes, zipped: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    """The group of every zipped key."""
    group_of: dict[str, list[str]] = {}
    for names in zipped:
        if isinstance(names, str):
            raise ValueError(
                f"{ZIP} must be a list of lists of keys, got {names!r} in it"
            )
        group = [_find_axis(ZIP, name, axes) for name in names]
        for key in group:
            first = group[0]
            length = len(axes[first])
            own_length = len(axes[key])
            if key in group_of:
                raise ValueError(f"{ZIP} must name a key once, {key!r} came twice")
            if own_length != length:
                raise ValueError(
                    f"{ZIP} needs lists of equal length: {first} has {length} values, "
                    f"{key} has {own_length}"
                )
            group_of[key] = group
    return group_of


def _exclusions(
    excluded: Sequence[Mapping[str, Any]], axes: Axes
) -> list[dict[str, Any]]:
    """The excluded settings, by the keys that the sweep sets."""
    for pattern in excluded:
        if not isinstance(pattern, Mapping) or not pattern:
            raise ValueError(
                f"{EXCLUDE} must be a list of {{key: value}}, got {pattern!r} in it"
            )
    patterns = []
    for pattern in excluded:
        found = {}
        for name, value in pattern.items():
            key = _find_axis(EXCLUDE, name, axes)
            found[key] = value
        patterns.append(found)
    return patterns


def _find_axis(option: str, name: Any, axes: Axes) -> str:
    """The key of an axis, which may be named with Hydra's `+`."""
    key = str(name).lstrip("+")
    if key in axes:
        return key
    hint = did_you_mean(key, axes)
    names = ", ".join(axes)
    raise ValueError(
        f"{option} names {key!r}, which this sweep does not set{hint}; it sets {names}"
    )


def _matches(job: Sequence[str], pattern: Mapping[str, Any]) -> bool:
    """Whether a job has all settings of a pattern.

    Values are compared as YAML would read them, so that `1.0` equals `1`.
    """
    overrides = {}
    for word in job:
        key, _, _ = word.partition("=")
        overrides[key.lstrip("+")] = word
    for key, value in pattern.items():
        override = parse_override(overrides[key])
        if override.value() != value:
            return False
    return True
