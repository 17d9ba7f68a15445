"""What a terminal would show, as text for `repr`."""

import io
from collections.abc import Callable

from rich.console import Console

COLUMNS = 88


def printed(show: Callable[[Console], None]) -> str:
    """What a function prints, without colours.

    Args:
        show: gets the console that it prints to.
    """
    text = io.StringIO()
    console = Console(
        file=text,
        width=COLUMNS,
        color_system=None,
        emoji=False,
        force_jupyter=False,
    )
    show(console)
    return text.getvalue().rstrip()
