"""Seeds as people write them: `10,11,12`, `range(10,20)`, or a list of numbers."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

WORD = re.compile(r"range\([^)]*\)|[^,]+")
NUMBER = re.compile(r"\d+")
RANGE = re.compile(r"range\((?:(\d+),)?(\d+)\)")
MOST_SEEDS = 10**6  # of a whole list


def seed_list(name: str, seeds: str | int | Sequence[str | int]) -> list[int]:
    """Distinct seeds in their order.

    Args:
        name: of the argument, for the message.
        seeds: numbers, or text such as `10,11` or `range(10,20)`.

    Raises:
        ValueError: something is no whole number from 0 on, or there are more than a
            million of them.
    """
    found: list[int] = []
    for text in map(str, _listed(name, seeds)):
        for match in WORD.finditer(text.replace(" ", "")):
            start, stop = _bounds(name, match[0])
            if len(found) + stop - start > MOST_SEEDS:
                raise ValueError(
                    f"{name} must name at most {MOST_SEEDS:,} seeds, "
                    f"got more with {match[0]}"
                )
            found += range(start, stop)
    if not found:
        raise ValueError(f"{name} must name seeds such as range(10,20), got none")
    return list(dict.fromkeys(found))


def _listed(name: str, seeds: Any) -> Iterable[Any]:
    if isinstance(seeds, str | int):
        return [seeds]
    if isinstance(seeds, Iterable) and not isinstance(seeds, Mapping):
        return seeds
    raise ValueError(
        f"{name} must be seeds such as 10,11,12 or range(10,20), got {seeds}"
    )


def _bounds(name: str, word: str) -> tuple[int, int]:
    """The first number of a word, and the one after its last."""
    if NUMBER.fullmatch(word):
        number = int(word)
        return number, number + 1
    match = RANGE.fullmatch(word)
    if not match:
        raise ValueError(
            f"{name} must be seeds such as 10,11,12 or range(10,20), got {word}"
        )
    start, stop = map(int, match.groups(default="0"))
    return start, max(start, stop)
