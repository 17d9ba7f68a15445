"""How often the verdicts of a comparison are wrong: thousands of made-up experiments.

    python benchmarks/calibration.py [--experiments 2000] [--out FILE] [--only WORD]

Every row makes experiments in which the truth is known, lets the functions of
`normlab.compare` and `normlab.study` judge them, and counts wrong verdicts. The
interval beside each rate is its own 95 % interval (Clopper and Pearson). Seeds are
fixed. It takes some minutes on one core and writes docs/results/calibration.md; with
--only it replaces the sections with this word in their title.
"""

import argparse
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
from numpy.random import Generator
from numpy.typing import NDArray

from normlab.compare.contrasts import measure, with_verdicts
from normlab.compare.deciding import decide
from normlab.compare.differences import interval_of
from normlab.compare.effects import probability_of_improvement
from normlab.compare.equivalence import doubts, equivalence_p
from normlab.compare.inference import holm, holm_divisors
from normlab.compare.intervals import binomial_interval
from normlab.compare.samples import Sample
from normlab.compare.selection import best_values, is_at_best
from normlab.report.table_formats import markdown_rows
from normlab.study.derived import derived_runs
from normlab.study.rules import judge

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "results" / "calibration.md"
LEVEL = 0.05
SIZES = (6, 10, 20)
METRIC = "test/accuracy"
NAMES = ("arm", "baseline")
WITHOUT = {"doubt": "", "where": "", "arm": "arm", "baseline": "baseline"}
COUNTS = ("runs", "diverged", "failed", "without_metric")
CLAIMS = 4  # a claim takes longer, and has that many times fewer experiments
COLLAPSE = 1 / 0.3  # a collapse whose frequency of .1 makes a spread of about 1

Arms = tuple[NDArray, NDArray]  # both shape (n,), with equal means
Case = Callable[[Generator, int], Arms]


def normal(
    random: Generator, n: int, ratio: float = 1.0, correlation: float = 0.0
) -> Arms:
    """Two normal arms; the standard deviation of the first is `ratio`."""
    shared = random.standard_normal(n)
    own = math.sqrt(1 - correlation**2)
    other = correlation * shared + own * random.standard_normal(n)
    return ratio * shared, other


def left_tail(random: Generator, n: int, calm: float | None = None) -> Arms:
    """An exponential tail of bad runs in both arms, or only beside a calm arm."""
    arm = 1 - random.exponential(size=n)
    if calm is None:
        return arm, 1 - random.exponential(size=n)
    return arm, calm * random.standard_normal(n)


def heavy_tails(random: Generator, n: int) -> Arms:
    return random.standard_t(3, n), random.standard_t(3, n)


def collapses(random: Generator, n: int, both: bool) -> Arms:
    """A tenth of the runs collapses, in one arm or in both."""
    shares = (0.1, 0.1 if both else 0.0)
    arms = []
    for share in shares:
        values = 0.1 * random.standard_normal(n)
        fallen = random.random(n) < share
        arms.append(values - COLLAPSE * (fallen - share))
    return arms[0], arms[1]


def ties(random: Generator, n: int) -> Arms:
    """Values rounded to steps of half a standard deviation."""
    return _rounded(random.standard_normal(n)), _rounded(random.standard_normal(n))


def _rounded(values: NDArray) -> NDArray:
    return np.round(2 * values) / 2


CASES: dict[str, Case] = {
    "normal": normal,
    "normal, correlation of pairs .5": partial(normal, correlation=0.5),
    "normal, correlation of pairs −.5": partial(normal, correlation=-0.5),
    "a tail of bad runs in both arms": left_tail,
    "heavy tails in both arms (t with 3 degrees of freedom)": heavy_tails,
    "a tenth of the runs collapses, in both arms": partial(collapses, both=True),
    "ties (steps of half an SD)": ties,
    "normal, SD 4:1": partial(normal, ratio=4.0),
    "a tail of bad runs against a calm arm, SD 4:1": partial(left_tail, calm=0.25),
    "a tail of bad runs against a calm arm, SD 10:1": partial(left_tail, calm=0.1),
    "a tenth of one arm's runs collapses, calm arm": partial(collapses, both=False),
}


def rate(wrong: int, total: int) -> str:
    """`.052 (.043 to .062)`: a rate and its 95 % interval."""
    low, high = binomial_interval(wrong, total)
    parts = [f"{value:.3f}" for value in (wrong / total, low, high)]
    share, low_text, high_text = [part.removeprefix("0") for part in parts]
    return f"{share} ({low_text} to {high_text})"


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


def equivalence_cells(case: Case, margin: float, experiments: int) -> list[str]:
    """Rates of "equivalent" by n where the difference is exactly minus the margin."""
    cells = []
    for n in SIZES:
        random = np.random.default_rng(n)
        wrong = 0
        for _ in range(experiments):
            arm, baseline = case(random, n)
            wrong += _called_equivalent(arm - margin, baseline, margin)
        cells.append(rate(wrong, experiments))
    return cells


def _called_equivalent(arm: NDArray, baseline: NDArray, margin: float) -> bool:
    sample = Sample(arm, baseline, paired=True)
    if not equivalence_p(sample, None, margin) < LEVEL:
        return False
    return not doubts(sample, NAMES)


def rare_collapses(random: Generator, n: int, share: float) -> Arms:
    """Runs of one arm fall from .97 to .1 with a small probability, SD .003 else."""
    arm = 0.003 * random.standard_normal(n)
    fallen = random.random(n) < share
    return arm - 0.87 * fallen, 0.003 * random.standard_normal(n)


def tied_pairs(random: Generator, n: int) -> Arms:
    """Pairs are equal but for a tenth of them, which differ by .1; SD of runs .1."""
    baseline = 0.1 * random.standard_normal(n)
    differs = random.random(n) < 0.1
    return baseline - 0.1 * differs, baseline


def equivalence_table(experiments: int) -> str:
    """Wrong "equivalent": the difference is the margin, or beyond it."""
    rows = []
    for name, case in CASES.items():
        margin = 2.0 if "4:1" not in name else 5.0
        rows.append([name, *equivalence_cells(case, margin, experiments)])
    fixed: dict[str, tuple[Case, float]] = {
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
    for name, (case, margin) in fixed.items():
        cells = []
        for n in SIZES:
            random = np.random.default_rng(n)
            wrong = 0
            for _ in range(experiments):
                wrong += _called_equivalent(*case(random, n), margin)
            cells.append(rate(wrong, experiments))
        rows.append([name, *cells])
    return table(["truth at the margin", *(f"n = {n}" for n in SIZES)], rows)


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


def direction_table(experiments: int, n: int = 10, margin: float = 0.005) -> str:
    """Verdicts on "higher by more than the margin", by the true difference."""
    rows = []
    for true in (0.0, 0.001, 0.002, 0.003, 0.005, 0.008):
        random = np.random.default_rng(n)
        counts = dict.fromkeys(("supported", "contradicted", "cannot tell"), 0)
        for _ in range(experiments):
            arm, baseline = normal(random, n)
            sample = Sample(0.002 * arm + true, 0.002 * baseline, paired=True)
            counts[judged([sample], "higher", margin)] += 1
        cells = [rate(count, experiments) for count in counts.values()]
        rows.append([f"{true:+.3f}", *cells])
    columns = ["true difference", "supported", "contradicted", "cannot tell"]
    return table(columns, rows)


def equal_claim_table(experiments: int, n: int = 10) -> str:
    """Claims of equality whose differences are all exactly the margin."""
    rows = []
    for num_contrasts in (1, 2, 4, 6):
        random = np.random.default_rng(num_contrasts)
        counts = dict.fromkeys(("supported", "contradicted", "cannot tell"), 0)
        for _ in range(experiments):
            baseline, *arms = random.standard_normal((num_contrasts + 1, n))
            samples = [Sample(arm + 3.0, baseline, paired=True) for arm in arms]
            counts[judged(samples, "equal", 3.0)] += 1
        cells = [rate(counts[name], experiments) for name in list(counts)[:2]]
        rows.append([str(num_contrasts), *cells])
    return table(["contrasts", "supported", "contradicted"], rows)


def not_worse_table(experiments: int, n: int = 10, margin: float = 0.005) -> str:
    """Verdicts on "not worse by the margin", by the true difference and the shape."""
    rows = []
    cases = {
        f"normal, {true:+.3f}": (partial(normal), true, 0.002)
        for true in (0.0, -0.002, -0.005, -0.008)
    }
    for name in list(CASES)[3:9]:
        cases[f"{name}, {-margin:+.3f}"] = (CASES[name], -margin, 0.002)
    for name, (case, true, scale) in cases.items():
        random = np.random.default_rng(n)
        counts = dict.fromkeys(("supported", "contradicted", "cannot tell"), 0)
        for _ in range(experiments):
            arm, baseline = case(random, n)
            sample = Sample(scale * arm + true, scale * baseline, paired=True)
            counts[judged([sample], "not_worse", margin)] += 1
        rows.append([name, *[rate(count, experiments) for count in counts.values()]])
    columns = ["arms, true difference", "supported", "contradicted", "cannot tell"]
    return table(columns, rows)


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
    higher = lower = 0
    for pair in zip(arm, baseline, strict=True):
        decision = decide(Sample(*pair, paired=True), [], None)
        is_shown = decision.p < LEVEL
        higher += is_shown and decision.direction > 0
        lower += is_shown and decision.direction < 0
    return higher, lower


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


def table(columns: list[str], rows: list[list[str]]) -> str:
    is_number = [False, *([True] * (len(columns) - 1))]
    return markdown_rows(columns, rows, is_number)


HEAD = """# How often the verdicts are wrong

This page is written by `python benchmarks/calibration.py`: {experiments:,} made-up
experiments in every cell ({claims:,} in those of claims), judged by the functions that
judge real runs. The nominal level is .05 where nothing else is said. In parentheses is
the 95 % interval of each rate, which is known no better than the number of experiments
allows. Where rates are beyond their level, the text above the table says so in bold,
and a report warns.
"""
SECTIONS = {
    "A difference where the means are equal": (
        """"Better" and "worse" have .025 each. The tests hold it as long as the arms
have one shape. Against **a tail of bad runs in one arm only** no test of a mean can: a
handful of runs misses the tail, and the arm looks better than its mean. It *is* the
better one in most pairs, and that is what the verdict says there: from a threefold
spread on, a test of the wins must agree, and the sentence and a warning name both
spreads, the median and the wins. The last column is the interval of the difference.""",
        verdict_table,
    ),
    "A tail of bad runs, and each arm wins half of the pairs": (
        """Here the means differ and the wins do not: "better" for the arm with the
tail would be wrong by either measure. Nominal .025.""",
        wins_table,
    ),
    "Equivalence where the difference is the margin": (
        """Two one-sided tests, and no "equivalent" below 10 pairs, with spreads that
differ twofold, with skewed differences (skewness beyond ±1), or with diverged runs.
**Collapses that no run showed** cannot be excluded by any test; every sentence about
equivalence says how frequent they may be: 26 % of runs for 10 pairs, 14 % for 20.""",
        equivalence_table,
    ),
    "Diverged runs": (
        """Ranks decide, with diverged and failed runs as the worst. Nominal .025.""",
        divergence_table,
    ),
    "Several arms": (
        """Holm's correction over all contrasts, and the interval at the confidence of
its step. It agrees with the corrected test of the mean by construction; the column of
disagreements counts samples whose spreads differ threefold by chance, where the wins
must agree too, as their sentence says.""",
        family_table,
    ),
    "A claim of a direction, with a margin of .005": (
        """The limit is the margin: at a true difference of .005 each verdict may be
wrong in .025 of the studies. The differences have an SD of .0028, and n = 10.""",
        direction_table,
    ),
    "A claim of equality where every difference is the margin": (
        """All contrasts must pass for "supported"; one suffices for "contradicted",
whose intervals therefore hold for all at once. n = 10.""",
        equal_claim_table,
    ),
    "A claim of non-inferiority, with a margin of .005": (
        """"Not worse" is no longer true if the arm is worse by the margin, a difference
of -0.005: nominal .025 for each verdict there. The differences of normal arms have an
SD of .0028, and n = 10. As with equality, the answer is "cannot tell" if spreads differ
at least twofold or differences are skewed. **A tail of bad runs in one arm only**,
which few runs reveal, leads to "supported" too often.""",
        not_worse_table,
    ),
    "An interaction and a slope that the arms share": (
        """Two arms at two values of a setting (interaction) or at five (slope over
their logarithm), with equal gains of both arms: nominal .025 each, n = 10. All rates
are near it or below, also if one arm spreads four times as much at one value.""",
        derived_table,
    ),
    "The interval of P(better)": (
        """Nominal: at least .95.""",
        improvement_table,
    ),
    "Every arm at its best value": (
        """Both arms are equal at their best value; each chooses it by its mean score on
validation over ten seeds. The correlation is that of validation and test scores over
runs.
**Tested on the same seeds, the larger grid wins too often**: sentences name the number
of values that were tried, and a warning names unequal grids. A test on
[other seeds](../how-to/learning-rates.md) (`--confirm`, `confirm_seeds`) keeps the
level. The bias is that of the difference, in SD of one run.""",
        selection_table,
    ),
    "Looking while seeds are added": (
        """No comparison can know how often it was made. **Rates of several looks are
beyond the level**, and the remedy is a plan: a [study](../how-to/study.md) answers
once, from all seeds of its grid, or at planned looks that share the level.""",
        looks_table,
    ),
}


CLAIM_TABLES = (direction_table, equal_claim_table, not_worse_table)


def document(experiments: int) -> str:
    """Return the page, with every table measured again."""
    parts = [HEAD.format(experiments=experiments, claims=experiments // CLAIMS)]
    for title in SECTIONS:
        parts.append(section(title, experiments))
    return "\n".join(parts)


def section(title: str, experiments: int) -> str:
    """Return one section of the page, with its table measured again."""
    text, measured = SECTIONS[title]
    started = time.monotonic()
    if measured in CLAIM_TABLES:
        experiments //= CLAIMS
    shown = measured(experiments)
    print(f"{title}: {time.monotonic() - started:.0f} s", flush=True)
    return f"## {title}\n\n{text}\n\n{shown}\n"


def with_measured(page: str, word: str, experiments: int) -> str:
    """The page with the sections measured again that have a word in their title.

    The other sections stay as they are.
    """
    head, *parts = page.split("\n## ")
    stored = {part.partition("\n")[0]: f"## {part}" for part in parts}
    shown = [head]
    for title in SECTIONS:
        if word in title or title not in stored:
            stored[title] = section(title, experiments)
        shown.append(stored[title].rstrip() + "\n")
    return "\n".join([shown[0].rstrip() + "\n", *shown[1:]])


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=DOCUMENT)
    parser.add_argument(
        "--only",
        metavar="WORD",
        help="measure the sections with this word in their title only",
    )
    options = parser.parse_args()
    if options.only:
        page = options.out.read_text(encoding="utf-8")
        text = with_measured(page, options.only, options.experiments)
    else:
        text = document(options.experiments)
    options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
