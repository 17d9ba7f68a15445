"""The number of seeds at which a claim reaches some power."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist

from scipy import stats

from normlab.compare.inference import SMALLEST_N
from normlab.compare.intervals import Interval, binomial_interval
from normlab.compare.shapes import FEWEST_FOR_EQUIVALENCE
from normlab.planning.experiments import (
    Plan,
    Spread,
    num_shown,
    standard_error,
    true_room,
)

MOST_SEEDS = 500
COARSE = 20  # beyond as many seeds a step is a twentieth of them
SHOWN_SIZES = (6, 8, 10, 15, 20, 30, 50)
BOUND = 0.8  # confidence of the upper bound of a spread


@dataclass
class Powers:
    """The power of a plan by the number of seeds, simulated where it is asked for.

    Attributes:
        plan: what is to be shown, and the truth.
        simulations: number of made-up experiments for each number of seeds.
        shown: in how many of them the claim was shown, by number of seeds.
    """

    plan: Plan
    simulations: int
    shown: dict[int, int] = field(default_factory=dict)

    def at(self, n: int) -> float:
        """The power with n seeds."""
        if n not in self.shown:
            self.shown[n] = num_shown(self.plan, n, self.simulations)
        return self.shown[n] / self.simulations

    def interval(self, n: int, confidence: float = 0.95) -> Interval:
        """The interval of the power with n seeds, by the number of simulations."""
        self.at(n)
        return binomial_interval(self.shown[n], self.simulations, confidence)


def seeds_for(powers: Powers, wanted: float) -> int | None:
    """The fewest seeds at which the simulated power reaches the one that is wanted.

    Args:
        powers: of the plan.
        wanted: between 0 and 1.

    Returns:
        Seeds per arm, or folds; above 20 to a twentieth. None if 500 are too few.
    """
    guess = approximate_seeds(powers.plan, wanted)
    if guess is None:
        return None
    smallest = fewest_seeds(powers.plan)
    n = max(smallest, guess)
    while powers.at(n) < wanted:
        n += _step(n)
        if n > MOST_SEEDS:
            return None
    while n > smallest:
        below = max(smallest, n - _step(n))
        if powers.at(below) < wanted:
            return n
        n = below
    return n


def _step(n: int) -> int:
    return max(1, n // COARSE)


def fewest_seeds(plan: Plan) -> int:
    """The fewest seeds at which the claim can be shown at all.

    Args:
        plan: what is to be shown.
    """
    return FEWEST_FOR_EQUIVALENCE if plan.claim == "equal" else SMALLEST_N


def approximate_seeds(plan: Plan, wanted: float) -> int | None:
    """About how many seeds a t test needs, from which a simulation starts.

    ``P(T > t) = wanted`` for a noncentral T that is shifted by the room between truth
    and limit in standard errors; two one-sided tests must both be passed.

    Args:
        plan: what is to be shown.
        wanted: the power.

    Returns:
        None if 500 are too few.
    """
    room = true_room(plan)
    is_equal = plan.claim == "equal"
    tail = plan.level / plan.contrasts
    if not is_equal:
        tail /= 2
    lost = 1 - wanted
    if is_equal and plan.effect == 0:
        lost /= 2  # both tests are as likely to fail
    for n in range(fewest_seeds(plan), MOST_SEEDS + 1):
        shift = room / standard_error(plan, n)
        degrees = 2 * n - 2 if plan.design == "independent" else n - 1
        if shift > stats.t.isf(tail, degrees) + NormalDist().inv_cdf(1 - lost):
            return n
    return None


def with_upper_spread(plan: Plan, n: int) -> Plan:
    """The plan with the upper bound of a spread that was estimated from n values.

    The bound is ``sd sqrt((n - 1) / q)`` with the quantile q of the chi-squared
    distribution with n - 1 degrees of freedom that it exceeds with probability 0.8.

    Args:
        plan: with the estimated spread.
        n: number of values behind the estimate.
    """
    factor = math.sqrt((n - 1) / stats.chi2.ppf(1 - BOUND, n - 1))
    spread = plan.spread
    wider = Spread(spread.arm * factor, spread.baseline * factor, spread.correlation)
    return replace(plan, spread=wider)


def shown_sizes(found: Sequence[int | None], plan: Plan) -> list[int]:
    """Numbers of seeds for a table: those that were found, and round ones below.

    Args:
        found: by `seeds_for`, for every power that is wanted.
        plan: what is to be shown.
    """
    sizes = {n for n in found if n is not None}
    most = max(sizes, default=max(SHOWN_SIZES))
    round_sizes = [n for n in SHOWN_SIZES if fewest_seeds(plan) <= n <= most]
    return sorted(sizes.union(round_sizes))
