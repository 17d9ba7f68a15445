"""`norm=my_norms.py:MyBatchNorm` on a command line."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hydra.core.config_store import ConfigStore

if TYPE_CHECKING:
    from normlab.norms.own import OwnNorm

# The override of the group, alone or with the signs that Hydra allows in front.
NORM_OVERRIDE = re.compile(r"^\+{0,2}norm=")
# What stands between commas, brackets and quotes, and names a Python file.
FILE_REFERENCE = re.compile(r"[^,()\[\]'\"=]+\.py(?::\w+)?(?=[,()\[\]'\"]|$)")


def take_own_norms(words: Sequence[str]) -> list[str]:
    """Load the norms that a command line names by their files.

    Each becomes an option of the group `norm`, and the command line names that option.
    Only words of the command line are looked at, since what somebody types is trusted;
    a file cannot name code in this way.

    Args:
        words: the overrides, as typed.

    Returns:
        the overrides with `FILE.CLASS` in the place of `FILE.py:CLASS`.

    Raises:
        ValueError: there is no such file or norm, its code fails, or two norms have
            the same name.
    """
    digests: dict[str, str] = {}
    taken = []
    for word in words:
        if NORM_OVERRIDE.match(word):
            word = _take(word, digests)
        taken.append(word)
    return taken


def _take(word: str, digests: dict[str, str]) -> str:
    """The override with names of options; `digests` are those of the norms so far."""

    def option(match: re.Match[str]) -> str:
        # Here, since it imports torch: commands that name no file do without.
        from normlab.norms.own import offer_file

        norm = offer_file(match[0].strip())
        check_name(norm, digests)
        return add_option(norm)

    key, _, value = word.partition("=")
    return f"{key}={FILE_REFERENCE.sub(option, value)}"


def check_name(norm: "OwnNorm", digests: dict[str, str]) -> None:
    """Note the digest of a norm by its name.

    Raises:
        ValueError: another norm of the same call has this name.
    """
    if digests.setdefault(norm.name, norm.digest) != norm.digest:
        raise ValueError(
            f"norms must differ in the name of their file or class, two are called "
            f"{norm.name}; rename one of them"
        )


def add_option(norm: "OwnNorm") -> str:
    """Make a norm an option of the group `norm`, and return its name."""
    store = ConfigStore.instance()
    store.store(group="norm", name=norm.name, node=norm.options())
    return norm.name
