"""How often claims are supported or contradicted, by the true difference."""

import math
from collections import Counter
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
from numpy.random import Generator

from normlab.compare.contrasts import measure, with_verdicts
from normlab.compare.equivalence import doubts
from normlab.compare.samples import Sample
from normlab.study.rules import judge
from verdicts.cases import CASES, LEVEL, METRIC, NAMES, Case, normal, rate, table

VERDICTS = ("supported", "contradicted", "cannot tell")
WITHOUT = {"doubt": "", "where": "", "arm": "arm", "baseline": "baseline"}
COUNTS = ("runs", "diverged", "failed", "without_metric")


def judged(samples: list[Sample], expect: str, margin: float) -> str:
    """The verdict on a claim about some contrasts, as a study gives it."""
    rows = []
    for sample in samples:
        row = measure(sample, [], True, LEVEL, margin) | WITHOUT | {"margin": margin}
        row |= {name: 0 for count in COUNTS for name in (count, f"{count}_baseline")}
        row |= {"trained_p": math.nan, "doubt": doubts(sample, NAMES)}
        row |= {"spread": math.nan}  # nobody asks for a number of seeds here
        rows.append(row)
    contrasts: pd.DataFrame = with_verdicts(rows, METRIC, LEVEL)
    comparison = SimpleNamespace(
        contrasts=contrasts, margins={"": 1}, level=LEVEL, metric=METRIC
    )
    verdict, _ = judge(comparison, expect, 1)
    return verdict


def claim_cells(
    draw: Callable[[Generator], list[Sample]],
    seed: int,
    expect: str,
    margin: float,
    experiments: int,
) -> list[str]:
    """Rates of the verdicts on a claim.

    Args:
        draw: makes the contrasts of one experiment.
        seed: of the experiments.
        expect: what the claim expects.
        margin: that it states.
        experiments: number of experiments.
    """
    random = np.random.default_rng(seed)
    counts: Counter[str] = Counter()
    for _ in range(experiments):
        counts[judged(draw(random), expect, margin)] += 1
    return [rate(counts[verdict], experiments) for verdict in VERDICTS]


def one_contrast(
    random: Generator, n: int, case: Case, scale: float, true: float
) -> list[Sample]:
    """Arms of a case in another scale, whose true difference is not 0."""
    arm, baseline = case(random, n)
    return [Sample(scale * arm + true, scale * baseline, paired=True)]


def direction_table(experiments: int, n: int = 10, margin: float = 0.005) -> str:
    """Verdicts on "higher by more than the margin", by the true difference."""
    rows = []
    for true in (0.0, 0.001, 0.002, 0.003, 0.005, 0.008):
        draw = partial(one_contrast, n=n, case=normal, scale=0.002, true=true)
        cells = claim_cells(draw, n, "higher", margin, experiments)
        rows.append([f"{true:+.3f}", *cells])
    return table(["true difference", *VERDICTS], rows)


def all_at_margin(
    random: Generator, n: int, num_contrasts: int, margin: float
) -> list[Sample]:
    """Contrasts with one baseline, all of which differ by the margin."""
    baseline, *arms = random.standard_normal((num_contrasts + 1, n))
    return [Sample(arm + margin, baseline, paired=True) for arm in arms]


def equal_claim_table(experiments: int, n: int = 10, margin: float = 3.0) -> str:
    """Claims of equality whose differences are all exactly the margin."""
    rows = []
    for count in (1, 2, 4, 6):
        draw = partial(all_at_margin, n=n, num_contrasts=count, margin=margin)
        supported, contradicted, _ = claim_cells(
            draw, count, "equal", margin, experiments
        )
        rows.append([str(count), supported, contradicted])
    return table(["contrasts", *VERDICTS[:2]], rows)


def not_worse_table(experiments: int, n: int = 10, margin: float = 0.005) -> str:
    """Verdicts on "not worse by the margin", by the true difference and the shape."""
    cases: dict[str, tuple[Case, float]] = {}
    for true in (0.0, -0.002, -0.005, -0.008):
        cases[f"normal, {true:+.3f}"] = (normal, true)
    for name in list(CASES)[3:9]:
        cases[f"{name}, {-margin:+.3f}"] = (CASES[name], -margin)
    rows = []
    for name, (case, true) in cases.items():
        draw = partial(one_contrast, n=n, case=case, scale=0.002, true=true)
        cells = claim_cells(draw, n, "not_worse", margin, experiments)
        rows.append([name, *cells])
    return table(["arms, true difference", *VERDICTS], rows)
