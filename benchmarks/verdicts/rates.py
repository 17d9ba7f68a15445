"""How often arms that are equal at a relative learning rate are told apart."""

import math

import numpy as np
import pandas as pd
from numpy.random import Generator

from normlab.study.relative_rates import runs_at_rate
from verdicts.cases import METRIC, NAMES, count_shown, rate, table

RATE = "optimizer.lr"
RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
LARGEST = 0.3  # at which the baseline trains; the other arm trains at all rates
FALL = 10.0  # of the score of a run that does not train, in SD of a run
TOLERANCE = 2.0  # of what counts as trained, in SD of a run
CORRELATION = 0.9  # of validation and test scores over runs


def grid(random: Generator, experiments: int, n: int) -> pd.DataFrame:
    """Runs of two arms that are equal wherever both train."""
    shape = (experiments, 2, len(RATES), n)
    shared, own = random.standard_normal((2, *shape))
    scores = CORRELATION * shared + math.sqrt(1 - CORRELATION**2) * own
    repetition, arm, value, seed = np.indices(shape).reshape(4, -1)
    rates = np.array(RATES)[value]
    names = np.array(NAMES)[arm]
    fallen = (names == "baseline") & (rates > LARGEST)
    level = -FALL * fallen
    return pd.DataFrame(
        {
            "repetition": repetition,
            "norm": names,
            RATE: rates,
            "seed": seed,
            "status": "finished",
            "val/accuracy": level + shared.ravel(),
            METRIC: level + scores.ravel(),
        }
    )


def rate_cells(times: float, experiments: int, n: int) -> list[str]:
    """Rates of "higher" and "lower" for the arm, and the bias in SD of a run."""
    random = np.random.default_rng(n)
    runs = grid(random, experiments, n)
    plan = {"by": "norm", "metric": METRIC, "within": ["repetition"]}
    plan["at"] = {"largest_stable": RATE, "of": "baseline", "times": times}
    chosen = runs_at_rate(plan | {"tolerance": TOLERANCE}, runs).runs
    chosen = chosen.sort_values(["norm", "repetition", "seed"])
    arm, baseline = chosen[METRIC].to_numpy().reshape(2, experiments, n)
    higher, lower = count_shown(arm, baseline)
    bias = f"{arm.mean() - baseline.mean():+.2f}".replace("-", "−")
    return [rate(higher, experiments), rate(lower, experiments), bias]


def rate_table(experiments: int, n: int = 10) -> str:
    """Wrong verdicts on arms at a multiple of the largest stable rate of one."""
    rows = []
    for times in (0.1, 1.0):
        cells = rate_cells(times, experiments, n)
        rows.append([f"{times:g} times the largest stable rate", *cells])
    columns = ["equal arms at", "higher", "lower", "bias, SD"]
    return table(columns, rows)
