"""The noise of seeds and of the test set."""

import math

import numpy as np
import pytest

from normlab.compare import sample_noise
from normlab.compare.intervals import t_interval
from normlab.compare.sample_noise import (
    Scores,
    most_different,
    resampled_means,
    two_way_noise,
)


def scores(values):
    return Scores(values.mean(1), resampled_means(values))


def test_resampled_means_spread_as_a_mean_does():
    random = np.random.default_rng(3)
    values = random.normal(size=(2, 50))
    found = resampled_means(values)
    assert found.shape == (2, sample_noise.RESAMPLES)
    assert found.mean(1) == pytest.approx(values.mean(1), abs=0.01)
    expected = values.std(1) / math.sqrt(50)
    assert found.std(1) == pytest.approx(expected, rel=0.06)
    # All runs see the same samples.
    twice = resampled_means(np.stack([values[0], 2 * values[0]]))
    assert twice[1] == pytest.approx(2 * twice[0])


@pytest.mark.parametrize("paired", [True, False])
def test_without_noise_of_samples_the_seeds_alone_decide(paired):
    seeds = np.array([0.80, 0.83, 0.81, 0.86, 0.84])
    others = np.array([0.80, 0.78, 0.81, 0.79, 0.80])
    arm = scores(np.tile(seeds[:, None], 40))
    baseline = scores(np.tile(others[:, None], 40))
    found = two_way_noise(arm, baseline, paired, 0.95)
    assert found.difference == pytest.approx(0.032)
    assert found.share == pytest.approx(0, abs=0.05)
    if paired:
        low, high = t_interval(seeds - others)
        assert found.interval == pytest.approx((low, high), rel=0.05)


def test_without_noise_of_seeds_the_samples_alone_decide():
    random = np.random.default_rng(4)
    sample = random.normal(0.1, 1, size=400)
    arm = scores(np.tile(sample, (6, 1)))
    baseline = scores(np.zeros((6, 400)))
    found = two_way_noise(arm, baseline, True, 0.95)
    half = 1.96 * sample.std() / 20
    expected = sample.mean() - half, sample.mean() + half
    assert found.interval == pytest.approx(expected, abs=0.01)
    assert found.share == 1.0
    same = two_way_noise(arm, arm, True, 0.95)
    assert same.interval == (0, 0)
    assert math.isnan(same.share)


def test_one_run_has_no_interval():
    arm = scores(np.ones((1, 3)))
    found = two_way_noise(arm, scores(np.zeros((4, 3))), False, 0.95)
    assert found.difference == 1
    assert math.isnan(found.interval[0])


def test_the_two_way_interval_covers_what_the_seeds_miss(monkeypatch):
    """The truth is the mean over all samples that there could be, not over these."""
    monkeypatch.setattr(sample_noise, "RESAMPLES", 400)
    random = np.random.default_rng(8)
    seeds, samples, truth, trials = 6, 100, 0.05, 300
    covered = by_seeds = 0
    for _ in range(trials):
        of_samples = random.normal(truth, 0.3, size=samples)
        of_seeds = random.normal(0, 0.01, size=(seeds, 1))
        noise = random.normal(0, 0.1, size=(seeds, samples))
        arm = of_samples + of_seeds + noise
        baseline = np.zeros_like(arm)
        found = two_way_noise(scores(arm), scores(baseline), True, 0.95)
        covered += found.interval[0] <= truth <= found.interval[1]
        low, high = t_interval(arm.mean(1))
        by_seeds += low <= truth <= high
    assert covered / trials >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / trials)
    assert by_seeds / trials < 0.7


def test_the_samples_that_differ_most_come_first():
    arm = np.array([[1, 1, 0, 1], [1, 0, 0, 1.0]])
    baseline = np.array([[1, 0, 1, 0.0]])
    assert most_different(arm, baseline, 9).tolist() == [2, 3, 1]
    assert most_different(arm, baseline, 1).tolist() == [2]
