"""Types of values, in the words in which the comments of conf/ state them.

A type is one or several alternatives: `number above 0`, `null or text`, `auto or whole
number of at least 1`, `stratified, random or tail`. A word that names no type stands
for itself.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml


@dataclass(frozen=True)
class Rule:
    """What a value must satisfy.

    Attributes:
        holds: whether it does.
        requirement: the same in words, as in "lr must be <requirement>".
    """

    holds: Callable[[Any], bool]
    requirement: str


def is_number(value: Any) -> bool:
    """Whether a value is a real number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_text(value: Any) -> bool:
    """Whether a value is a string that is not empty."""
    return isinstance(value, str) and value != ""


def list_of(
    holds: Callable[[Any], bool], length: int | None = None
) -> Callable[[Any], bool]:
    """A list whose members all satisfy something."""

    def is_list(value: Any) -> bool:
        if not isinstance(value, list) or not all(map(holds, value)):
            return False
        return length is None or len(value) == length

    return is_list


def _is_mean_and_deviation(value: Any) -> bool:
    """Two numbers, or two lists with one number per channel."""
    if not _is_list(value) or len(value) != 2:
        return False
    means, deviations = value
    if not _is_list(means) and not _is_list(deviations):
        means, deviations = [means], [deviations]
    are_numbers = list_of(is_number)(means) and list_of(is_number)(deviations)
    if not are_numbers or not deviations or len(means) != len(deviations):
        return False
    return min(deviations) > 0


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def is_mapping(value: Any) -> bool:
    """Whether a value holds keys and values."""
    return isinstance(value, dict)


def _is_string_or_number(value: Any) -> bool:
    return isinstance(value, str) or is_number(value)


# The types, each with what it asks of a value.
KINDS: dict[str, Callable[[Any], bool]] = {
    "anything": lambda value: True,
    "text": is_text,
    "number": is_number,
    "number above 0": lambda value: is_number(value) and 0 < value < math.inf,
    "number of at least 0": lambda value: is_number(value) and 0 <= value < math.inf,
    "number between 0 and 1": lambda value: is_number(value) and 0 < value < 1,
    "number from 0 to 1": lambda value: is_number(value) and 0 <= value <= 1,
    "whole number": is_whole,
    "mapping": is_mapping,
    "list": _is_list,
    "list of names": list_of(lambda value: isinstance(value, str)),
    "list of texts": list_of(lambda value: isinstance(value, str)),
    "list of texts and numbers": list_of(_is_string_or_number),
    "list of whole numbers": list_of(is_whole),
    "list of numbers": list_of(is_number),
    "list of two numbers": list_of(is_number, 2),
    "list of mappings": list_of(is_mapping),
    "list of lists of keys": list_of(_is_list),
    "[mean, standard deviation above 0]": _is_mean_and_deviation,
}
# What a message says if that is not the name with an article.
WORDS = {
    "anything": "anything",
    "text": "text",
    "mapping": "keys and values, as in {a: 1}",
    "[mean, standard deviation above 0]": "[mean, standard deviation above 0]",
}
AT_LEAST = re.compile(r"whole number of at least (\d+)")
# Between two alternatives, but not within brackets.
SEPARATOR = re.compile(r"(?:, or | or |, )(?![^\[]*\])")
LITERAL = re.compile(r"[\w.+-]+")


def alternatives(phrase: str) -> list[str]:
    """The alternatives of a type, each once and without articles."""
    names = []
    for part in SEPARATOR.split(phrase):
        name = re.sub(r"^(?:a|an) (?=\w)", "", part.strip())
        if name not in names:
            names.append(name)
    return names


@cache
def rule_of(phrase: str) -> Rule:
    """What a type in words asks of a value.

    Raises:
        ValueError: an alternative is neither a type nor one word.
    """
    tests = []
    words = []
    for name in alternatives(phrase):
        tests.append(_test_of(name, phrase))
        is_kind = name in KINDS or AT_LEAST.fullmatch(name)
        words.append(WORDS.get(name, f"a {name}") if is_kind else name)
    *first, last = words
    requirement = last
    if first:
        requirement = f"{', '.join(first)} or {last}"

    def holds_any(value: Any) -> bool:
        return any(holds(value) for holds in tests)

    return Rule(holds_any, requirement)


def _test_of(name: str, phrase: str) -> Callable[[Any], bool]:
    if name in KINDS:
        return KINDS[name]
    if match := AT_LEAST.fullmatch(name):
        minimum = int(match[1])
        return lambda value: is_whole(value) and value >= minimum
    if not LITERAL.fullmatch(name):
        raise ValueError(
            f"the type {phrase!r} must be made of {', '.join(KINDS)} and single words, "
            f"got {name!r} in it"
        )
    literal = yaml.safe_load(name)
    return lambda value: value == literal and type(value) is type(literal)


def type_of(value: Any) -> str:
    """The type of a value whose comment states none; null may become anything."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, str):
        return "number" if is_number_in_text(value) else "text"
    if value is None:
        return "anything"
    if is_whole(value):
        return "whole number"
    if is_number(value):
        return "number"
    return "list" if isinstance(value, list) else "mapping"


def is_number_in_text(text: str) -> bool:
    """Whether a text is a number: YAML 1.1 takes 1e-5 for text, Hydra for a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
