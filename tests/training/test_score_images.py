"""Pictures of scores, pixel by pixel where it matters."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from normlab.training.score_images import TILE_PIXELS, draw_matrix, draw_samples


def pixels(png):
    return np.array(Image.open(io.BytesIO(png)))


def matrix_pixels(*arguments):
    return pixels(draw_matrix(*arguments))


def sample_pixels(*arguments):
    return pixels(draw_samples(*arguments))


def test_a_cell_is_coloured_by_its_share_of_the_row():
    image = matrix_pixels([[30, 10], [0, 0]], ["cat", "a dog with a very long name"])
    assert (image.dtype, image.ndim, image.shape[2]) == (np.uint8, 3, 3)
    side = 40
    start = image.shape[0] - 8 - 2 * side
    corners = image[start + 2 :: side, start + 2 :: side][:2, :2]
    assert corners[1].tolist() == [[255] * 3] * 2  # of a class without samples
    shares = (255 - corners[0].astype(float)) / (255 - np.array([8, 48, 107]))
    assert shares[0] == pytest.approx(0.75, abs=0.01)
    assert shares[1] == pytest.approx(0.25, abs=0.01)


def test_a_matrix_of_many_classes_has_cells_without_text():
    image = matrix_pixels(np.eye(150, dtype=int).tolist(), [str(n) for n in range(150)])
    size = 150 * (560 // 150)
    start = image.shape[0] - 8 - size
    cells = image[start : start + size, start : start + size]
    assert len(np.unique(cells.reshape(-1, 3), axis=0)) == 2
    assert (cells[..., 0] < 255).mean() == pytest.approx(1 / 150)


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_images_of_any_kind_are_drawn(channels, dtype):
    samples = torch.zeros(3, channels, 2, 2, dtype=dtype)
    samples[:, :, 0, 1] = 200
    captions = [("true", "not 猫 99%")] * 3
    image = sample_pixels(samples, captions)
    first = image[8 : 8 + TILE_PIXELS, 8 : 8 + TILE_PIXELS]
    bright = 200 if dtype == torch.uint8 and channels in (1, 3) else 255
    assert first[10, -10].tolist() == [bright] * 3
    assert first[-10, 10].tolist() == [0] * 3
    # Three samples make two rows of two.
    assert image.shape[1] == 2 * (TILE_PIXELS + 8) + 8


def test_an_image_of_one_value_is_drawn_dark():
    image = sample_pixels(torch.full((1, 1, 3, 3), 7.5), [("", "")])
    assert image[20, 20].tolist() == [0, 0, 0]
