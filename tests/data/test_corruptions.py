"""All corruptions, with the constants of their five severities."""

import pytest
import torch

from normlab.data.corruptions import CORRUPTIONS, LEFT_OUT, SHORT_NAMES
from normlab.data.resampling import blurred

# Corruptions whose constants do not grow in one direction, or change what they do.
UNEVEN = ("glass_blur", "snow", "saturate", "elastic_transform", "spatter")
IMAGENET_C = (
    *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur"),
    *("motion_blur", "zoom_blur", "snow", "frost", "fog", "brightness", "contrast"),
    *("elastic_transform", "pixelate", "jpeg_compression", "speckle_noise"),
    *("gaussian_blur", "spatter", "saturate"),
)

COLOURED = ((1, 3, 1, 1), (2, 3, 33, 28))
GREY = (2, 1, 5, 8)


def smooth_images(side):
    """Two images that change from pixel to pixel as photographs do."""
    noise = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    soft = blurred(noise, side / 16)
    lowest = soft.amin((1, 2, 3), keepdim=True)
    return 0.8 * (soft - lowest) / (soft.amax((1, 2, 3), keepdim=True) - lowest)


def corrupted(name, pixels, severity):
    generators = [torch.Generator().manual_seed(k) for k in range(len(pixels))]
    constant = CORRUPTIONS[name].severities.constant(severity, pixels.shape[-1])
    return CORRUPTIONS[name].corrupt(pixels, constant, generators).clamp(0, 1)


def test_all_corruptions_of_imagenet_c_are_there_or_named():
    assert {*CORRUPTIONS, *LEFT_OUT} == {*IMAGENET_C, "inversion"}
    assert set(SHORT_NAMES.values()) <= set(CORRUPTIONS)


@pytest.mark.parametrize("side", [32, 64, 96])
@pytest.mark.parametrize("name", sorted(set(CORRUPTIONS) - set(UNEVEN)))
def test_a_higher_severity_changes_images_more(name, side):
    pixels = smooth_images(side)
    changes = []
    for severity in range(1, 6):
        change = corrupted(name, pixels, severity) - pixels
        changes.append(change.abs().mean().item())
    assert changes[0] > 0
    assert changes[-1] > 1.2 * changes[0]
    assert changes == sorted(changes)


@pytest.mark.parametrize("severity", range(1, 6))
@pytest.mark.parametrize("name", UNEVEN)
def test_corruptions_of_uneven_severity_change_images_too(name, severity):
    pixels = smooth_images(64)
    assert (corrupted(name, pixels, severity) - pixels).abs().max() > 0.05


def names_and_shapes():
    """Every corruption with shapes of images that it takes."""
    for name, corruption in CORRUPTIONS.items():
        yield from ((name, shape) for shape in COLOURED)
        if not corruption.needs_colours:
            yield name, GREY


@pytest.mark.parametrize(("name", "shape"), list(names_and_shapes()))
def test_images_of_any_size_are_corrupted(name, shape):
    pixels = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    for severity in (1, 3, 5):
        result = corrupted(name, pixels, severity)
        assert result.shape == pixels.shape
        assert result.dtype == torch.float32
        assert result.isfinite().all()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_is_the_same_whenever_it_is_drawn(name):
    pixels = smooth_images(32)
    assert corrupted(name, pixels, 4).equal(corrupted(name, pixels, 4))


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
