"""Which environment variables a configuration may read: those that the command names.

Otherwise the file of somebody else could let a run store a secret, or send it away.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from omegaconf import OmegaConf
from omegaconf.resolvers import oc

# The name in `${oc.env:NAME}`, which may stand in quotes.
NAME = re.compile(r"oc\.env:\s*['\"]?(\w+)")
_named: list[frozenset[str]] = []  # for each block below, the inner one last


@contextmanager
def named_variables(words: Sequence[str]) -> Iterator[None]:
    """Within the block, `${oc.env:NAME}` reads only variables that words name so.

    Args:
        words: the overrides of the command line.
    """
    names = NAME.findall(" ".join(words))
    OmegaConf.register_new_resolver("oc.env", _read, replace=True)
    _named.append(frozenset(names))
    try:
        yield
    finally:
        _named.pop()


def _read(name: str, *default: Any) -> str | None:
    """Takes the place of OmegaConf's resolver, and is the same outside of a block."""
    if _named and name not in _named[-1]:
        raise ValueError(
            f"the environment variable {name} must be named on the command line, a "
            f"file asks for it: add KEY='${{oc.env:{name}}}'"
        )
    return oc.env(name, *default)
