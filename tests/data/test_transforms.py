import pytest
import torch

from normlab.data.transforms import ImageTransform, random_windows


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def plain(**options):
    return ImageTransform((0.0,), (1 / 255,), **options)  # pixels come out as they are


def image(*rows):
    return torch.tensor([[rows]], dtype=torch.uint8)


def test_normalization_computed_by_hand():
    transform = ImageTransform((0.5, 0.0), (0.5, 1.0), size=1)
    pixels = torch.tensor([[[[255]], [[51]]]], dtype=torch.uint8)
    assert transform.evaluate(pixels).flatten().tolist() == pytest.approx([1.0, 0.2])


def test_flip_mirrors_the_chosen_images():
    transform = plain(size=2, flip=True)
    images = image([1, 2], [3, 4]).repeat(2, 1, 1, 1)
    out = transform.train(images, {"flip": torch.tensor([True, False])})
    torch.testing.assert_close(out[0, 0], torch.tensor([[2.0, 1.0], [4.0, 3.0]]))
    torch.testing.assert_close(out[1, 0], torch.tensor([[1.0, 2.0], [3.0, 4.0]]))


def test_crop_takes_a_window_of_the_padded_image():
    transform = plain(size=2, crop_padding=1)
    images = image([1, 2], [3, 4]).repeat(3, 1, 1, 1)
    out = transform.train(images, {"shift": torch.tensor([[1, 1], [0, 0], [2, 1]])})
    torch.testing.assert_close(out[0, 0], torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    torch.testing.assert_close(out[1, 0], torch.tensor([[0.0, 0.0], [0.0, 1.0]]))
    torch.testing.assert_close(out[2, 0], torch.tensor([[3.0, 4.0], [0.0, 0.0]]))


def test_crop_and_flip_together_equal_torchvisions():
    from torchvision.transforms import functional as images_functional

    images = torch.randint(256, (6, 3, 5, 5), dtype=torch.uint8, generator=generator())
    transform = ImageTransform(
        (0.0,) * 3, (1 / 255,) * 3, size=5, flip=True, crop_padding=2
    )
    draws = transform.draw(6, generator(1))
    rows = zip(
        images,
        draws["shift"],
        draws["flip"],
        transform.train(images, draws),
        strict=True,
    )
    for original, (y, x), flip, out in rows:
        expected = images_functional.crop(
            images_functional.pad(original, 2), y, x, 5, 5
        )
        expected = images_functional.hflip(expected) if flip else expected
        torch.testing.assert_close(out, expected.float())


def test_draws_have_one_row_per_sample():
    draws = plain(size=8, flip=True, crop_padding=2).draw(1000, generator())
    assert draws["shift"].min() == 0
    assert draws["shift"].max() == 4
    assert 400 < draws["flip"].sum() < 600
    again = plain(size=8, flip=True, crop_padding=2).draw(1000, generator())
    assert torch.equal(draws["shift"], again["shift"])
    assert plain(size=8).draw(10, generator()) == {}


def test_windows_stay_inside_and_keep_their_share_of_the_area():
    centre_y, centre_x, height, width = random_windows(
        2000, (0.25, 0.5), generator()
    ).unbind(1)
    assert (centre_y.abs() + height).max() <= 1 + 1e-6
    assert (centre_x.abs() + width).max() <= 1 + 1e-6
    area = height * width
    assert area.min() >= 0.25 - 1e-6
    assert area.max() <= 0.5 + 1e-6
    assert (width / height).max() <= 4 / 3 + 1e-5


def test_windows_that_do_not_fit_are_drawn_again():
    """Clipping them instead would leave less than the smallest share of the area."""
    windows = random_windows(2000, (0.8, 1.0), generator())
    area = windows[:, 2] * windows[:, 3]
    assert area.min() >= 0.8 - 1e-6
    assert (
        random_windows(100, (1.0, 1.0), generator()).tolist()
        == [[0.0, 0.0, 1.0, 1.0]] * 100
    )  # nothing else fits


def test_windows_are_distributed_as_torchvisions():
    import torchvision

    ours = random_windows(4000, (0.08, 1.0), generator())
    torch.manual_seed(0)
    crop = torchvision.transforms.RandomResizedCrop.get_params
    theirs = (
        torch.tensor(
            [
                crop(torch.empty(3, 1000, 1000), (0.08, 1.0), (3 / 4, 4 / 3))
                for _ in range(4000)
            ]
        )
        / 1000
    )
    levels = torch.tensor([0.1, 0.5, 0.9])
    torch.testing.assert_close(
        ours[:, 2].quantile(levels), theirs[:, 2].quantile(levels), atol=0.02, rtol=0
    )
    top = (ours[:, 0] - ours[:, 2] + 1) / 2
    torch.testing.assert_close(
        top.quantile(levels), theirs[:, 0].quantile(levels), atol=0.02, rtol=0
    )


def test_the_whole_window_is_the_whole_image():
    transform = plain(size=2, resized_crop=(1.0, 1.0))
    out = transform.train(
        image([1, 2], [3, 4]), {"window": torch.tensor([[0.0, 0.0, 1.0, 1.0]])}
    )
    torch.testing.assert_close(out[0, 0], torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    flipped = plain(size=2, resized_crop=(1.0, 1.0), flip=True)
    draws = {
        "window": torch.tensor([[0.0, 0.0, 1.0, 1.0]]),
        "flip": torch.tensor([True]),
    }
    out = flipped.train(image([1, 2], [3, 4]), draws)
    torch.testing.assert_close(out[0, 0], torch.tensor([[2.0, 1.0], [4.0, 3.0]]))


def test_other_sizes_are_resized():
    out = plain(size=4).evaluate(image([10, 10], [10, 10]))
    torch.testing.assert_close(out, torch.full((1, 1, 4, 4), 10.0))
    out = plain(size=4).evaluate(image([0, 100], [0, 100]))
    torch.testing.assert_close(out[0, 0], torch.tensor([[0.0, 25.0, 75.0, 100.0]] * 4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"std": (0.0,)}, "every channel must vary"),
        ({"std": (1.0,), "resized_crop": (0.5, 2)}, "resized_crop must be"),
        (
            {"std": (1.0,), "resized_crop": [0.5]},
            r"must be null or \[smallest, largest\], got \[0.5\]",
        ),
        ({"std": (1.0,), "resized_crop": 0.5}, "must be null or"),
        (
            {"std": (1.0,), "resized_crop": [0.5, 1], "crop_padding": 4},
            "exclude each other",
        ),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ImageTransform((0.0,), size=2, **options)
