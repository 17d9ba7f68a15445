"""How often a claim about a value is supported or contradicted."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pandas as pd
from numpy.random import Generator
from numpy.typing import NDArray

from normlab.study.values import judge_value
from verdicts.cases import CASES, LEVEL, METRIC, VERDICTS, rate, table

SD = 0.002
SHAPES = (
    "normal",
    "a tail of bad runs in both arms",
    "heavy tails in both arms (t with 3 degrees of freedom)",
    "a tenth of the runs collapses, in both arms",
    "ties (steps of half an SD)",
)


def arm(random: Generator, name: str, true: float, n: int) -> NDArray:
    """The runs of one arm with a shape of `CASES` and this mean ``(n,)``."""
    values, _ = CASES[name](random, n)
    return SD * values + true


def verdict_on(values: NDArray, expect: str, margin: float) -> str:
    """The verdict on a claim about the value 0."""
    runs = {METRIC: values, "arm": "arm", "where": "", "status": "finished"}
    runs["seed"] = range(len(values))
    comparison = SimpleNamespace(runs=pd.DataFrame(runs), metric=METRIC, level=LEVEL)
    plan = {"expect": expect, "value": 0.0, "margin": margin, "minimum_seeds": 1}
    verdict, _ = judge_value(plan, comparison)
    return verdict


def value_table(experiments: int, n: int = 10, margin: float = 0.005) -> str:
    """Verdicts on "equal" and "higher" by the true mean and the shape of the runs."""
    cells = [("equal", shape, margin) for shape in SHAPES]
    cells += [("equal", "normal", true) for true in (0.0, 0.0025, 0.008)]
    cells += [("higher", shape, margin) for shape in SHAPES]
    cells += [("higher", "normal", true) for true in (0.0025, 0.008)]
    rows = []
    for expect, shape, true in sorted(cells, key=lambda cell: cell[0]):
        random = np.random.default_rng(n)
        counts: Counter[str] = Counter()
        for _ in range(experiments):
            counts[verdict_on(arm(random, shape, true, n), expect, margin)] += 1
        name = shape.replace(", in both arms", "").replace(" in both arms", "")
        cells_of_row = [rate(counts[verdict], experiments) for verdict in VERDICTS]
        rows.append([f"{expect}: {name}, {true:+.4f}", *cells_of_row])
    return table(["claim: runs, true mean", *VERDICTS], rows)
