"""Colours change as torchvision changes them, image by image."""

import pytest
import torch
from torchvision.transforms.v2 import functional

from normlab.data.colour_jitter import (
    ColourJitter,
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
)

SIZE = 12


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def photographs(count, channels=3):
    shape = (count, channels, SIZE, SIZE)
    return torch.randint(256, shape, dtype=torch.uint8, generator=generator())


@pytest.mark.parametrize(
    ("adjust", "expected", "factors", "tolerance"),
    [
        (adjust_brightness, functional.adjust_brightness, (0.4, 1.7), 1),
        (adjust_contrast, functional.adjust_contrast, (0.4, 1.7), 1),
        (adjust_saturation, functional.adjust_saturation, (0.0, 1.7), 1),
        (adjust_hue, functional.adjust_hue, (-0.3, 0.2), 0),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_colours_change_as_in_torchvision(
    adjust, expected, factors, tolerance, channels
):
    """Factors are float32 here, so that a value may be rounded to its neighbour."""
    images = photographs(2, channels)
    found = adjust(images, torch.tensor(factors)[:, None, None, None])
    for index, factor in enumerate(factors):
        difference = found[index].int() - expected(images[index], factor).int()
        assert difference.abs().max() <= tolerance
        assert (difference != 0).float().mean() < 0.05


def test_jitter_follows_the_order_of_each_image():
    jitter = ColourJitter((0.5, 0.5, 0.5, 0.1))
    images = photographs(2)
    factors = torch.tensor([[1.5, 0.5, 1.2, 0.1], [1.5, 0.5, 1.2, 0.1]])
    orders = torch.tensor([[0, 1, 2, 3], [3, 1, 0, 2]])
    found = jitter.apply(images, {"jitter": factors, "jitter_order": orders})
    steps = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)
    for index, order in enumerate(orders.tolist()):
        image = images[index : index + 1]
        for step in order:
            image = steps[step](image, factors[index, step].reshape(1, 1, 1, 1))
        assert torch.equal(found[index], image[0])


def test_factors_of_jitter_lie_in_their_ranges():
    draws = ColourJitter((0.4, 2.0, 0.0, 0.1)).draw(2000, generator())
    low = draws["jitter"].min(0).values
    high = draws["jitter"].max(0).values
    torch.testing.assert_close(low, torch.tensor([0.6, 0, 1, -0.1]), atol=0.02, rtol=0)
    torch.testing.assert_close(high, torch.tensor([1.4, 3, 1, 0.1]), atol=0.02, rtol=0)
    counts = torch.bincount(draws["jitter_order"][:, 0])
    assert counts.min() > 400
