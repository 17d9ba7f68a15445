"""How often arms that differ by the margin, or by more, are called equivalent."""

from functools import partial

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from normlab.compare.equivalence import doubts, equivalence_p
from normlab.compare.samples import Sample
from verdicts.cases import CASES, LEVEL, NAMES, SIZES, Arms, Case, rate, table


def rare_collapses(random: Generator, n: int, share: float) -> Arms:
    """Runs of one arm fall from 0.97 to 0.1 with a small probability, SD 0.003 else."""
    arm = 0.003 * random.standard_normal(n)
    fallen = random.random(n) < share
    return arm - 0.87 * fallen, 0.003 * random.standard_normal(n)


def tied_pairs(random: Generator, n: int) -> Arms:
    """Pairs are equal but for a tenth of them, which differ by 0.1; SD of runs 0.1."""
    baseline = 0.1 * random.standard_normal(n)
    differs = random.random(n) < 0.1
    return baseline - 0.1 * differs, baseline


# Cases whose difference is beyond the margin that is given with them.
BEYOND: dict[str, tuple[Case, float]] = {
    "one run in 100 collapses unseen, 1.7 margins apart": (
        partial(rare_collapses, share=0.01),
        0.005,
    ),
    "one run in 20 collapses unseen, 9 margins apart": (
        partial(rare_collapses, share=0.05),
        0.005,
    ),
    "equal pairs but a tenth, 1.01 margins apart": (tied_pairs, 0.0099),
}


def equivalence_cells(
    case: Case, margin: float, experiments: int, worse: float = 0.0
) -> list[str]:
    """Rates of "equivalent" by n, with the scores of the arm lowered by `worse`."""
    cells = []
    for n in SIZES:
        random = np.random.default_rng(n)
        wrong = 0
        for _ in range(experiments):
            arm, baseline = case(random, n)
            wrong += _called_equivalent(arm - worse, baseline, margin)
        cells.append(rate(wrong, experiments))
    return cells


def _called_equivalent(arm: NDArray, baseline: NDArray, margin: float) -> bool:
    sample = Sample(arm, baseline, paired=True)
    if not equivalence_p(sample, None, margin) < LEVEL:
        return False
    return not doubts(sample, NAMES)


def equivalence_table(experiments: int) -> str:
    """Wrong "equivalent": the difference is the margin, or beyond it."""
    rows = []
    for name, case in CASES.items():
        margin = 2.0 if "4:1" not in name else 5.0
        rows.append([name, *equivalence_cells(case, margin, experiments, margin)])
    for name, (case, margin) in BEYOND.items():
        rows.append([name, *equivalence_cells(case, margin, experiments)])
    return table(["truth at the margin", *(f"n = {n}" for n in SIZES)], rows)
