"""Noise has the moments of its constants."""

import pytest
import torch

from normlab.data import noises


def generators(number, seed=0):
    return [torch.Generator().manual_seed(seed + k) for k in range(number)]


def test_noise_has_the_standard_deviation_of_its_constant():
    pixels = torch.full((2, 1, 100, 100), 0.5)
    added = noises.gaussian_noise(pixels, 0.08, generators(2)) - pixels
    assert added.std().item() == pytest.approx(0.08, rel=0.03)
    speckled = noises.speckle_noise(pixels, 0.08, generators(2)) - pixels
    torch.testing.assert_close(speckled, 0.5 * added, atol=1e-6, rtol=0)


def test_shot_noise_counts_photons():
    pixels = torch.full((1, 1, 100, 100), 0.5)
    counts = noises.shot_noise(pixels, 12, generators(1)) * 12
    torch.testing.assert_close(counts, counts.round())
    assert counts.mean().item() == pytest.approx(6, rel=0.05)
    assert counts.var().item() == pytest.approx(6, rel=0.05)
    assert noises.shot_noise(0 * pixels, 12, generators(1)).max() == 0


def test_impulse_noise_is_black_and_white():
    pixels = torch.full((1, 1, 200, 200), 0.5)
    result = noises.impulse_noise(pixels, 0.1, generators(1))
    assert (result == 0).float().mean().item() == pytest.approx(0.05, abs=0.005)
    assert (result == 1).float().mean().item() == pytest.approx(0.05, abs=0.005)
    assert (result == 0.5).float().mean().item() == pytest.approx(0.9, abs=0.01)


def test_every_image_has_numbers_of_its_own():
    like = torch.zeros(1)
    both = noises.draw(torch.rand, (2, 3), generators(2), like)
    alone = noises.draw(torch.rand, (2, 3), generators(1, seed=1), like)
    assert both.shape == (2, 2, 3)
    assert both[1].equal(alone[0])
