"""Linear maps of images against scipy, Pillow and numbers worked out by hand."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter, zoom

from normlab.data.resampling import (
    blurred,
    boundary_indices,
    box_matrix,
    convolved,
    mapped,
    zoomed,
)


def random_images(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("mode", "indices"),
    [
        ("nearest", [0, 0, 0, 0, 1, 2, 2, 2, 2]),
        ("reflect", [2, 1, 0, 0, 1, 2, 2, 1, 0]),
        ("mirror", [1, 2, 1, 0, 1, 2, 1, 0, 1]),
    ],
)
def test_a_side_is_continued_beyond_its_ends(mode, indices):
    assert boundary_indices(3, 3, mode).tolist() == indices
    assert boundary_indices(1, 2, mode).tolist() == [0] * 5


@pytest.mark.parametrize("mode", ["nearest", "reflect", "mirror"])
@pytest.mark.parametrize(("sigma", "truncate"), [(0.1, 4), (0.7, 4), (9.0, 3)])
def test_blurs_are_those_of_scipy(mode, sigma, truncate):
    images = random_images(2, 3, 7, 9)
    sigmas = (0, 0, sigma, sigma)
    expected = gaussian_filter(images.numpy(), sigmas, mode=mode, truncate=truncate)
    found = blurred(images, sigma, mode, truncate)
    torch.testing.assert_close(found, torch.from_numpy(expected), atol=1e-6, rtol=0)


def test_a_box_is_the_mean_of_the_pixels_in_it():
    assert box_matrix(4, 2).tolist() == [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]
    assert box_matrix(2, 4).tolist() == [[1, 0], [1, 0], [0, 1], [0, 1]]


@pytest.mark.parametrize("sizes", [(9, 4), (9, 7), (28, 26), (4, 9), (20, 28), (5, 1)])
def test_boxes_are_those_of_pillow(sizes):
    size, new_size = sizes
    image = random_images(1, 1, size, size)
    resized = Image.fromarray(image[0, 0].numpy()).resize((new_size,) * 2, Image.BOX)
    matrix = box_matrix(size, new_size)
    found = mapped(image, matrix, matrix)[0, 0]
    expected = torch.from_numpy(np.array(resized))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_a_kernel_is_applied_to_every_channel_and_mirrored_edges():
    images = torch.tensor([[[[1.0, 2.0, 4.0]]], [[[0.0, 1.0, 0.0]]]])
    kernel = torch.tensor([[0.0, 0, 0], [1, 0, 3], [0, 0, 0]])  # left + 3 right
    found = convolved(images, kernel)
    assert found[:, 0, 0].tolist() == [[8, 13, 8], [4, 0, 4]]


@pytest.mark.parametrize("factor", [1.0, 1.05, 1.3, 2.25, 4.5])
def test_zooms_are_those_of_scipy(factor):
    image = random_images(1, 1, 13, 13)
    side = int(np.ceil(13 / factor))
    start = (13 - side) // 2
    middle = image[0, 0, start : start + side, start : start + side].numpy()
    larger = zoom(middle, factor, order=1)
    start = (len(larger) - 13) // 2
    expected = torch.from_numpy(larger[start : start + 13, start : start + 13])
    torch.testing.assert_close(zoomed(image, factor)[0, 0], expected, atol=1e-5, rtol=0)
