"""The one "did you mean": the known name that is nearest to a misspelt one."""

from collections.abc import Iterable
from difflib import get_close_matches


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
    return "" if match is None else f", did you mean {match!r}?"
