"""Drops on the lens: edges, heights and colours."""

import numpy as np
import pytest
import torch

from normlab.data import spatter
from normlab.data.corruptions import CORRUPTIONS

WATER = (0.65, 0.3, 1, 0.69, 0.5, 0)
MUD = (0.65, 0.3, 1.0, 0.65, 1.5, 1)


def generators(number, seed=0):
    return [torch.Generator().manual_seed(seed + k) for k in range(number)]


def test_edges_are_where_values_change_most():
    image = np.zeros((5, 6), dtype=np.uint8)
    image[:, 3:] = 100
    found = spatter.edges(image)
    # The gradient is as steep on both sides of the step; the first one counts.
    assert found.tolist() == [[False, False, True, False, False, False]] * 5
    assert spatter.edges(image.T).tolist() == found.T.tolist()
    assert not spatter.edges(image // 10).any()  # a gradient of 40 is no edge


def test_weak_edges_count_where_they_continue_strong_ones():
    image = np.zeros((6, 6), dtype=np.uint8)
    image[:, 3:] = np.array([36, 34, 32, 30, 28, 26])[:, None]  # 4 times as steep
    assert not spatter.edges(image).any()
    image[:, 3:] += 4
    assert spatter.edges(image)[:, 3].all()


def test_distances_end_at_twenty_pixels():
    marked = np.zeros((1, 40), dtype=bool)
    assert spatter.distances_to(marked).tolist() == [[20.0] * 40]
    marked[0, 2] = True
    found = spatter.distances_to(marked)[0]
    assert found[:5].tolist() == [2, 1, 0, 1, 2]
    assert found[22:].tolist() == [20.0] * 18


def test_equal_steps_of_values_become_ranks():
    images = torch.tensor([[3, 3, 7, 9, 9]], dtype=torch.uint8).view(1, 1, 1, 5)
    found = spatter.equalized(images).flatten()
    assert found.tolist() == [0, 0, 85, 255, 255]  # 1 and 3 of the 3 others
    flat = torch.full((1, 1, 2, 2), 5, dtype=torch.uint8)
    assert spatter.equalized(flat).tolist() == [[[[5.0, 5.0], [5.0, 5.0]]]]


def test_mud_hides_what_is_behind_it():
    pixels = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    result = spatter.spatter(pixels, MUD, generators(2))
    is_changed = (result != pixels).any(1)
    share = is_changed.float().mean().item()
    assert 0.02 < share < 0.6
    brown = torch.tensor([63.0, 42, 20]) / 255
    distance = (result - brown.view(1, 3, 1, 1)).abs().amax(1)
    before = (pixels - brown.view(1, 3, 1, 1)).abs().amax(1)
    assert (distance[is_changed] <= 0.2 * before[is_changed] + 1e-6).all()


def test_water_adds_turquoise_light():
    pixels = torch.full((2, 3, 24, 24), 0.25)
    result = spatter.spatter(pixels, WATER, generators(2))
    light = (result - pixels) / (torch.tensor([175.0, 238, 238]) / 255).view(1, 3, 1, 1)
    torch.testing.assert_close(light[:, 0], light[:, 2])
    assert light.min() == 0
    assert light.amax((1, 2, 3)).tolist() == pytest.approx([0.5, 0.5])
    few = (0.65, 0.01, 1, 0.69, 0.5, 0)
    assert spatter.spatter(pixels, few, generators(2)).equal(pixels)


@pytest.mark.parametrize("constants", [WATER, MUD])
def test_grey_images_get_the_brightness_of_the_colours(constants):
    grey = torch.full((1, 1, 16, 16), 0.3)
    result = spatter.spatter(grey, constants, generators(1))
    coloured = spatter.spatter(grey.expand(1, 3, 16, 16), constants, generators(1))
    shares = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    torch.testing.assert_close(result, (shares * coloured).sum(1, keepdim=True))


def test_the_fourth_and_fifth_severity_are_mud():
    for table in CORRUPTIONS["spatter"].severities:
        assert [constants[-1] for constants in table] == [0, 0, 0, 1, 1]
