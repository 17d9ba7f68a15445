"""What happened to the layers of a network, as terminals and notebooks show it."""

from normlab.api.html import swaps_html
from normlab.api.text import printed
from normlab.models.swap import Swap
from normlab.training.display import norm_report_rows, swap_table


class Swaps(list[Swap]):
    """One row per layer that was looked at; layers with the same rows are shown once.

    ``[(swap.name, swap.kind) for swap in swaps]`` has all of them.
    """

    def __repr__(self) -> str:
        table = swap_table(norm_report_rows(self))
        return printed(lambda console: console.print(table))

    def _repr_html_(self) -> str:
        return swaps_html(norm_report_rows(self))
