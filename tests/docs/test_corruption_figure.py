"""The figure of all corruptions."""

import torch
from docs.corruption_figure import COLUMNS, GAP, SIDE, corrupted, sheet

from normlab.data.corruptions import CORRUPTIONS
from normlab.data.shifts import Shift


def test_every_corruption_has_a_row_of_five_severities():
    images = torch.full((1, 3, SIDE, SIDE), 100, dtype=torch.uint8)
    num_rows = -(-len(CORRUPTIONS) // COLUMNS)
    page = sheet(images)
    assert page.height == num_rows * (SIDE + GAP)
    place = [*CORRUPTIONS].index("inversion") - num_rows * (COLUMNS - 1)
    pixel = (page.width - GAP - 1, place * (SIDE + GAP))
    assert page.getpixel(pixel) == (155, 155, 155)
    picture = corrupted(images, Shift("inversion", 1))
    assert picture.getpixel((0, 0)) == (111, 111, 111)
