"""How often arms that are equal at their best values are told apart."""

import math

import numpy as np
import pandas as pd
from numpy.random import Generator
from numpy.typing import NDArray

from normlab.compare.deciding import decide
from normlab.compare.samples import Sample
from normlab.compare.selection import best_values, is_at_best
from verdicts.cases import LEVEL, METRIC, NAMES, rate, table

RATE = "optimizer.lr"
# The number of values that were tried for both arms, and whether all are equally good;
# otherwise those of the second arm but the best one are worse by ten SD.
GRIDS = {
    "ten values against one": (10, 1, True),
    "twelve values against three": (12, 3, True),
    "ten values against ten": (10, 10, True),
    "five equal values against one good of five": (5, 5, False),
}


def tuned(
    random: Generator,
    sizes: tuple[int, int],
    alike: bool,
    correlation: float,
    n: int,
    experiments: int,
) -> pd.DataFrame:
    """Runs of two arms that are equal at their best values, with n seeds.

    Every run has a validation and a test score with an SD of 1 and this correlation.
    """
    arms = np.repeat(NAMES, sizes)
    values = np.concatenate([np.arange(size) for size in sizes])
    level = np.zeros(len(arms))
    if not alike:
        level[(arms == NAMES[1]) & (values > 0)] = -10.0
    shape = (experiments, len(arms), n)
    shared, own = random.standard_normal((2, *shape))
    scores = correlation * shared + math.sqrt(1 - correlation**2) * own
    experiment, value, seed = np.indices(shape).reshape(3, -1)
    columns = {
        "experiment": experiment,
        "arm": arms[value],
        RATE: values[value],
        "seed": seed,
        "status": "finished",
        "val/accuracy": (level[:, None] + shared).ravel(),
        METRIC: (level[:, None] + scores).ravel(),
    }
    return pd.DataFrame(columns)


def at_best(runs: pd.DataFrame, best: pd.Series, n: int) -> dict[str, NDArray]:
    """The test scores of each arm at the values that it chose, `(experiments, n)`."""
    chosen = runs[is_at_best(runs, RATE, ["experiment"], best)]
    chosen = chosen.sort_values(["experiment", "seed"])
    scores = {}
    for arm in NAMES:
        of_arm = chosen[chosen["arm"] == arm]
        scores[arm] = of_arm[METRIC].to_numpy().reshape(-1, n)
    return scores


def selection_cells(
    sizes: tuple[int, int], alike: bool, correlation: float, experiments: int, n: int
) -> list[str]:
    """Wrong verdicts on the seeds of the choice, their bias, and on n other seeds."""
    random = np.random.default_rng(sizes[0])
    runs = tuned(random, sizes, alike, correlation, 2 * n, experiments)
    chooses = runs["seed"] < n
    best = best_values(runs[chooses], RATE, ["experiment"], "val/accuracy")
    cells = []
    for part in (runs[chooses], runs[~chooses]):
        scores = at_best(part, best, n)
        pairs = zip(*scores.values(), strict=True)
        samples = [Sample(arm, baseline, paired=True) for arm, baseline in pairs]
        wrong = sum(decide(sample, [], None).p < LEVEL for sample in samples)
        bias = float(scores[NAMES[0]].mean() - scores[NAMES[1]].mean())
        cells += [rate(wrong, experiments), f"{bias:+.2f}".replace("-", "−")]
    return cells[:3]


def selection_table(experiments: int, n: int = 10) -> str:
    """Wrong verdicts on arms at their best values, by what tests the choice."""
    rows = []
    for name, (first, second, alike) in GRIDS.items():
        for correlation in (0.6, 0.9):
            sizes = (first, second)
            cells = selection_cells(sizes, alike, correlation, experiments, n)
            rows.append([f"{name}, correlation {correlation:g}", *cells])
    columns = ["equal arms", "on the same seeds", "bias, SD", "on other seeds"]
    return table(columns, rows)
