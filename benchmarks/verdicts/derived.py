"""How often an interaction or a slope that two arms share is told apart."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.random import Generator
from numpy.typing import NDArray

from normlab.study.derived import derived_runs
from verdicts.cases import METRIC, NAMES, count_shown, rate, table

# By what the noise of a run is drawn, from its size.
NOISES: dict[str, Callable[[Generator, tuple[int, ...]], NDArray]] = {
    "normal": lambda random, size: random.standard_normal(size),
    "a tail of bad runs": lambda random, size: 1 - random.exponential(size=size),
    "heavy tails (t with 3 degrees of freedom)": (
        lambda random, size: random.standard_t(3, size)
    ),
}
AXIS = (2, 4, 8, 16, 64)  # batch sizes


def factorial(
    random: Generator,
    noise: str,
    sds: NDArray,
    values: tuple[int, ...],
    experiments: int,
    n: int,
) -> pd.DataFrame:
    """Runs of two arms at every value of a setting, whose lines are parallel.

    Seeds share half of their variance, and the runs of an arm at a value have an SD of
    their own.

    Args:
        random: random numbers.
        noise: one of `NOISES`.
        sds: standard deviations ``(2, V)``.
        values: of the setting, V of them.
        experiments: number of experiments.
        n: number of seeds in each.
    """
    shape = (experiments, 2, len(values), n)
    shared = random.standard_normal((experiments, 1, 1, n))
    own = NOISES[noise](random, shape)
    line = np.log2(values)[:, None]
    scores = line + sds[:, :, None] * (shared + own)
    axes = np.meshgrid(range(experiments), NAMES, values, range(n), indexing="ij")
    keys = ("repetition", "norm", "batch", "seed")
    columns = dict(zip(keys, axes, strict=True)) | {METRIC: scores}
    runs = pd.DataFrame({name: column.ravel() for name, column in columns.items()})
    return runs.assign(status="finished")


def derived_table(experiments: int, n: int = 10) -> str:
    """Verdicts on an interaction and a slope that the arms share."""
    claims = {
        "interaction": ({"interaction": {"batch": [2, 64]}}, (2, 64)),
        "slope": ({"slope": "batch", "scale": "log2"}, AXIS),
    }
    spreads = {
        "equal SD": lambda count: np.ones((2, count)),
        "SD 4 at the first value of one arm": lambda count: np.block(
            [[np.full((1, 1), 4.0), np.ones((1, count - 1))], [np.ones((1, count))]]
        ),
    }
    rows = []
    for kind, (claim, values) in claims.items():
        for noise in NOISES:
            for spread, make in spreads.items():
                counts = _derived_counts(claim, values, noise, make, experiments, n)
                cells = [rate(count, experiments) for count in counts]
                rows.append([f"{kind}: {noise}, {spread}", *cells])
    return table(["arms with equal gains", "higher", "lower"], rows)


def _derived_counts(
    claim: dict,
    values: tuple[int, ...],
    noise: str,
    make_sds: Callable[[int], NDArray],
    experiments: int,
    n: int,
) -> tuple[int, int]:
    """How often the arms are judged to differ, with higher and with lower values."""
    plan = {"by": "norm", "metric": METRIC, "within": ["repetition"], **claim}
    random = np.random.default_rng(n)
    sds = make_sds(len(values))
    runs = factorial(random, noise, sds, values, experiments, n)
    rows, column, _ = derived_runs(plan, runs)
    rows = rows.sort_values(["arm", "repetition", "seed"])
    arm, baseline = rows[column].to_numpy().reshape(2, experiments, n)
    return count_shown(arm, baseline)
