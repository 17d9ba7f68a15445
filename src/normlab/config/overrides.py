"""What words of a command such as `optimizer.lr=0.1` set, as Hydra reads them."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from normlab.config.trust import typed_texts


@cache
def parse_override(word: str) -> Override:
    """Parse `key=value` by Hydra's rules."""
    parser = OverridesParser.create()
    return parser.parse_override(word)


def typed_values(key: str, words: Sequence[str]) -> list[Any]:
    """The values that the last word for a key gives it.

    Args:
        key: with dots or slashes.
        words: the overrides of the command line.

    Returns:
        one value, all values of a sweep, or none if no word sets the key.
    """
    texts = typed_texts(key, words)
    if not texts:
        return []
    override = parse_override(f"{key}={texts[-1]}")
    if not override.is_discrete_sweep():
        return [override.value()]
    values = []
    for text in override.sweep_string_iterator():
        single = parse_override(f"{key}={text}")
        values.append(single.value())
    return values


def typed_tree(top: str, words: Sequence[str]) -> dict[str, Any]:
    """What the words set below a key, as nested dictionaries.

    They are `hydra.launcher.setup=[date]` and `hydra.launcher={setup: [date]}`.

    Args:
        top: a key with dots, such as `hydra.launcher`.
        words: the overrides of the command line.
    """
    tree = OmegaConf.create()
    for word in words:
        plain = word.lstrip("+")
        if not plain.startswith((f"{top}.", f"{top}=")) or "=" not in plain:
            continue
        override = parse_override(plain)
        if override.is_sweep_override():
            continue
        value = override.value()
        if override.key_or_group != top or isinstance(value, dict):
            OmegaConf.update(tree, override.key_or_group, value)
    node: Any = OmegaConf.to_container(tree)
    for name in top.split("."):
        node = node.get(name, {})
    return node
