"""Blurs against scipy, small kernels and moves worked out by hand."""

import math

import pytest
import torch
from scipy.ndimage import gaussian_filter

from normlab.data import blurs
from normlab.data.corruptions import CORRUPTIONS

BLURS = ("gaussian_blur", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur")


def generators(number, seed=0):
    return [torch.Generator().manual_seed(seed + k) for k in range(number)]


def random_images(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("sigma", [0.4, 1, 3])
def test_blur_is_that_of_scipy(sigma):
    pixels = random_images(2, 3, 9, 11)
    expected = gaussian_filter(pixels.numpy(), (0, 0, sigma, sigma), mode="nearest")
    result = blurs.gaussian_blur(pixels, sigma, [])
    torch.testing.assert_close(result, torch.from_numpy(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", BLURS)
@pytest.mark.parametrize("side", [9, 40, 70])
def test_an_image_of_one_colour_stays_as_it_is(name, side):
    colours = torch.tensor([0.2, 0.5, 0.9]).view(1, 3, 1, 1)
    pixels = colours.expand(2, 3, side, side).contiguous()
    for severity in range(1, 6):
        constant = CORRUPTIONS[name].severities.constant(severity, side)
        result = CORRUPTIONS[name].corrupt(pixels, constant, generators(2))
        torch.testing.assert_close(result, pixels)


def test_a_disk_of_one_pixel_is_smoothed_by_a_normal_distribution():
    beside = math.exp(-0.5 / 0.6**2)
    total = 1 + 2 * beside
    kernel = blurs.disk(0.5, 0.6)
    assert kernel.shape == (3, 3)
    assert kernel[1].tolist() == pytest.approx(
        [beside / total**2, 1 / total**2, beside / total**2]
    )
    assert kernel[0, 0].item() == pytest.approx((beside / total) ** 2)


@pytest.mark.parametrize(("radius", "size"), [(0.3, 3), (1.5, 5), (8, 19), (10, 25)])
def test_disks_sum_to_one_and_are_symmetric(radius, size):
    kernel = blurs.disk(radius, 0.5)
    assert kernel.shape == (size, size)
    assert kernel.sum().item() == pytest.approx(1)
    torch.testing.assert_close(kernel, kernel.T.flip(0))


def test_a_disk_without_smoothing_counts_its_pixels():
    kernel = blurs.disk(1, 0.01)  # a cross of five pixels, in a ring of zeros
    cross = [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    torch.testing.assert_close(kernel[1:-1, 1:-1], torch.tensor(cross) / 5)


@pytest.mark.parametrize(
    ("angle", "expected"),
    [
        (0.0, [[2, 3, 4, 4]] * 3),  # x(p + k) for k = 1
        (180.0, [[1, 1, 2, 3]] * 3),
        (90.0, [[1, 2, 3, 4]] * 3),
    ],
)
def test_images_move_along_a_line(angle, expected):
    images = torch.tensor([[1.0, 2, 3, 4]] * 3)[None, None]
    weights = [1, math.exp(-0.5), math.exp(-2)]
    result = blurs.moved(images, 1, 1.0, torch.tensor([angle]))
    # Of two steps, only the second is not in `expected`: it repeats the first.
    first = torch.tensor(expected, dtype=torch.float32)
    second = blurs.moved(first[None, None], 0, 1.0, torch.tensor([angle]))[0, 0]
    assert second.equal(first)
    columns = torch.tensor([1.0, 2, 3, 4]).repeat(3, 1)
    twice = {0.0: [3, 4, 4, 4], 180.0: [1, 1, 1, 2], 90.0: [1, 2, 3, 4]}[angle]
    mean = weights[0] * columns + weights[1] * first + weights[2] * torch.tensor(twice)
    torch.testing.assert_close(result[0, 0], mean / sum(weights))


def test_motion_goes_downwards_at_ninety_degrees():
    images = torch.tensor([[1.0], [2], [4]])[None, None]
    w = [1, math.exp(-0.5), math.exp(-2)]
    result = blurs.moved(images, 1, 1.0, torch.tensor([90.0])).flatten()
    expected = [w[0] + 2 * w[1] + 4 * w[2], 2 * w[0] + 4 * (w[1] + w[2]), 4 * sum(w)]
    assert (result * sum(w)).tolist() == pytest.approx(expected)


def test_motion_differs_from_image_to_image():
    pixels = random_images(1, 1, 9, 9).repeat(2, 1, 1, 1)
    result = blurs.motion_blur(pixels, (6, 2.0), generators(2))
    assert not result[0].allclose(result[1])
    # All angles lie within 45 degrees, so that a row blurs but a column may not.
    rows = torch.arange(9.0).view(1, 1, 9, 1).expand(2, 1, 9, 9) / 9
    assert blurs.motion_blur(rows, (1, 2.0), generators(2)).std(3).max() == 0


def test_glass_copies_pixels_from_the_last_to_the_first():
    positions = torch.arange(16.0).view(1, 1, 4, 4)
    expected = positions[0, 0].clone()
    steps = torch.randint(
        -1, 1, (1, 2, 2, 2), generator=torch.Generator().manual_seed(3)
    )
    for i, row in enumerate((3, 2)):
        for j, column in enumerate((3, 2)):
            down, right = steps[0, i, j].tolist()
            expected[row, column] = expected[row + down, column + right]
    result = blurs.glass_blur(positions, (0.0, 1, 1), generators(1, seed=3))
    assert result[0, 0].equal(expected)
    assert not expected.equal(positions[0, 0])


def test_zoom_is_the_mean_of_the_image_and_its_magnifications():
    pixels = random_images(1, 1, 8, 8)
    result = blurs.zoom_blur(pixels, (2.5, 1.0), [])  # factors 1 and 2
    middle = pixels[..., 2:6, 2:6]
    larger = torch.nn.functional.interpolate(
        middle, (8, 8), mode="bilinear", align_corners=True
    )
    torch.testing.assert_close(result, (2 * pixels + larger) / 3)
