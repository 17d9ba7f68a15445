"""Fog and snow, with random numbers that are worked with by hand."""

import pytest
import torch

from normlab.data import weather


def generators(number, seed=0):
    return [torch.Generator().manual_seed(seed + k) for k in range(number)]


def random_images(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


def test_a_plasma_of_two_points_a_side_by_hand():
    numbers = torch.tensor([[0.9, 0.75, 0.5, 0.25]])  # the first is not used
    heights = [[0.0, 0.0], [0.0, 0.0]]
    heights[1][1] = 0 + 5000  # the mean of four corners, all of them 0
    heights[0][1] = (5000 + 5000 + 0 + 0) / 4 + 0
    heights[1][0] = (5000 + 5000 + 0 + 0) / 4 - 5000
    lowest = min(heights[1][0], 0)
    expected = (torch.tensor(heights) - lowest) / (5000 - lowest)
    torch.testing.assert_close(weather.plasma(numbers, 3.0)[0], expected)


def test_a_plasma_is_smoother_the_faster_it_decays():
    numbers = random_images(3, 64 * 64)
    steep, flat = weather.plasma(numbers, 1.4), weather.plasma(numbers, 3.0)
    for heights in (steep, flat):
        assert heights.shape == (3, 64, 64)
        assert heights.amin((1, 2)).tolist() == [0, 0, 0]
        assert heights.amax((1, 2)).tolist() == [1, 1, 1]
    assert steep.diff(dim=2).abs().mean() > 2 * flat.diff(dim=2).abs().mean()


@pytest.mark.parametrize("shape", [(2, 3, 28, 20), (1, 1, 1, 1)])
def test_fog_adds_a_plasma_and_keeps_the_range(shape):
    pixels = 0.8 * random_images(*shape)
    result = weather.fog(pixels, (1.5, 2.0), generators(shape[0]))
    brightest = pixels.amax((1, 2, 3), keepdim=True)
    layer = (result * (brightest + 1.5) / brightest - pixels) / 1.5
    assert layer.min() >= -1e-6
    assert layer.max() <= 1 + 1e-6
    torch.testing.assert_close(layer, layer[:, :1].expand_as(layer))
    assert (result.amax((1, 2, 3)) <= brightest.flatten() + 1e-6).all()


def test_fog_without_light_stays_black():
    black = torch.zeros(1, 3, 8, 8)
    assert weather.fog(black, (1.5, 2.0), generators(1)).equal(black)


def test_snow_without_flakes_whitens_by_the_brightness():
    colour = torch.tensor([0.2, 0.1, 0.8]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    brightness = 0.299 * 0.2 + 0.587 * 0.1 + 0.114 * 0.8
    white = max(1.5 * brightness + 0.5, 0.8)
    result = weather.snow(colour, (0.0, 0.1, 1, 9.0, 2, 1.0, 0.7), generators(1))
    expected = [0.7 * x + 0.3 * white for x in (0.2, 0.1, 0.8)]
    assert result[0, :, 2, 1].tolist() == pytest.approx(expected)
    grey = weather.snow(colour[:, :1], (0, 0.1, 1, 9, 2, 1.0, 0.7), generators(1))
    assert grey[0, 0, 0, 0].item() == pytest.approx(0.7 * 0.2 + 0.3 * 0.8)


def test_flakes_fall_in_two_opposite_directions():
    black = torch.zeros(2, 3, 16, 16)
    constants = (0.2, 0.3, 1.5, 0.6, 4, 2.0, 1.0)  # nothing is whitened
    result = weather.snow(black, constants, generators(2))
    torch.testing.assert_close(result, result.flip(2, 3))
    torch.testing.assert_close(result[:, 0], result[:, 2])
    assert 0 < result.mean() < 1
    many = weather.snow(black, (0.2, 0.3, 1.5, 0.3, 4, 2.0, 1.0), generators(2))
    assert (many >= result - 1e-6).all()
    assert many.mean() > result.mean()
