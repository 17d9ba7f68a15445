"""Augmentation gives what torchvision's classes give, image by image and in batches."""

import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from normlab.data.augmentation import (
    NOTHING,
    POLICIES,
    Erasing,
    Operation,
    Policy,
    apply_operation,
)
from normlab.data.transforms import ImageTransform

SIZE = 12
KINDS = ["RandAugment", "TrivialAugmentWide", "AutoAugment"]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def photographs(count=6, channels=3, seed=0, size=SIZE):
    shape = (count, channels, size, size)
    return torch.randint(256, shape, dtype=torch.uint8, generator=generator(seed))


def rows_of(draws, rows):
    return {name: draw[rows] for name, draw in draws.items()}


def spied(monkeypatch, transform):
    """The operations that a transform of torchvision applies, by their names."""
    calls = []
    apply = transform._apply_image_or_video_transform

    def record(image, name, magnitude, **options):
        calls.append(Operation(name, float(magnitude)))
        return apply(image, name, magnitude, **options)

    monkeypatch.setattr(transform, "_apply_image_or_video_transform", record)
    return calls


@pytest.mark.parametrize(
    ("policy", "transform"),
    [
        (Policy("RandAugment", SIZE, 2, 9), v2.RandAugment(2, 9)),
        (Policy("TrivialAugmentWide", SIZE), v2.TrivialAugmentWide()),
        *(
            (
                Policy("AutoAugment", SIZE, policy=name),
                v2.AutoAugment(v2.AutoAugmentPolicy(name)),
            )
            for name in POLICIES
        ),
    ],
    ids=["rand", "trivial", *POLICIES],
)
def test_operations_have_torchvisions_distribution(monkeypatch, policy, transform):
    """The same operations with the same magnitudes, about equally often."""
    count = 3000
    calls = spied(monkeypatch, transform)
    torch.manual_seed(0)
    for _ in range(count):
        transform(torch.zeros(3, SIZE, SIZE, dtype=torch.uint8))
    expected = [call for call in calls if call.name != "Identity"]

    numbers = policy.draw(count, generator())["operations"].flatten()
    found = [policy._space.operation(n) for n in numbers.tolist() if n != NOTHING]
    found = [operation for operation in found if operation.name != "Identity"]
    assert len(found) == pytest.approx(len(expected), rel=0.05)
    rounded = [
        {(name, round(magnitude, 4)) for name, magnitude in operations}
        for operations in (found, expected)
    ]
    rare = rounded[0] ^ rounded[1]
    assert len(rare) <= 0.1 * len(rounded[0] | rounded[1])
    for name in {operation.name for operation in expected}:
        shares = [
            sum(operation.name == name for operation in operations) / count
            for operations in (found, expected)
        ]
        assert shares[0] == pytest.approx(shares[1], abs=0.04)


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (("Rotate", -20.0), lambda image: functional.rotate(image, -20.0)),
        (("Brightness", 0.3), lambda image: functional.adjust_brightness(image, 1.3)),
        (("Posterize", 5.0), lambda image: functional.posterize(image, 5)),
        (("Solarize", 0.5), lambda image: functional.solarize(image, 127.5)),
        (("Equalize", 0.0), functional.equalize),
        (("Invert", 0.0), functional.invert),
    ],
)
def test_an_operation_is_that_of_torchvision(operation, expected):
    images = photographs(size=40) % 200
    found = apply_operation(images, Operation(*operation))
    assert not torch.equal(found, images)
    for image, changed in zip(images, found, strict=True):
        assert torch.equal(changed, expected(image))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_an_image_does_not_depend_on_its_batch(kind, channels):
    images = photographs(40, channels)
    policy = Policy(kind, SIZE, 2, 20)
    draws = policy.draw(40, generator())
    whole = policy.apply(images, draws)
    assert not torch.equal(whole, images)
    for index in range(40):
        rows = slice(index, index + 1)
        assert torch.equal(
            policy.apply(images[rows], rows_of(draws, rows)), whole[rows]
        )


def test_a_rectangle_is_erased():
    images = torch.ones(2, 3, SIZE, SIZE)
    draws = {"erased": torch.tensor([[1, 2, 3, 4], [0, 0, 0, 0]])}
    erased = Erasing(0.5, SIZE).apply(images, draws)
    assert erased[0, :, 1:4, 2:6].abs().max() == 0
    assert erased[0].sum() == 3 * (SIZE**2 - 12)
    assert torch.equal(erased[1], images[1])


def test_rectangles_have_torchvisions_shares_and_ratios():
    size = 100
    draws = Erasing(0.7, size).draw(4000, generator())["erased"].float()
    happened = draws[draws[:, 2] > 0]
    assert len(happened) / 4000 == pytest.approx(0.7, abs=0.03)
    row, column, height, width = happened.unbind(1)
    assert (row + height).max() == size
    assert (column + width).max() == size
    assert row.min() == column.min() == 0
    torch.manual_seed(0)
    boxes = [
        v2.RandomErasing(p=1).make_params([torch.empty(3, size, size)])
        for _ in range(2000)
    ]
    areas = torch.tensor([box["h"] * box["w"] for box in boxes if box["v"] is not None])
    assert (height * width).mean() == pytest.approx(
        float(areas.float().mean()), rel=0.05
    )


def transform(**options):
    return ImageTransform((0.5,) * 3, (0.25,) * 3, SIZE, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"rand_augment": [2, 9]},
        {"trivial_augment": True},
        {"auto_augment": "cifar10"},
        {"color_jitter": [0.4, 0.4, 0.4, 0.1]},
        {"erasing": 0.5},
        {"trivial_augment": True, "resized_crop": [0.3, 1], "flip": True},
        {"color_jitter": [0.4, 0, 0, 0], "crop_padding": 2, "erasing": 1.0},
    ],
)
def test_a_sample_is_the_same_alone_and_in_its_epoch(options):
    images = photographs(16)
    augmented = transform(**options)
    draws = augmented.draw(16, generator())
    whole = augmented.train(images, draws)
    assert whole.shape == (16, 3, SIZE, SIZE)
    assert not torch.equal(whole, augmented.evaluate(images))
    rows = torch.tensor([3, 11])
    parted = augmented.train(images[rows], rows_of(draws, rows))
    torch.testing.assert_close(parted, whole[rows], rtol=0, atol=0)


def test_operations_come_after_mirrors_and_before_standardization():
    images = photographs(4)
    augmented = transform(auto_augment="svhn", flip=True)
    draws = augmented.draw(4, generator(3))
    flip = draws["flip"][:, None, None, None]
    pixels = torch.where(flip, images.flip(-1), images)
    policy = Policy("AutoAugment", SIZE, policy="svhn")
    expected = (policy.apply(pixels, draws).float() / 255 - 0.5) / 0.25
    torch.testing.assert_close(augmented.train(images, draws), expected)


def test_earlier_draws_are_as_they_were():
    """Runs without the new augmentations see the same images as before."""
    options = {"flip": True, "crop_padding": 2}
    before = transform(**options).draw(50, generator())
    after = transform(**options, trivial_augment=True, erasing=0.5).draw(
        50, generator()
    )
    for name, draw in before.items():
        assert torch.equal(after[name], draw)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rand_augment": [2, 31]}, r"augment.rand_augment must be .*got \[2, 31\]"),
        ({"rand_augment": [0, 9]}, "augment.rand_augment must be"),
        ({"rand_augment": [9]}, "augment.rand_augment must be"),
        ({"auto_augment": "mnist"}, "imagenet, cifar10, svhn, got 'mnist'"),
        ({"color_jitter": [1, 1, 1]}, "augment.color_jitter must be"),
        ({"color_jitter": [1, 1, 1, 0.6]}, "hue at most 0.5"),
        ({"erasing": 1.5}, "augment.erasing must lie in 0..1, got 1.5"),
        (
            {"rand_augment": [2, 9], "trivial_augment": True},
            "augment.rand_augment and augment.trivial_augment exclude each other",
        ),
    ],
)
def test_impossible_augmentations_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        transform(**options)


def test_other_images_than_bytes_in_colour_or_gray_are_refused():
    with pytest.raises(ValueError, match="with 1 or 3 channels, these have 2"):
        ImageTransform((0.0,) * 2, (1.0,) * 2, SIZE, trivial_augment=True)
    augmented = transform(trivial_augment=True)
    images = photographs(2)
    draws = augmented.draw(2, generator())
    with pytest.raises(
        ValueError, match=r"images as bytes .*, these are torch.float32"
    ):
        augmented.train(images.float(), draws)
