"""The one "did you mean": what a name that does not exist probably stands for."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from normlab import synonyms

MOST_SHOWN = 3
# Least similarities, see `nearest`. A hint that is wrong is worse than none.
ALIKE_IN_GROUP = 0.65
ALIKE_OPTION = 0.7
ALIKE = 0.75


def nearest(name: object, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name that resembles `name` most, or None if none does.

    Args:
        name: what came.
        known: names that exist.
        cutoff: least similarity, from 0 (anything) to 1 (equal), see `difflib`.
    """
    matches = get_close_matches(str(name), list(known), n=1, cutoff=cutoff)
    return matches[0] if matches else None


def did_you_mean(name: object, known: Iterable[str], cutoff: float = 0.6) -> str:
    """`, did you mean 'momentum'?` for the end of a message; empty if none is near."""
    match = nearest(name, known, cutoff)
    return _hint([] if match is None else [match])


def key_hint(key: str, known: Iterable[str]) -> str:
    """`, did you mean 'optimizer.lr'?` for a key that the configuration does not have.

    Args:
        key: a dotted key, such as `learning_rate` or `trainer.lr`.
        known: the dotted keys of the configuration.
    """
    return _hint(_likely_keys(_plain(key), list(known)))


def option_hint(group: str, option: str, known: Sequence[str]) -> str:
    """`, did you mean 'torch'?` for an option that a group does not have.

    Args:
        group: the group, such as `norm`.
        option: the option, such as `torhc`.
        known: the options of the group.
    """
    plain = _plain(option)
    meant = []
    for words in synonyms.OPTIONS.get(group, {}).get(plain, ()):
        if "=" in words or words in known:
            meant.append(words)
    if not meant:
        match = nearest(plain, known, ALIKE_OPTION)
        meant = [] if match is None else [match]
    return _hint(meant)


def _hint(names: Sequence[str]) -> str:
    if not names:
        return ""
    return f", did you mean {' or '.join(map(repr, names))}?"


def _plain(name: str) -> str:
    return name.lstrip("+~").lower().replace("-", "_")


def _likely_keys(key: str, known: list[str]) -> list[str]:
    """The keys that a wrong one may stand for, from what is surest to what is not."""
    parent, _, name = key.rpartition(".")
    meant = [
        words
        for words in synonyms.KEYS.get(name, ())
        if words.partition("=")[0] in known
    ]
    if meant:
        return meant[:MOST_SHOWN]
    if parent:
        prefix = f"{parent}."
        names = [other[len(prefix) :] for other in known if other.startswith(prefix)]
        match = nearest(name, names, ALIKE_IN_GROUP)
        if match is not None:
            return [prefix + match]

    # Hydra has many keys that hardly anybody means.
    if not key.startswith("hydra"):
        known = [other for other in known if not other.startswith("hydra")]
    meant = _with_last_part(name, known)
    if meant:
        return meant
    match = nearest(key, known, ALIKE)
    if match is not None:
        return [match]
    alike = nearest(name, [_last_part(other) for other in known], ALIKE)
    return [] if alike is None else _with_last_part(alike, known)


def _with_last_part(name: str, known: Sequence[str]) -> list[str]:
    """The known keys that end in a name, those with the fewest parts."""
    keys = [other for other in known if _last_part(other) == name]
    fewest = min((key.count(".") for key in keys), default=0)
    return [key for key in keys if key.count(".") == fewest][:MOST_SHOWN]


def _last_part(key: str) -> str:
    return key.rpartition(".")[2]
