"""Seeds as people write them: `10,11,12`, `range(10,20)`, or a list of numbers."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

WORD = re.compile(r"range\([^)]*\)|[^,]+")
NUMBER = re.compile(r"\d+")
RANGE = re.compile(r"range\((?:(\d+),)?(\d+)\)")
MOST_SEEDS = 10**6  # of one range


def seed_list(name: str, seeds: str | int | Sequence[str | int]) -> list[int]:
    """Distinct seeds in their order.

    Args:
        name: of the argument, for the message.
        seeds: numbers, or text such as `10,11` or `range(10,20)`.

    Raises:
        ValueError: something is no whole number from 0 on, or a range has more than a
            million of them.
    """
    found: list[int] = []
    for text in map(str, _listed(name, seeds)):
        for word in WORD.findall(text.replace(" ", "")):
            found += _numbers(name, word)
    if not found:
        raise ValueError(f"{name} must name seeds such as range(10,20), got none")
    return list(dict.fromkeys(found))


def _listed(name: str, seeds: Any) -> list[Any]:
    if isinstance(seeds, str | int):
        return [seeds]
    if isinstance(seeds, Iterable) and not isinstance(seeds, Mapping):
        return list(seeds)
    raise ValueError(
        f"{name} must be seeds such as 10,11,12 or range(10,20), got {seeds}"
    )


def _numbers(name: str, word: str) -> list[int]:
    if NUMBER.fullmatch(word):
        return [int(word)]
    match = RANGE.fullmatch(word)
    if not match:
        raise ValueError(
            f"{name} must be seeds such as 10,11,12 or range(10,20), got {word}"
        )
    start, stop = map(int, match.groups(default="0"))
    if stop - start > MOST_SEEDS:
        raise ValueError(
            f"{name} must name at most {MOST_SEEDS:,} seeds by a range, got {word}"
        )
    return list(range(start, stop))
