"""Effect sizes against formulas, brute force, and an independent implementation."""

import numpy as np
import pytest
from scipy import stats

from normlab.compare import effects, inference

ARM = np.array([0.95, 0.97, 0.96, 0.98, 0.94, 0.99, 0.93])
BASELINE = np.array([0.94, 0.95, 0.97, 0.93, 0.91, 0.95, 0.92])


@pytest.mark.parametrize(("contrasts", "seeds"), [(1, 6), (2, 7), (3, 7), (10, 9)])
def test_seeds_needed_after_holm(contrasts, seeds):
    assert effects.seeds_needed(0.05, contrasts) == seeds
    assert contrasts * inference.attainable_p(seeds) <= 0.05


def test_hedges_g_by_hand():
    # means 4 and 2, both variances 1: d = 2, correction 1 - 3 / (4 * 6 - 9) = .8
    assert effects.hedges_g([3, 4, 5], [1, 2, 3]) == pytest.approx(1.6)


@pytest.mark.parametrize("higher", [True, False])
def test_probability_of_improvement_counts_pairs(higher):
    arm, baseline = np.round(ARM, 2), np.round(BASELINE, 2)
    wins = [
        (a > b if higher else a < b) + 0.5 * (a == b) for a in arm for b in baseline
    ]
    value, (low, high) = effects.probability_of_improvement(
        arm, baseline, higher, paired=True
    )
    assert value == pytest.approx(np.mean(wins))
    assert low <= value <= high


@pytest.mark.parametrize("paired", [True, False])
def test_probability_of_improvement_agrees_with_brute_force(paired):
    """Pairs counted one by one, and resampled one by one, for values with many ties."""
    random = np.random.default_rng(3)
    arm, baseline = (
        random.integers(3, 9, 12) / 10,
        random.integers(2, 8, 12 if paired else 9) / 10,
    )

    def counted(some, others):
        return sum((a > b) + 0.5 * (a == b) for a in some for b in others) / (
            len(some) * len(others)
        )

    draws = []
    for _ in range(1999):
        rows = random.integers(len(arm), size=len(arm))
        columns = rows if paired else random.integers(len(baseline), size=len(baseline))
        draws.append(counted(arm[rows], baseline[columns]))
    value, interval = effects.probability_of_improvement(
        arm, baseline, higher=True, paired=paired
    )
    assert value == pytest.approx(counted(arm, baseline))
    assert value == pytest.approx(
        stats.mannwhitneyu(arm, baseline).statistic / (len(arm) * len(baseline))
    )
    assert interval == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.02)


def test_probability_of_improvement_obeys_the_confidence():
    narrow, wide = (
        effects.probability_of_improvement(ARM, BASELINE, True, True, share)[1]
        for share in (0.5, 0.99)
    )
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_separated_arms_improve_with_certainty():
    assert effects.probability_of_improvement(
        [2, 3], [0, 1], higher=True, paired=False
    ) == (1.0, (1.0, 1.0))


@pytest.mark.parametrize(("effect", "n"), [(1.5, 6), (1.0, 10), (0.8, 15), (0.5, 34)])
def test_sample_size_of_the_paired_t_test(effect, n):
    assert effects.sample_size(effect, 1.0, paired=True) == n
