"""How often a ratio of times to a target is judged wrongly, if some are censored."""

from collections import Counter

import numpy as np
import pandas as pd
from numpy.random import Generator

from normlab.metrics import declare_metrics
from normlab.study.comparing import judge_speeds
from normlab.study.target_ratio import END, REACHED, TIME, Speeds
from verdicts.cases import VERDICTS, rate, table

RATIO = 2.0  # the margin
SPREAD = 0.1  # SD of the logarithm of a time; seeds share half of its variance
MIDDLE = 1000.0  # median steps of the arm
COLUMN = "log10 1/steps to the target"
ARMS = ("baseline", "arm")
# How long training is, in medians of the arm's time.
LENGTHS = {
    "no run is censored": 100.0,
    "a tenth of the baseline is censored": 2.27,
    "half of the baseline is censored": 2.0,
    "nine tenths of the baseline are censored": 1.76,
    "all of the baseline and a tenth of the arm are censored": 1.14,
}


def speeds(random: Generator, true: float, length: float, n: int) -> Speeds:
    """Runs of two arms whose median times have this ratio.

    Args:
        random: random numbers.
        true: the ratio of the median times.
        length: of training, in medians of the arm's time.
        n: number of seeds.
    """
    shared = random.standard_normal(n)
    parts = []
    for arm, factor in zip(ARMS, (true, 1.0), strict=True):
        own = random.standard_normal(n)
        times = factor * MIDDLE * np.exp(SPREAD * (shared + own) / np.sqrt(2))
        columns = {"arm": arm, "norm": arm, "seed": range(n), TIME: times}
        parts.append(pd.DataFrame(columns))
    runs = pd.concat(parts, ignore_index=True)
    reached = runs[TIME] <= length * MIDDLE
    runs = runs.assign(**{END: length * MIDDLE, REACHED: reached, "status": "finished"})
    runs = runs.assign(folder="", num_parameters=1, best_epoch=1, where="")
    return Speeds(runs, COLUMN, "baseline", "")


def ratio_table(experiments: int, n: int = 10) -> str:
    """Verdicts on "at least twice as fast", by the true ratio and what is censored."""
    declare_metrics({COLUMN: True})
    plan = {"by": "norm", "baseline": "baseline", "margin": RATIO, "within": []}
    plan |= {"expect": "higher", "minimum_seeds": 1}
    cells = [(true, LENGTHS["no run is censored"]) for true in (1.5, 1.8, 2.3)]
    cells += [(RATIO, length) for length in LENGTHS.values()]
    cells.append((2.3, LENGTHS["half of the baseline is censored"]))
    names = {length: name for name, length in LENGTHS.items()}
    rows = []
    for true, length in cells:
        random = np.random.default_rng(n)
        counts: Counter[str] = Counter()
        for _ in range(experiments):
            verdict, _ = judge_speeds(plan, speeds(random, true, length, n))
            counts[verdict] += 1
        cells_of_row = [rate(counts[verdict], experiments) for verdict in VERDICTS]
        rows.append([f"{true:g}: {names[length]}", *cells_of_row])
    return table(["true ratio: runs", *VERDICTS], rows)
