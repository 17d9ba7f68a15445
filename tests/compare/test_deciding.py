"""Which test decides, and what it gives."""

import math

import numpy as np
import pytest
from scipy import stats

from normlab.compare.deciding import decide, signed_ranks
from normlab.compare.exact_tests import sign_flip_p
from normlab.compare.inference import welch
from normlab.compare.samples import Sample

LOST = -math.inf
ARM = np.array([0.95, 0.97, 0.96, 0.98, 0.94, 0.99, 0.93, 0.96])
BASELINE = np.array([0.94, 0.95, 0.97, 0.93, 0.91, 0.95, 0.92, 0.935])


def test_the_mean_decides_between_arms_of_like_shape():
    found = decide(Sample(ARM, BASELINE, True), [], None)
    assert (found.test, found.direction, found.sizes) == ("mean", 1, (8, 8))
    assert found.p == sign_flip_p(ARM - BASELINE)
    assert found.attainable_p == 2 / 2**8
    unpaired = decide(Sample(ARM, BASELINE, False), [], None)
    assert unpaired.p == welch(ARM, BASELINE)[1]


def test_six_runs_per_arm_have_a_p_value_and_five_have_none():
    found = decide(Sample(ARM[:6], BASELINE[:6], False), [], None)
    expected = stats.ttest_ind(ARM[:6], BASELINE[:6], equal_var=False).pvalue
    assert found.p == pytest.approx(expected)
    assert math.isnan(decide(Sample(ARM[:5], BASELINE[:6], False), [], None).p)


def test_an_arm_without_values_points_nowhere():
    found = decide(Sample(np.array([]), BASELINE, False), [], None)
    assert (found.direction, found.sizes) == (0, (0, 8))
    assert math.isnan(found.p)


def test_ranks_are_those_of_wilcoxon():
    # differences +0.01, +0.02, −0.01, +0.05, +0.03, +0.04, +0.01, +0.025
    ranks = signed_ranks(ARM, BASELINE)
    assert ranks.tolist() == [2, 4, -2, 8, 6, 7, 2, 5]
    assert signed_ranks([1, 2, LOST], [1, LOST, LOST]).tolist() == [0, 1, 0]


@pytest.mark.parametrize("seed", range(4))
def test_without_ties_the_rank_test_is_that_of_scipy(seed):
    random = np.random.default_rng(seed)
    arm, baseline = random.normal(0.5, 1, 9), random.normal(0, 1, 9)
    sample = Sample(arm, baseline, True)
    found = decide(sample, [sample], None)
    assert found.p == pytest.approx(
        stats.wilcoxon(arm, baseline, method="exact").pvalue
    )
    alone = Sample(arm, baseline[:7], False)
    expected = stats.mannwhitneyu(arm, baseline[:7], method="exact").pvalue
    assert decide(alone, [alone], None).p == pytest.approx(expected)


def test_diverged_runs_are_the_worst():
    arm = np.where(np.arange(8) < 3, LOST, ARM)
    kept = np.isfinite(arm)
    finished = Sample(ARM[kept], BASELINE[kept], True)
    found = decide(finished, [Sample(arm, BASELINE, True)], None)
    # The three lost pairs share the ranks 6 to 8; the others have 5, 3, 4, 1 and 2.
    expected = sign_flip_p([-7.0, -7, -7, 5, 3, 4, 1, 2])
    assert (found.test, found.direction, found.p) == ("ranks", -1, expected)
    assert decide(finished, [], None).direction == 1


def test_failed_runs_must_not_decide_alone():
    arm = np.full(8, LOST)
    worst = Sample(arm, BASELINE, True)
    nothing = Sample(np.array([]), np.array([]), True)
    assert decide(nothing, [worst], None).p == 2 / 2**8
    assert math.isnan(decide(nothing, [worst, nothing], None).p)
    both = decide(nothing, [worst, Sample(ARM, BASELINE, True)], None)
    assert (both.direction, both.p) == (0, 1.0)


def test_wins_must_agree_if_one_arm_spreads_threefold():
    wide = np.array([0.3, 0.3, 0.3, 0.3, 0.3, 0.3, -0.02, -0.02])
    calm = 0.01 * np.array([1, -1, 1, -1, 1, -1, 1, -1])
    found = decide(Sample(wide, calm, True), [], None)
    assert found.test == "mean and wins"
    # Six of eight signs: 2 (1 + 8 + 28) / 256
    assert found.p == pytest.approx(2 * 37 / 256)
    assert sign_flip_p(wide - calm) < 0.05


def test_a_mean_against_the_wins_decides_nothing():
    wide = np.array([0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, -9])
    calm = 0.01 * np.array([1, -1, 1, -1, 1, -1, 1, -1])
    found = decide(Sample(wide, calm, True), [], None)
    assert (found.direction, found.p) == (0, 1.0)


def test_independent_wins_are_tested_by_brunner_and_munzel():
    random = np.random.default_rng(1)
    wide, calm = random.normal(1, 1, 10), random.normal(0, 0.1, 9)
    found = decide(Sample(wide, calm, False), [], None)
    expected = stats.brunnermunzel(wide, calm).pvalue
    assert found.p == pytest.approx(max(expected, welch(wide, calm)[1]))
    apart = decide(Sample(wide + 100, calm, False), [], None)
    assert apart.p == pytest.approx(2 / math.comb(19, 10))
