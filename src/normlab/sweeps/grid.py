"""Every combination of the values of a sweep."""

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import product
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from normlab.spelling import did_you_mean


def combinations(
    overrides: Sequence[Override],
    together: Sequence[Sequence[str]],
    excluded: Sequence[Mapping[str, Any]],
) -> tuple[list[list[str]], int]:
    """Every combination of the overrides' values.

    Args:
        overrides: parsed; of two for the same key the later one holds.
        together: groups of keys whose values advance together instead of being combined.
        excluded: partial settings; a combination that has all of one is left out.

    Returns:
        `key=value` of every job, and how many combinations were left out.

    Raises:
        ValueError: a key that the sweep does not set, unequal lengths, or nothing left.
    """
    axes = {override.get_key_element(): _words(override) for override in overrides}
    jobs = [
        [word for words in job for word in words]
        for job in product(*_joined(axes, together))
    ]
    patterns = _patterns(excluded, axes)
    kept = [
        job for job in jobs if not any(_matches(job, pattern) for pattern in patterns)
    ]
    if not kept:
        raise ValueError(
            f"hydra.sweeper.exclude must leave a job, it leaves none of {len(jobs)}"
        )
    return kept, len(jobs) - len(kept)


def _words(override: Override) -> list[str]:
    if override.is_sweep_override() and not override.is_discrete_sweep():
        raise ValueError(
            f"{override.input_line} has no values to list: name them (0.1,0.01), or search with hydra/sweeper=optuna"
        )
    return [word for (word,) in BasicSweeper.split_arguments([override], None)[0]]


def _joined(
    axes: Mapping[str, list[str]], together: Sequence[Sequence[str]]
) -> list[list[tuple[str, ...]]]:
    """The axes to combine; keys that advance together are one axis, where the first of them stands."""
    group_of: dict[str, Sequence[str]] = {}
    for names in together:
        if isinstance(names, str):
            raise ValueError(
                f"hydra.sweeper.zip must be a list of lists of keys, got {names!r} in it"
            )
        group = [_axis("hydra.sweeper.zip", name, axes) for name in names]
        for key in group:
            if key in group_of:
                raise ValueError(
                    f"hydra.sweeper.zip must name a key once, {key!r} came twice"
                )
            group_of[key] = group
            if len(axes[key]) != len(axes[group[0]]):
                raise ValueError(
                    f"hydra.sweeper.zip needs lists of equal length: {group[0]} has {len(axes[group[0]])} values, "
                    f"{key} has {len(axes[key])}"
                )
    joined = []
    for key in axes:
        group = group_of.get(key, [key])
        if key == min(group, key=list(axes).index):
            joined.append(list(zip(*(axes[member] for member in group), strict=True)))
    return joined


def _patterns(
    excluded: Sequence[Mapping[str, Any]], axes: Mapping[str, list[str]]
) -> list[dict[str, Any]]:
    for pattern in excluded:
        if not isinstance(pattern, Mapping) or not pattern:
            raise ValueError(
                f"hydra.sweeper.exclude must be a list of {{key: value}}, got {pattern!r} in it"
            )
    return [
        {
            _axis("hydra.sweeper.exclude", key, axes): value
            for key, value in pattern.items()
        }
        for pattern in excluded
    ]


def _axis(option: str, key: str, axes: Mapping[str, Any]) -> str:
    """The key as the sweep sets it, be it with Hydra's `+` or without."""
    for name in (key, f"+{key}", f"++{key}"):
        if name in axes:
            return name
    hint = did_you_mean(key, axes)
    raise ValueError(
        f"{option} names {key!r}, which this sweep does not set{hint}; it sets {', '.join(axes)}"
    )


def _matches(job: Sequence[str], pattern: Mapping[str, Any]) -> bool:
    words = {word.split("=", 1)[0]: word for word in job}
    return all(_value(words[key]) == value for key, value in pattern.items())


def _value(word: str) -> Any:
    """The value of `key=value` as YAML would have it, so that `1.0` equals `1`."""
    return parse_override(word).value()


@cache
def parse_override(word: str) -> Override:
    """`key=value` as Hydra's parser reads it."""
    return OverridesParser.create().parse_override(word)
