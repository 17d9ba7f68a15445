"""Distortions against numbers worked out by hand."""

import colorsys

import pytest
import torch

from normlab.data import distortions
from normlab.data.distortions import _affine, _sampled, _triangle


def generators(number, seed=0):
    return [torch.Generator().manual_seed(seed + k) for k in range(number)]


def random_images(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


def close(values):
    return pytest.approx(values, abs=1e-6)


def test_brightness_multiplies_a_colour_and_lifts_black_to_grey():
    colour, black, white = [0.2, 0.4, 0.8], [0.0, 0.0, 0.0], [1.0, 1.0, 0.5]
    pixels = torch.tensor([colour, black, white])[:, :, None, None]
    result = distortions.brightness(pixels, 0.1, []).flatten(1)
    assert result[0].tolist() == close([0.225, 0.45, 0.9])  # the value .8 becomes .9
    assert result[1].tolist() == close([0.1, 0.1, 0.1])
    assert result[2].tolist() == close([1.0, 1.0, 0.5])


def test_brightness_of_a_grey_image_is_a_sum():
    pixels = torch.tensor([0.0, 0.25, 0.95]).view(1, 1, 1, 3)
    result = distortions.brightness(pixels, 0.1, [])
    assert result.flatten().tolist() == close([0.1, 0.35, 1.0])


def test_contrast_draws_every_channel_of_an_image_towards_its_mean():
    pixels = torch.tensor([[0.0, 1.0], [0.2, 0.6]]).view(1, 2, 1, 2)
    result = distortions.contrast(pixels, 0.5, [])
    assert result.flatten().tolist() == close([0.25, 0.75, 0.3, 0.5])


@pytest.mark.parametrize(("share", "expected"), [(1.0, 0.7), (0.5, 0.5), (0.2, 0.38)])
def test_inversion_blends_with_the_negative(share, expected):
    result = distortions.inversion(torch.full((1, 1, 1, 1), 0.3), share, [])
    assert result.item() == pytest.approx(expected)


@pytest.mark.parametrize("constants", [(0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)])
def test_saturation_is_changed_as_in_hue_saturation_and_value(constants):
    factor, added = constants
    pixels = random_images(1, 3, 4, 4)
    pixels[0, :, 0, 0] = 0.4  # grey
    pixels[0, :, 0, 1] = 0.0
    result = distortions.saturate(pixels, constants, [])
    for row, column in ((0, 0), (0, 1), (1, 2), (3, 3), (2, 0)):
        hue, saturation, value = colorsys.rgb_to_hsv(*pixels[0, :, row, column])
        wanted = min(float(saturation) * factor + added, 1.0)
        expected = colorsys.hsv_to_rgb(float(hue), wanted, float(value))
        assert result[0, :, row, column].tolist() == close(expected)


def test_saturation_leaves_grey_alone_unless_something_is_added():
    grey = random_images(2, 1, 3, 3).expand(2, 3, 3, 3)
    torch.testing.assert_close(distortions.saturate(grey, (2, 0), []), grey)
    reddish = distortions.saturate(grey, (2, 0.25), [])
    torch.testing.assert_close(reddish[:, 0], grey[:, 0])
    torch.testing.assert_close(reddish[:, 1:], 0.75 * grey[:, 1:])


def test_pixels_of_half_the_size_are_means_of_four():
    pixels = torch.arange(16.0).view(1, 1, 4, 4)
    result = distortions.pixelate(pixels, 0.5, [])[0, 0]
    assert result[:2, :2].tolist() == [[2.5, 2.5], [2.5, 2.5]]  # of 0, 1, 4 and 5
    assert result[:2, 2:].tolist() == [[4.5, 4.5], [4.5, 4.5]]
    assert result[2:, 2:].tolist() == [[12.5, 12.5], [12.5, 12.5]]
    torch.testing.assert_close(
        distortions.pixelate(pixels, 0.1, []), torch.full_like(pixels, 7.5)
    )


def test_elastic_without_moves_is_the_identity():
    pixels = random_images(2, 3, 9, 12)
    result = distortions.elastic_transform(pixels, (0, 0.1, 0), generators(2))
    torch.testing.assert_close(result, pixels, atol=2e-6, rtol=0)
    moved = distortions.elastic_transform(pixels, (0.1, 0.1, 0), generators(2))
    assert (moved - pixels).abs().max() > 0.05
    turned = distortions.elastic_transform(pixels, (0, 0.1, 0.1), generators(2))
    assert (turned - pixels).abs().max() > 0.05


def test_the_affine_map_takes_three_points_to_where_they_were():
    corners = _triangle(8, 12)
    assert corners.tolist() == [[8, 6], [8, 2], [4, 2]]
    moved = corners + torch.tensor([[[1.0, 2], [0, 1], [-1, 0]]])
    ones = torch.ones(1, 3, 1)
    back = torch.cat([moved, ones], -1) @ _affine(moved, corners)
    torch.testing.assert_close(back[0], corners, atol=1e-5, rtol=0)


def test_images_that_move_one_pixel_to_the_left_are_mirrored():
    image = torch.tensor([[[[1.0, 2, 3, 4]]]])
    places = torch.tensor([[[[1.0, 0], [2, 0], [3, 0], [4, 0]]]])
    at_edge = _sampled(image, places, align_corners=True)
    assert at_edge.flatten().tolist() == close([2, 3, 4, 3])
    beside_edge = _sampled(image, places, align_corners=False)
    assert beside_edge.flatten().tolist() == close([2, 3, 4, 4])


def test_jpeg_of_lower_quality_loses_more():
    pixels = random_images(2, 3, 16, 16)
    fine = distortions.jpeg_compression(pixels, 80, [])
    coarse = distortions.jpeg_compression(pixels, 7, [])
    assert (fine - pixels).abs().mean() < (coarse - pixels).abs().mean()
    flat = torch.full((1, 3, 16, 16), 0.6)  # 153 of 255
    result = distortions.jpeg_compression(flat, 80, []).mean().item()
    assert result == pytest.approx(0.6, abs=0.01)
