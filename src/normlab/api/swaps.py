"""What happened to the layers of a network, as terminals and notebooks show it."""

import io

from rich.console import Console

from normlab.api.html import swaps_html
from normlab.models.swap import Swap
from normlab.training.display import norm_report_rows, swap_table

COLUMNS = 88


class Swaps(list[Swap]):
    """One row per layer that was looked at; layers with the same rows are shown once.

    ``[(swap.name, swap.kind) for swap in swaps]`` has all of them.
    """

    def __repr__(self) -> str:
        text = io.StringIO()
        console = Console(
            file=text,
            width=COLUMNS,
            color_system=None,
            emoji=False,
            force_jupyter=False,
        )
        console.print(swap_table(norm_report_rows(self)))
        return text.getvalue().rstrip()

    def _repr_html_(self) -> str:
        return swaps_html(norm_report_rows(self))
