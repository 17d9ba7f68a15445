"""Corruptions against numbers worked out by hand, and against scipy's blur."""

import pytest
import torch
from scipy.ndimage import gaussian_filter

from normlab.data.corruptions import CORRUPTIONS


def corrupted(name, pixels, constant, seed=0):
    generators = [torch.Generator().manual_seed(seed + k) for k in range(len(pixels))]
    return CORRUPTIONS[name].corrupt(pixels, constant, generators)


def close(values):
    return pytest.approx(values, abs=1e-6)


def test_brightness_multiplies_a_colour_and_lifts_black_to_grey():
    colour, black, white = [0.2, 0.4, 0.8], [0.0, 0.0, 0.0], [1.0, 1.0, 0.5]
    pixels = torch.tensor([colour, black, white])[:, :, None, None]
    result = corrupted("brightness", pixels, 0.1).flatten(1)
    assert result[0].tolist() == close([0.225, 0.45, 0.9])  # the value .8 becomes .9
    assert result[1].tolist() == close([0.1, 0.1, 0.1])
    assert result[2].tolist() == close([1.0, 1.0, 0.5])


def test_brightness_of_a_grey_image_is_a_sum():
    pixels = torch.tensor([0.0, 0.25, 0.95]).view(1, 1, 1, 3)
    result = corrupted("brightness", pixels, 0.1)
    assert result.flatten().tolist() == close([0.1, 0.35, 1.0])


def test_contrast_draws_every_channel_of_an_image_towards_its_mean():
    pixels = torch.tensor([[0.0, 1.0], [0.2, 0.6]]).view(1, 2, 1, 2)
    result = corrupted("contrast", pixels, 0.5)
    assert result.flatten().tolist() == close([0.25, 0.75, 0.3, 0.5])


@pytest.mark.parametrize(("share", "expected"), [(1.0, 0.7), (0.5, 0.5), (0.2, 0.38)])
def test_inversion_blends_with_the_negative(share, expected):
    result = corrupted("inversion", torch.full((1, 1, 1, 1), 0.3), share)
    assert result.item() == pytest.approx(expected)


@pytest.mark.parametrize("sigma", [0.4, 1, 3])
def test_blur_is_that_of_scipy(sigma):
    pixels = torch.rand(2, 3, 9, 11, generator=torch.Generator().manual_seed(1))
    expected = gaussian_filter(pixels.numpy(), (0, 0, sigma, sigma), mode="nearest")
    result = corrupted("gaussian_blur", pixels, sigma)
    torch.testing.assert_close(result, torch.from_numpy(expected), atol=1e-5, rtol=0)


def test_noise_has_the_standard_deviation_of_its_constant():
    pixels = torch.full((2, 1, 100, 100), 0.5)
    added = corrupted("gaussian_noise", pixels, 0.08) - pixels
    assert added.std().item() == pytest.approx(0.08, rel=0.03)
    speckled = corrupted("speckle_noise", pixels, 0.08) - pixels
    torch.testing.assert_close(speckled, 0.5 * added, atol=1e-6, rtol=0)


def test_shot_noise_counts_photons():
    pixels = torch.full((1, 1, 100, 100), 0.5)
    counts = corrupted("shot_noise", pixels, 12) * 12
    torch.testing.assert_close(counts, counts.round())
    assert counts.mean().item() == pytest.approx(6, rel=0.05)
    assert counts.var().item() == pytest.approx(6, rel=0.05)
    assert corrupted("shot_noise", 0 * pixels, 12).max() == 0


def test_impulse_noise_is_black_and_white():
    pixels = torch.full((1, 1, 200, 200), 0.5)
    result = corrupted("impulse_noise", pixels, 0.1)
    assert (result == 0).float().mean().item() == pytest.approx(0.05, abs=0.005)
    assert (result == 1).float().mean().item() == pytest.approx(0.05, abs=0.005)
    assert (result == 0.5).float().mean().item() == pytest.approx(0.9, abs=0.01)


def test_jpeg_of_lower_quality_loses_more():
    pixels = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    fine = corrupted("jpeg_compression", pixels, 80)
    coarse = corrupted("jpeg_compression", pixels, 7)
    assert (fine - pixels).abs().mean() < (coarse - pixels).abs().mean()
    flat = torch.full((1, 3, 16, 16), 0.6)  # 153 of 255
    result = corrupted("jpeg_compression", flat, 80).mean().item()
    assert result == pytest.approx(0.6, abs=0.01)


def test_small_images_get_the_constants_of_cifar10_c():
    severities = CORRUPTIONS["gaussian_noise"].severities
    constants = [severities.constant(5, side) for side in (28, 32, 33, 64, 65, 224)]
    assert constants == [0.1, 0.1, 0.18, 0.18, 0.38, 0.38]
    assert severities.constant(1, 224) == 0.08


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_corruption_has_five_severities_for_each_size(name):
    for table in CORRUPTIONS[name].severities:
        assert len(table) == 5
        assert len(set(table)) == 5
