"""Made-up runs of two arms, and the tables of what is found about them."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from normlab.compare.deciding import decide
from normlab.compare.intervals import binomial_interval
from normlab.compare.samples import Sample
from normlab.report.table_formats import markdown_rows

LEVEL = 0.05
SIZES = (6, 10, 20)
METRIC = "test/accuracy"
NAMES = ("arm", "baseline")
VERDICTS = ("supported", "contradicted", "cannot tell")
COLLAPSE = 1 / 0.3  # a collapse whose frequency of 0.1 makes a spread of about 1

Arms = tuple[NDArray, NDArray]  # both shape (n,), with equal means
Case = Callable[[Generator, int], Arms]


def normal(
    random: Generator, n: int, ratio: float = 1.0, correlation: float = 0.0
) -> Arms:
    """Two normal arms; the standard deviation of the first is `ratio`."""
    shared = random.standard_normal(n)
    own = math.sqrt(1 - correlation**2)
    other = correlation * shared + own * random.standard_normal(n)
    return ratio * shared, other


def left_tail(random: Generator, n: int, calm: float | None = None) -> Arms:
    """An exponential tail of bad runs in both arms, or only beside a calm arm."""
    arm = 1 - random.exponential(size=n)
    if calm is None:
        return arm, 1 - random.exponential(size=n)
    return arm, calm * random.standard_normal(n)


def heavy_tails(random: Generator, n: int) -> Arms:
    return random.standard_t(3, n), random.standard_t(3, n)


def collapses(random: Generator, n: int, both: bool) -> Arms:
    """A tenth of the runs collapses, in one arm or in both."""
    shares = (0.1, 0.1 if both else 0.0)
    arms = []
    for share in shares:
        values = 0.1 * random.standard_normal(n)
        fallen = random.random(n) < share
        arms.append(values - COLLAPSE * (fallen - share))
    return arms[0], arms[1]


def ties(random: Generator, n: int) -> Arms:
    """Values rounded to steps of half a standard deviation."""
    return _rounded(random.standard_normal(n)), _rounded(random.standard_normal(n))


def _rounded(values: NDArray) -> NDArray:
    return np.round(2 * values) / 2


CASES: dict[str, Case] = {
    "normal": normal,
    "normal, correlation of pairs 0.5": partial(normal, correlation=0.5),
    "normal, correlation of pairs −0.5": partial(normal, correlation=-0.5),
    "a tail of bad runs in both arms": left_tail,
    "heavy tails in both arms (t with 3 degrees of freedom)": heavy_tails,
    "a tenth of the runs collapses, in both arms": partial(collapses, both=True),
    "ties (steps of half an SD)": ties,
    "normal, SD 4:1": partial(normal, ratio=4.0),
    "a tail of bad runs against a calm arm, SD 4:1": partial(left_tail, calm=0.25),
    "a tail of bad runs against a calm arm, SD 10:1": partial(left_tail, calm=0.1),
    "a tenth of one arm's runs collapses, calm arm": partial(collapses, both=False),
}


def count_shown(arm: NDArray, baseline: NDArray) -> tuple[int, int]:
    """How often an arm is judged to be higher and to be lower than the baseline.

    Args:
        arm: values of each experiment ``(experiments, n)``.
        baseline: those of the same seeds, with the same shape.
    """
    higher = lower = 0
    for pair in zip(arm, baseline, strict=True):
        decision = decide(Sample(*pair, paired=True), [], None)
        is_shown = decision.p < LEVEL
        higher += is_shown and decision.direction > 0
        lower += is_shown and decision.direction < 0
    return higher, lower


def rate(wrong: int, total: int) -> str:
    """`0.052 (0.043 to 0.062)`: a rate and its 95 % interval."""
    low, high = binomial_interval(wrong, total)
    return f"{wrong / total:.3f} ({low:.3f} to {high:.3f})"


def table(columns: list[str], rows: list[list[str]]) -> str:
    is_number = [False, *([True] * (len(columns) - 1))]
    return markdown_rows(columns, rows, is_number)
