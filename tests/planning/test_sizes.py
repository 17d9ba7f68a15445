"""The number of seeds that some power needs."""

import pytest
from scipy import stats

from normlab.planning.experiments import Plan, Spread
from normlab.planning.sizes import (
    Powers,
    approximate_seeds,
    seeds_for,
    shown_sizes,
    with_upper_spread,
)

ONE = Spread(1.0, 1.0, 0.5)


@pytest.mark.parametrize(("effect", "n"), [(2.0, 6), (1.5, 7)])
def test_seeds_for_an_effect(effect, n):
    powers = Powers(Plan("different", effect, ONE), 1000)
    assert seeds_for(powers, 0.8) == n
    low, high = powers.interval(n)
    assert low < powers.at(n) < high
    if n > 6:
        assert powers.at(n - 1) < 0.8


def test_seeds_for_independent_runs_are_those_of_r():
    apart = Spread(1.0, 1.0)
    plan = Plan("different", 1.0, apart, "independent")
    assert approximate_seeds(plan, 0.8) == pytest.approx(17, abs=1)  # power.t.test
    assert seeds_for(Powers(plan, 400), 0.8) == pytest.approx(17, abs=2)


def test_more_contrasts_and_more_power_need_more_seeds():
    alone = Plan("different", 1.2, ONE)
    several = Plan("different", 1.2, ONE, contrasts=4)
    needed = [
        seeds_for(Powers(alone, 400), 0.8),
        seeds_for(Powers(alone, 400), 0.9),
        seeds_for(Powers(several, 400), 0.9),
    ]
    assert needed == sorted(set(needed))


def test_equivalence_needs_ten_pairs():
    powers = Powers(Plan("equal", 0.0, ONE, margin=3.0), 200)
    assert seeds_for(powers, 0.8) == 10


def test_what_needs_more_than_five_hundred_has_no_number():
    assert seeds_for(Powers(Plan("different", 0.01, ONE), 10), 0.8) is None


def test_the_upper_spread_is_that_of_the_chi_squared_distribution():
    wider = with_upper_spread(Plan("different", 1.0, ONE), 5)
    assert wider.spread.arm**2 == pytest.approx(4 / stats.chi2.ppf(0.2, 4))
    assert wider.spread.correlation == 0.5


def test_the_table_has_round_sizes_up_to_those_found():
    plan = Plan("different", 1.0, ONE)
    assert shown_sizes([11, 14], plan) == [6, 8, 10, 11, 14]
    assert shown_sizes([11, None], Plan("equal", 0.0, ONE, margin=1.0)) == [10, 11]
