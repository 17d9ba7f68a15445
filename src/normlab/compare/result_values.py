"""Which of several values of a run is its result, and which direction is better."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from normlab import metrics

DIRECTIONS = ("higher", "lower")
VALUES = ("last", "best")
Point = tuple[int, float, float]  # step, time and value


@dataclass(frozen=True)
class Choice:
    """The metric of other results, and what is taken of it.

    Attributes:
        metric: its name.
        value: of several values per run, the `last` or the `best`.
        better: `higher` or `lower`; None if the name of the metric must say.
    """

    metric: str
    value: str = "last"
    better: str | None = None

    def __post_init__(self) -> None:
        if self.value not in VALUES:
            raise ValueError(f"value must be last or best, got {self.value}")
        check_direction(self.better)

    @property
    def higher(self) -> bool:
        """Whether a higher value is better.

        Raises:
            ValueError: neither the user nor the name says it.
        """
        if self.better is not None:
            return self.better == "higher"
        # What an earlier table of this process declared says nothing of this one.
        named = metrics.named_direction(self.metric)
        if named is None:
            raise ValueError(
                f"better must be higher or lower: the name {self.metric} does not say "
                "which values are better"
            )
        return named

    def place(self, values: Sequence[float]) -> int:
        """The place of the value that is taken.

        A run whose last value is not finite has diverged, whatever came before.

        Args:
            values: in their order in time, at least one.
        """
        last = len(values) - 1
        if self.value == "last" or not math.isfinite(values[last]):
            return last
        finite = [place for place, value in enumerate(values) if math.isfinite(value)]
        best_of = max if self.higher else min
        return best_of(finite, key=values.__getitem__)

    def value_of(self, name: str, points: Iterable[Point]) -> float:
        """The value of a metric that is taken; of one that is not compared, the last.

        Args:
            name: of the metric.
            points: its values in any order, at least one.
        """
        in_time = sorted(points, key=lambda point: point[:2])
        values = [value for *_, value in in_time]
        if name == self.metric:
            return values[self.place(values)]
        return values[-1]

    def note(self, of_what: str) -> str:
        """What is taken of several values of a run, in a sentence.

        Args:
            of_what: the values, such as `rows by epoch`.
        """
        taken = f"the {self.value} {self.metric} of every run"
        text = f"Of {of_what}, {taken} is compared"
        if self.value == "last":
            return f"{text}."
        return (
            f"{text}: it was chosen by the values that are compared, so that an arm "
            "with more or noisier values has the advantage."
        )


def check_direction(better: str | None) -> None:
    """Refuse anything but `higher`, `lower` and None.

    Raises:
        ValueError: names what came.
    """
    if better is not None and better not in DIRECTIONS:
        raise ValueError(f"better must be higher or lower, got {better}")


def shortest_decimal(number: np.generic) -> float:
    """A number as the shortest decimal that stands for it in its own type.

    Converted to double precision, 0.1 in single precision is 0.10000000149011612.
    """
    if isinstance(number, np.floating):
        return float(str(number))
    return float(number)


def uneven_ends(ends: Sequence[float], clock: str) -> list[str]:
    """A note that runs have values up to different times, if they have.

    Args:
        ends: the time of the last value of each run; NaN if it is not known.
        clock: what counts the time, such as `epoch`.
    """
    known = list(filter(math.isfinite, ends))
    if len(set(known)) < 2:
        return []
    return [
        f"Runs end at different times: their last {clock} is {min(known):g} to "
        f"{max(known):g}. Shorter runs may have stopped early or been cut off."
    ]
