"""Whether a list is one value of a key, or the values of an axis of a sweep."""

from collections.abc import Mapping, Sequence
from typing import Any

from normlab.config.rules import LISTS
from normlab.config.schema import (
    RECIPES,
    Key,
    general_keys,
    groups,
    has_option,
    keys_of,
    read_option,
)
from normlab.config.yaml_comments import read_commented


def is_one_value(key: str, members: Sequence[Any], words: Sequence[str]) -> bool:
    """Whether conf/ allows the list as the value of a key, and not its members.

    Args:
        key: such as `model.hidden`.
        members: of the list.
        words: overrides that pick options, such as `model=mlp`: an option may take a
            list where another one takes a number.
    """
    if key in LISTS:  # a list of options
        return all(isinstance(member, str) for member in members)
    known = _keys(key, words)
    if key not in known:
        return False
    rule = known[key].rule
    if not rule.holds(list(members)):
        return False
    return not members or not all(map(rule.holds, members))


def _keys(key: str, words: Sequence[str]) -> Mapping[str, Key]:
    """The keys of the option that a key belongs to, and those of conf/config.yaml."""
    parts = key.split(".")
    depth = 2 if parts[0] == "hydra" else 1
    group = "/".join(parts[:depth])
    name = ".".join(parts[depth:])
    option = _option(group, words)
    return general_keys() | keys_of(group, option, [name])


def _option(group: str, words: Sequence[str]) -> str:
    """The option of a group by the words, by a recipe that they name, or by default.

    It is empty if it is not known, since conf/ does not have the recipe.
    """
    picked: dict[str, str] = {}
    for word in words:
        name, _, value = word.partition("=")
        picked[name.lstrip("+")] = value
    is_known = True
    for recipe in RECIPES:
        name = picked.get(recipe, "")
        if has_option(recipe, name):
            option = read_option(recipe, name)
            file = read_commented(option.source)
            for overridden, entry in file.defaults.items():
                picked.setdefault(overridden, entry.source)
        elif name:
            is_known = False
    known = groups()
    if group not in picked and group in known and is_known:
        return known[group].default
    return picked.get(group, "")
