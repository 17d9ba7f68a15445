"""Notes about data, on standard error: each text once per process."""

from collections.abc import Sequence

from normlab.terminal import print_once

MOST_NAMES_SHOWN = 5


def note_once(note: str) -> None:
    """Print a note, each text once per process."""
    print_once(f"note: {note}")


def shortened(names: Sequence[str]) -> str:
    """The first names of a list, and dots if there are more."""
    shown = ", ".join(names[:MOST_NAMES_SHOWN])
    if len(names) > MOST_NAMES_SHOWN:
        shown += ", ..."
    return shown
