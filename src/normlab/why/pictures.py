"""A figure with the words that a reader needs beside it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from normlab.colours import COLOURS
from normlab.report.axes import DASHES
from normlab.report.drawing import Drawing
from normlab.why.measure import RunMeasures


@dataclass(frozen=True)
class Picture:
    """A figure, the numbers behind it, and what it means.

    Attributes:
        drawing: the figure; its caption joins the texts below.
        table: the numbers, one row per run and whatever was measured.
        look_for: what a reader should look for.
        found: what the paper found.
        here: what came out for these runs, in numbers.
        measured: how much was measured.
        source: the paper.
    """

    drawing: Drawing
    table: pd.DataFrame
    look_for: str
    found: str
    here: str
    measured: str
    source: str


@dataclass(frozen=True)
class Arms:
    """The measures of several runs, by arm.

    Attributes:
        names: the arms in their order.
        runs: what was measured of every run.
    """

    names: list[str]
    runs: list[RunMeasures]

    def table(self, measure: str) -> pd.DataFrame:
        """The numbers of a measure, of all runs that have it; empty if none has."""
        tables = []
        for run in self.runs:
            if measure in run.tables:
                table = run.tables[measure].copy()
                table.insert(0, "arm", run.arm)
                table.insert(1, "run", run.name)
                tables.append(table)
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()

    def present(self, table: pd.DataFrame) -> list[str]:
        """The arms that have rows in a table, in their order."""
        found = set(table["arm"])
        return [name for name in self.names if name in found]

    def style(self, arm: str) -> dict[str, Any]:
        """Colour and dashes of an arm, the same in all pictures."""
        again, place = divmod(self.names.index(arm), len(COLOURS))
        dashes = DASHES[(place + again) % len(DASHES)]
        return {"color": COLOURS[place], "linestyle": dashes, "linewidth": 1.6}

    def colour(self, arm: str) -> str:
        """The colour of an arm."""
        return COLOURS[self.names.index(arm) % len(COLOURS)]

    def scope(self) -> str:
        """How many runs there are, and how many per arm."""
        counts = Counter(run.arm for run in self.runs)
        total = len(self.runs)
        runs = "1 run" if total == 1 else f"{total} runs"
        if max(counts.values()) == 1:
            return f"{runs}, one seed per arm"
        seeds = _span(list(counts.values()))
        return f"{runs}, {seeds} seeds per arm; lines are means over them"

    def training(self, points: int) -> str:
        """How the second training was made, for captions."""
        steps = _span([run.steps for run in self.runs])
        batch = _span([run.batch_size for run in self.runs])
        return (
            f"{self.scope()}; measured at {points} of the first {steps} steps, in a "
            f"second training from each run's own configuration; batches of {batch} "
            f"samples"
        )


def make_picture(
    drawing: Drawing,
    table: pd.DataFrame,
    look_for: str,
    found: str,
    here: str,
    measured: str,
    source: str,
) -> Picture:
    """A picture, its caption joined from the texts."""
    caption = (
        f"What to look for: {look_for} What the paper found: {found} Here: {here} "
        f"Measured: {measured}. {source}."
    )
    whole = Drawing(
        drawing.name, drawing.title, caption, f"{look_for} {here}", drawing.figure
    )
    return Picture(whole, table, look_for, found, here, measured, source)


def mean_by(table: pd.DataFrame, key: str) -> pd.DataFrame:
    """Means over runs of all numeric columns, without infinite values, by `key`."""
    numbers = table.select_dtypes("number")
    numbers = numbers.replace([np.inf, -np.inf], np.nan)
    return numbers.groupby(table[key]).mean()


def medians(arms: Arms, table: pd.DataFrame, column: str) -> str:
    """`none 4.2, torch 3.1`: the median of a column for every arm."""
    texts = []
    for arm in arms.present(table):
        values = table.loc[table["arm"] == arm, column]
        texts.append(f"{arm} {number(values.median())}")
    return ", ".join(texts)


def number(value: float) -> str:
    """A number with three digits."""
    return f"{value:.3g}"


def _span(values: Sequence[int]) -> str:
    low = min(values)
    high = max(values)
    return f"{low}" if low == high else f"{low} to {high}"
