"""How long the submissions that are left will take."""

import math
from collections.abc import Iterable, Iterator
from statistics import median

from normlab.check.submissions import OUT_OF_TIME, Grade


class TimeLeft:
    """An estimate from the submissions that ended by themselves.

    Endless loops take as long as they may, and are often next to each other, such as
    first in the folder. They say nothing about the others.

    Args:
        total: number of submissions.
        jobs: number of them that are graded at a time.
    """

    def __init__(self, total: int, jobs: int) -> None:
        self._num_left = total
        self._jobs = jobs
        self._seconds: list[float] = []
        self._has_timeouts = False

    def watching(self, grades: Iterable[Grade]) -> Iterator[Grade]:
        """The same grades, whose times are noted as they come."""
        for grade in grades:
            self._num_left -= 1
            if grade.status == OUT_OF_TIME:
                self._has_timeouts = True
            else:
                self._seconds.append(grade.seconds)
            yield grade

    def __call__(self) -> str:
        """What to say now."""
        if not self._seconds:
            return "too early to say how long it takes"
        at_a_time = min(self._jobs, max(self._num_left, 1))
        seconds = median(self._seconds) * self._num_left / at_a_time
        text = f"about {math.ceil(seconds)} s left"
        return f"{text} if no more run out of time" if self._has_timeouts else text
