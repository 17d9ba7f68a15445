"""Examine a norm in Python, as `normlab check` does in a terminal."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from normlab.api.html import examination_html
from normlab.api.text import printed
from normlab.check.display import print_examination
from normlab.check.examination import broken
from normlab.check.examination import examine as examine_layer
from normlab.check.findings import Examination
from normlab.check.notebooks import loaded
from normlab.norms.loading import BrokenNorm


@dataclass(frozen=True, repr=False)
class ExaminedNorm:
    """What is right and what is wrong with a norm.

    Attributes:
        examination: the findings, and the points by property.
        explain: whether it is shown why every fault matters, and code that fixes it.
    """

    examination: Examination
    explain: bool = False

    @property
    def faults(self) -> list[str]:
        """What is wrong, one sentence per fault; remarks are not among them."""
        return [fault.sentence for fault in self.examination.faults]

    @property
    def points(self) -> int:
        """Points for what is right."""
        return self.examination.points

    @property
    def possible(self) -> int:
        """Points that a norm without a fault has."""
        return self.examination.possible

    def __repr__(self) -> str:
        return printed(
            lambda console: print_examination(console, self.examination, self.explain)
        )

    def _repr_html_(self) -> str:
        return examination_html(self.examination, self.explain)


def examine(
    norm: str | Callable[..., Any],
    like: str | None = None,
    explain: bool = False,
    **options: Any,
) -> ExaminedNorm:
    """Say what is right and what is wrong with a norm, and how it is fixed.

    ::

        normlab.examine(MyBatchNorm1d)

    Args:
        norm: a class or a function, or the text `FILE.py:NAME` or `FILE.ipynb:NAME`,
            whose code runs.
        like: what it should be: `batch`, `layer`, `group`, `instance`, `rms` or
            `other`; None finds out by its name, or else by its output.
        explain: show why every fault matters, and code that fixes it.
        options: further arguments of its constructor.

    Raises:
        ValueError: there is no such file, or no such kind of layer.
    """
    try:
        if isinstance(norm, str):
            with loaded(norm) as (target, cells):
                found = examine_layer(target, options, like, cells=cells)
        else:
            found = examine_layer(norm, options, like)
    except BrokenNorm as error:
        found = broken(str(norm), str(error), error.line, like)
    return ExaminedNorm(found, explain)
