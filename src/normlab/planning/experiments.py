"""The power of a comparison: made-up experiments, judged as real ones are.

Every experiment draws normal scores for all arms and makes the test that a comparison
would make of them: the sign-flip test of pairs, Welch's test of independent runs, the
corrected t test of folds, or two one-sided tests, with Holm's correction over all
contrasts.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from normlab.compare.deciding import by_mean, decide
from normlab.compare.equivalence import doubts, equivalence_p
from normlab.compare.inference import holm
from normlab.compare.samples import Sample


@dataclass(frozen=True)
class Spread:
    """How the runs of two arms spread.

    Attributes:
        arm: standard deviation of the arm's runs, or of its folds.
        baseline: the same of the baseline.
        correlation: of both arms over common seeds or folds.
    """

    arm: float
    baseline: float
    correlation: float = 0.0

    @property
    def of_differences(self) -> float:
        """Standard deviation of the difference of two runs with the same seed."""
        covariance = self.correlation * self.arm * self.baseline
        return math.sqrt(self.arm**2 + self.baseline**2 - 2 * covariance)


@dataclass(frozen=True)
class Plan:
    """What a comparison is to show.

    Attributes:
        claim: `different` (the arm is better), `higher` (by more than the margin),
            `equal` (within the margin) or `not_worse` (worse by less than it).
        effect: the true difference of one arm, positive if it is better; all other arms
            are like the baseline.
        spread: of the runs.
        design: `paired`, `independent` or `folds`.
        margin: of all claims but `different`, above 0.
        level: probability of a false alarm over all contrasts.
        contrasts: number of arms that are compared with the baseline.
    """

    claim: str
    effect: float
    spread: Spread
    design: str = "paired"
    margin: float = 0.0
    level: float = 0.05
    contrasts: int = 1


def num_shown(plan: Plan, n: int, simulations: int) -> int:
    """In how many of some made-up experiments the claim is shown.

    Args:
        plan: what is to be shown, and the truth.
        n: seeds per arm, or folds.
        simulations: number of experiments.
    """
    shown = 0
    for samples in experiments(plan, n, simulations):
        shown += is_shown(plan, samples, n)
    return shown


def experiments(plan: Plan, n: int, simulations: int) -> Iterator[list[Sample]]:
    """The scores of made-up experiments, the same in every call.

    Folds share training data: their differences have the correlation ``1/n`` that the
    test of Nadeau and Bengio (2003) assumes, see `intervals.fold_error`, which the
    spread between the folds of one experiment does not show.

    Args:
        plan: what is to be shown, and the truth.
        n: seeds per arm, or folds.
        simulations: number of experiments.

    Yields:
        One sample per contrast; the first has the effect.
    """
    random = np.random.default_rng(0)
    spread = plan.spread
    correlation = 0.0 if plan.design == "independent" else spread.correlation
    own = math.sqrt(1 - correlation**2)
    for _ in range(simulations):
        shared, *others = random.standard_normal((plan.contrasts + 1, n))
        arms = [spread.arm * (correlation * shared + own * noise) for noise in others]
        if plan.design == "folds":
            size = spread.of_differences / math.sqrt(n - 1)
            arms = [arm + size * random.standard_normal() for arm in arms]
        arms[0] = arms[0] + plan.effect
        baseline = spread.baseline * shared
        paired = plan.design != "independent"
        yield [Sample(arm, baseline, paired) for arm in arms]


def is_shown(plan: Plan, samples: list[Sample], n: int) -> bool:
    """Whether a comparison of these scores shows the claim about the first contrast.

    Args:
        plan: what is to be shown.
        samples: one per contrast.
        n: number of folds, if the design has any.
    """
    folds = n if plan.design == "folds" else None
    if plan.claim == "equal":
        return _is_equivalent(plan, samples, folds)
    if plan.claim == "not_worse":
        return _lies_above(plan, samples[0], -plan.margin, folds)
    if not _is_better(plan, samples, folds):
        return False
    if plan.claim == "different":
        return True
    return _lies_above(plan, samples[0], plan.margin, folds)


def _is_better(plan: Plan, samples: list[Sample], folds: int | None) -> bool:
    decision = decide(samples[0], [], folds)
    if decision.direction <= 0:
        return False

    def p_values() -> Iterator[float]:
        for sample in samples[1:]:
            yield decide(sample, [], folds).p

    return _passes_holm(plan, decision.p, p_values())


def _is_equivalent(plan: Plan, samples: list[Sample], folds: int | None) -> bool:
    if doubts(samples[0], ("arm", "baseline")):
        return False

    def p_values() -> Iterator[float]:
        for sample in samples[1:]:
            yield equivalence_p(sample, folds, plan.margin)

    p = equivalence_p(samples[0], folds, plan.margin)
    return _passes_holm(plan, p, p_values())


def _passes_holm(plan: Plan, p: float, others: Iterator[float]) -> bool:
    """Whether a p-value is below the level after Holm's correction.

    The other p-values are only computed if the answer depends on them.
    """
    if not p < plan.level:
        return False
    if p * plan.contrasts < plan.level:
        return True
    return bool(holm([p, *others])[0] < plan.level)


def _lies_above(plan: Plan, sample: Sample, limit: float, folds: int | None) -> bool:
    """Whether the interval of the difference lies above a limit.

    The interval belongs to the test, so it does exactly if the test finds the
    differences to be above the limit.
    """
    shifted = Sample(sample.arm - limit, sample.baseline, sample.paired)
    decision = by_mean(shifted, folds)
    return decision.direction > 0 and decision.p * plan.contrasts < plan.level


def true_room(plan: Plan) -> float:
    """How far the truth lies on the right side of what the claim's test rejects.

    Args:
        plan: what is to be shown, and the truth.

    Returns:
        Not above 0 if no number of seeds can show the claim.
    """
    rooms = {
        "different": plan.effect,
        "higher": plan.effect - plan.margin,
        "equal": plan.margin - abs(plan.effect),
        "not_worse": plan.effect + plan.margin,
    }
    return rooms[plan.claim]


def standard_error(plan: Plan, n: int) -> float:
    """Standard error of the difference of the means.

    Args:
        plan: with the spread and the design.
        n: seeds per arm, or folds.
    """
    spread = plan.spread
    if plan.design == "independent":
        return math.sqrt((spread.arm**2 + spread.baseline**2) / n)
    if plan.design == "folds":
        return spread.of_differences * math.sqrt(1 / n + 1 / (n - 1))
    return spread.of_differences / math.sqrt(n)
