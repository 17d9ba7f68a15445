"""How often arms with equal means are told apart, and how often intervals hold."""

import math

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from normlab.compare.deciding import decide
from normlab.compare.differences import interval_of
from normlab.compare.effects import probability_of_improvement
from normlab.compare.inference import holm, holm_divisors
from normlab.compare.samples import Sample
from verdicts.cases import CASES, LEVEL, SIZES, Case, left_tail, normal, rate, table


def verdict_cells(case: Case, paired: bool, experiments: int) -> list[str]:
    """Rates of "better" and of "worse" by n for equal means, and the coverage."""
    cells = []
    covered = 0
    for n in SIZES:
        random = np.random.default_rng(n)
        counts = {-1: 0, 0: 0, 1: 0}
        for _ in range(experiments):
            sample = Sample(*case(random, n), paired=paired)
            decision = decide(sample, [], None)
            is_shown = decision.p < LEVEL
            counts[decision.direction if is_shown else 0] += 1
            if n == 10:
                low, high = interval_of(sample, None, 1 - LEVEL)
                covered += low <= 0 <= high
        better = rate(counts[1], experiments)
        cells.append(f"{better}; {rate(counts[-1], experiments)}")
    return [*cells, rate(covered, experiments)]


def verdict_table(experiments: int) -> str:
    """Wrong verdicts of a difference, pairs first, then independent runs."""
    rows = []
    for name, case in CASES.items():
        rows.append([f"{name}", *verdict_cells(case, True, experiments)])
    for name in ("normal, SD 4:1", "a tail of bad runs against a calm arm, SD 4:1"):
        cells = verdict_cells(CASES[name], False, experiments)
        rows.append([f"{name}, independent runs", *cells])
    sizes = [f"n = {n}: better; worse" for n in SIZES]
    return table(["arms with equal means", *sizes, "covers 0, n = 10"], rows)


def wins_table(experiments: int) -> str:
    """Wrong verdicts if each arm wins half of the pairs, but the means differ."""
    rows = []
    for calm in (0.25, 0.1):
        cells = []
        for n in SIZES:
            random = np.random.default_rng(n)
            wrong = 0
            for _ in range(experiments):
                arm, baseline = left_tail(random, n, calm)
                # The median of 1 − an exponential value is 1 − log 2.
                shift = 1 - math.log(2)
                decision = decide(Sample(arm - shift, baseline, paired=True), [], None)
                wrong += decision.p < LEVEL and decision.direction > 0
            cells.append(rate(wrong, experiments))
        rows.append([f"a tail against a calm arm, SD {1 / calm:.0f}:1", *cells])
    return table(["arms with equal medians", *(f"n = {n}" for n in SIZES)], rows)


def diverging(random: Generator, n: int, share: float) -> Sample:
    """Two equal arms; of the first, the worst share of runs diverges."""
    arm, baseline = normal(random, n)
    limit = {0.1: -1.2816, 0.2: -0.8416, 0.3: -0.5244}[share]  # normal quantiles
    return Sample(np.where(arm < limit, -math.inf, arm), baseline, paired=True)


def divergence_table(experiments: int, n: int = 12) -> str:
    """Wrong "better" of an arm that loses its worst runs."""
    rows = []
    for share in (0.1, 0.2, 0.3):
        random = np.random.default_rng(n)
        wrong = wrong_before = 0
        for _ in range(experiments):
            outcome = diverging(random, n, share)
            kept = np.isfinite(outcome.arm)
            finished = Sample(outcome.arm[kept], outcome.baseline[kept], paired=True)
            before = decide(finished, [], None)
            wrong_before += before.p < LEVEL and before.direction > 0
            outcomes = [] if kept.all() else [outcome]
            decision = decide(finished, outcomes, None)
            wrong += decision.p < LEVEL and decision.direction > 0
        name = f"the worst {share:.0%} of one arm diverge, n = {n}"
        rows.append([name, rate(wrong, experiments), rate(wrong_before, experiments)])
    columns = ["equal arms", "by ranks, as verdicts are", "by those that finished"]
    return table(columns, rows)


def family_table(experiments: int, n: int = 10) -> str:
    """Any wrong verdict, and any interval off 0, among several equal arms."""
    rows = []
    for num_arms in (2, 3, 4, 6):
        random = np.random.default_rng(num_arms)
        wrong = off = disagree = 0
        for _ in range(experiments):
            baseline, *arms = random.standard_normal((num_arms, n))
            samples = [Sample(arm, baseline, paired=True) for arm in arms]
            p_values = [decide(sample, [], None).p for sample in samples]
            shown = holm(p_values) < LEVEL
            outside = _holm_intervals_off_zero(samples, p_values)
            wrong += shown.any()
            off += outside.any()
            disagree += (outside != shown).any()
        cells = [rate(count, experiments) for count in (wrong, off)]
        rows.append([str(num_arms), *cells, str(disagree)])
    columns = ["arms", "any better or worse", "any interval off 0", "disagreements"]
    return table(columns, rows)


def _holm_intervals_off_zero(samples: list[Sample], p_values: list[float]) -> NDArray:
    found = []
    for sample, step in zip(samples, holm_divisors(p_values, LEVEL), strict=True):
        low, high = interval_of(sample, None, 1 - LEVEL / step)
        found.append(not low <= 0 <= high)
    return np.array(found)


def improvement_table(experiments: int) -> str:
    """Coverage of the interval of P(better)."""
    rows = []
    for probability in (0.5, 0.75, 0.9, 0.95):
        cells = []
        for n in SIZES:
            random = np.random.default_rng(n)
            covered = 0
            for _ in range(experiments):
                wins = (random.random(n) < probability).astype(float)
                halves = np.full(n, 0.5)
                _, (low, high) = probability_of_improvement(wins, halves, True, True)
                covered += low <= probability <= high
            cells.append(rate(covered, experiments))
        rows.append([f"{probability:g}", *cells])
    return table(["P(better)", *(f"n = {n}" for n in SIZES)], rows)


def looks_table(experiments: int) -> str:
    """Any "better" or "worse" if the runs are looked at while seeds are added."""
    plans = {
        "once, at 10": ([10], LEVEL),
        "after every seed from 6 to 12": (list(range(6, 13)), LEVEL),
        "at 10 and at 20": ([10, 20], LEVEL),
        "at 10, 15, 20, 25 and 30": ([10, 15, 20, 25, 30], LEVEL),
        "at 10 and at 20, planned by a study": ([10, 20], LEVEL / 2),
    }
    rows = []
    for name, (looks, level) in plans.items():
        random = np.random.default_rng(0)
        wrong = 0
        for _ in range(experiments):
            arm, baseline = normal(random, looks[-1])
            samples = [Sample(arm[:n], baseline[:n], paired=True) for n in looks]
            wrong += any(decide(sample, [], None).p < level for sample in samples)
        rows.append([name, rate(wrong, experiments)])
    return table(["looks", "any better or worse"], rows)
