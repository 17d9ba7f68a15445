"""Effect sizes against formulas, brute force, and an independent implementation."""

import numpy as np
import pytest
from scipy import stats

from compare.published import AUTOMATIC, MANUAL, SLEEP_1, SLEEP_2
from normlab.compare import effects, inference

ARM = np.array([0.95, 0.97, 0.96, 0.98, 0.94, 0.99, 0.93])
BASELINE = np.array([0.94, 0.95, 0.97, 0.93, 0.91, 0.95, 0.92])


@pytest.mark.parametrize(("contrasts", "seeds"), [(1, 6), (2, 7), (3, 7), (10, 9)])
def test_seeds_needed_after_holm(contrasts, seeds):
    assert effects.seeds_needed(0.05, contrasts) == seeds
    assert contrasts * inference.attainable_p(seeds) <= 0.05


def test_hedges_g_by_hand():
    # means 4 and 2, both variances 1: d = 2, correction 1 - 3 / (4 * 6 - 9) = 0.8
    assert effects.hedges_g([3, 4, 5], [1, 2, 3]) == pytest.approx(1.6)
    # means 8 and 3, variances 4 and 2: d = 5 / sqrt(10 / 3), correction 1 - 3 / 11
    found = effects.hedges_g([6, 8, 10], [2, 4])
    assert found == pytest.approx(8 / 11 * 5 / (10 / 3) ** 0.5)


def test_equal_values_have_no_effect_size_whatever_their_mean_rounds_to():
    values = [np.log10(18.0)] * 6
    assert np.std(values) > 0  # by rounding
    assert np.isnan(effects.hedges_g(values, [np.log10(36.0)] * 6))
    assert effects.hedges_g(values, values) == 0


@pytest.mark.parametrize("higher", [True, False])
def test_probability_of_improvement_counts_pairs(higher):
    # differences +0.01, +0.02, -0.01, +0.05, +0.03, +0.04, +0.01
    value, interval = effects.probability_of_improvement(
        ARM, BASELINE, higher, paired=True
    )
    wins = 6 if higher else 1
    assert value == pytest.approx(wins / 7)
    found = stats.binomtest(wins, 7).proportion_ci(method="exact")
    assert interval == pytest.approx((found.low, found.high))


def test_probability_of_improvement_on_the_sleep_data():
    # Nine of ten patients sleep longer under the second drug, and one as long.
    value, _ = effects.probability_of_improvement(SLEEP_2, SLEEP_1, True, True)
    assert value == 0.95
    value, _ = effects.probability_of_improvement(SLEEP_2, SLEEP_1, True, False)
    assert value == 0.745  # R's wilcox.test: W / 100
    value, _ = effects.probability_of_improvement(MANUAL, AUTOMATIC, True, False)
    assert value == pytest.approx(0.82996, abs=5e-6)


def test_ten_of_ten_pairs_leave_an_interval():
    values = np.arange(10.0)
    for paired in (True, False):
        found = effects.probability_of_improvement(values + 20, values, True, paired)
        assert found == (1.0, (pytest.approx(0.6915, abs=5e-5), 1.0))


def test_a_diverged_run_loses():
    arm = np.array([-np.inf, 2.0, 3.0, -np.inf])
    baseline = np.array([1.0, 1.0, 1.0, -np.inf])
    value, _ = effects.probability_of_improvement(arm, baseline, True, True)
    assert value == 2.5 / 4


def test_probability_of_improvement_obeys_the_confidence():
    narrow, wide = (
        effects.probability_of_improvement(ARM, BASELINE, True, True, share)[1]
        for share in (0.5, 0.99)
    )
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


@pytest.mark.parametrize(
    ("effect", "n"), [(2, 6), (1.5, 7), (1.0, 10), (0.8, 15), (0.5, 34)]
)
def test_sample_size_of_pairs(effect, n):
    assert effects.sample_size(effect, 1.0, "paired") == n


@pytest.mark.parametrize(("effect", "n"), [(1.0, 17), (0.8, 26), (0.5, 64)])
def test_sample_size_of_independent_runs_is_that_of_r(effect, n):
    assert effects.sample_size(effect, 1.0, "independent") == n  # power.t.test


def test_sample_size_counts_contrasts():
    alone = effects.sample_size(0.5, 1.0, "paired", level=0.05 / 4)
    assert effects.sample_size(0.5, 1.0, "paired", contrasts=4) == alone > 34


def test_sample_size_of_folds_has_their_larger_error():
    n = effects.sample_size(1.0, 1.0, "folds")
    powers = []
    for folds in (n - 1, n):
        shift = 1 / np.sqrt(1 / folds + 1 / (folds - 1))
        critical = stats.t.isf(0.025, folds - 1)
        powers.append(stats.nct.sf(critical, folds - 1, shift))
    assert powers[0] < 0.8 <= powers[1]


def test_sample_size_of_nothing():
    assert effects.sample_size(0.0, 1.0, "paired") is None
    assert effects.sample_size(1.0, 0.0, "paired") is None
    assert effects.sample_size(1e-4, 1.0, "paired") is None


def test_the_power_of_the_sign_flip_test_is_simulated():
    # With six pairs all must have one sign: P(all positive) = 0.9332^6 = 0.660 at 1.5.
    one_sided = stats.norm.cdf(1.5) ** 6
    found = effects.sign_flip_power(1.5, 6, 0.05)
    assert found == pytest.approx(one_sided, abs=0.03)
    assert effects.sign_flip_power(1.5, 5, 0.05) == 0
