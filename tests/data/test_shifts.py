"""Parts whose images are corrupted when they are evaluated."""

import pytest
import torch

from normlab.data.blocks import Part
from normlab.data.corruptions import CORRUPTIONS
from normlab.data.parts import Parts
from normlab.data.shifts import Shift, parse_shift, shifted_parts
from normlab.data.transforms import ImageTransform, Unchanged


def small_parts(channels):
    """Six images of 4 x 4 pixels, of which three are for test."""
    shape = (6, channels, 4, 4)
    pixels = torch.randint(256, shape, generator=torch.Generator().manual_seed(2))
    images = pixels.to(torch.uint8)
    transform = ImageTransform((0.5,) * channels, (0.25,) * channels, 4)
    part = Part(images, torch.arange(6), torch.tensor([1, 3, 5]), transform)
    return Parts(part, part, part, shape[1:], 6)


@pytest.fixture
def parts():
    return small_parts(1)


@pytest.mark.parametrize(
    ("text", "shift"),
    [
        ("brightness:3", Shift("brightness", 3)),
        ("noise:1", Shift("gaussian_noise", 1)),
        ("blur:5", Shift("gaussian_blur", 5)),
        ("none", None),
    ],
)
def test_a_shift_is_a_name_and_a_severity(text, shift):
    assert parse_shift(text) == shift


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("brightnes:3", "shift must name a corruption, got 'brightnes', did you mean"),
        ("sleet:3", "got 'sleet'; known are brightness, contrast, "),
        ("frost:3", "shift must not be frost: it takes photographs of frost by others"),
        ("contrast", "shift must end in a severity from 1 to 5, as in contrast:3"),
        ("contrast:0", "got 'contrast:0'"),
        ("contrast:2.5", "got 'contrast:2.5'"),
    ],
)
def test_unknown_shifts_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_shift(text)


def test_images_are_corrupted_before_they_are_normalized(parts):
    part = shifted_parts(parts, Shift("inversion", 5), seed=0).test
    stored = parts.test.inputs[[1, 3, 5]].float() / 255
    expected = ((1 - stored) - 0.5) / 0.25
    torch.testing.assert_close(part.evaluation_inputs(part.rows), expected)


def test_grey_images_have_no_colours_to_saturate(parts):
    message = "shift must act on images with 3 channels if it is saturate, which chan"
    with pytest.raises(ValueError, match=message):
        shifted_parts(parts, Shift("saturate", 1), seed=0)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corrupted_image_does_not_depend_on_its_batch(name):
    parts = small_parts(3 if CORRUPTIONS[name].needs_colours else 1)
    part = shifted_parts(parts, Shift(name, 3), seed=7).test
    together = part.evaluation_inputs(part.rows)
    alone = [part.evaluation_inputs(row[None]) for row in part.rows.flip(0)]
    torch.testing.assert_close(torch.cat(alone).flip(0), together)
    bounds = torch.tensor([-2.0, 2.0])  # black and white
    assert bounds[0] <= together.min()
    assert together.max() <= bounds[1]


def test_noise_depends_on_seed_part_and_image(parts):
    shift = Shift("gaussian_noise", 5)
    first = shifted_parts(parts, shift, seed=0)
    other = shifted_parts(parts, shift, seed=1)
    rows = parts.test.rows
    inputs = first.test.evaluation_inputs(rows)
    assert inputs.equal(shifted_parts(parts, shift, 0).test.evaluation_inputs(rows))
    assert not inputs.equal(other.test.evaluation_inputs(rows))
    assert not inputs.equal(first.validation.evaluation_inputs(rows))


def test_training_inputs_and_the_parts_themselves_stay(parts):
    shifted = shifted_parts(parts, Shift("inversion", 5), seed=0)
    rows = parts.train.rows
    plain = parts.train.evaluation_inputs(rows)
    assert shifted.train.training_inputs(rows, {}).equal(plain)
    assert shifted.train.inputs is parts.train.inputs
    assert shifted.to(torch.device("cpu")).test.shift == Shift("inversion", 5)


@pytest.mark.parametrize(
    ("inputs", "transform"),
    [
        (torch.zeros(6, 4), Unchanged()),
        (torch.zeros(6, 1, 4, 4), ImageTransform((0.5,), (0.25,), 4)),
        (torch.zeros(6, 2, 4, 4, dtype=torch.uint8), ImageTransform((0,), (1,), 4)),
    ],
)
def test_only_images_of_bytes_are_shifted(inputs, transform):
    part = Part(inputs, torch.arange(6), torch.arange(6), transform)
    data = Parts(part, part, part, tuple(inputs.shape[1:]), 6)
    with pytest.raises(ValueError, match="shift must act on images with 1 or 3 chan"):
        shifted_parts(data, Shift("contrast", 1), seed=0)
