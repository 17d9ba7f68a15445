"""Draws all corruptions at their five severities: docs/how-to/figures/corruptions.png.

Run it as `python -m docs.corruption_figure` in scripts/ when a corruption changes.
"""

import torch
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_image
from torch import Tensor

from docs.paths import PAGES
from normlab.data.corruptions import CORRUPTIONS
from normlab.data.shifts import Shift
from normlab.streams import torch_generator

FILE = PAGES / "how-to" / "figures" / "corruptions.png"
SIDE = 64
GAP = 4
SEVERITIES = range(1, 6)
LABEL_WIDTH = 120
COLUMNS = 2  # of corruptions


def photograph() -> Tensor:
    """A flower, uint8 ``(1, 3, 64, 64)``."""
    image = Image.fromarray(load_sample_image("flower.jpg"))
    square = image.crop((107, 0, 533, 426)).resize((SIDE, SIDE))
    pixels = torch.tensor(list(square.tobytes()), dtype=torch.uint8)
    return pixels.view(1, SIDE, SIDE, 3).permute(0, 3, 1, 2)


def sheet(images: Tensor) -> Image.Image:
    """One row per corruption, in two columns, with the severities side by side."""
    names = [*CORRUPTIONS]
    num_rows = -(-len(names) // COLUMNS)
    width = LABEL_WIDTH + len(SEVERITIES) * (SIDE + GAP)
    page = Image.new("RGB", (COLUMNS * width, num_rows * (SIDE + GAP)), "white")
    draw = ImageDraw.Draw(page)
    for number, name in enumerate(names):
        column, row = divmod(number, num_rows)
        left, top = column * width, row * (SIDE + GAP)
        draw.text((left + GAP, top + SIDE // 2 - 6), name, "black")
        for place, severity in enumerate(SEVERITIES):
            picture = corrupted(images, Shift(name, severity))
            page.paste(picture, (left + LABEL_WIDTH + place * (SIDE + GAP), top))
    return page


def corrupted(images: Tensor, shift: Shift) -> Image.Image:
    """The first image under a shift."""
    generators = [torch_generator(0, shift.name, row) for row in range(len(images))]
    pixels = shift.apply(images, generators)[0].round().to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())


if __name__ == "__main__":
    sheet(photograph()).quantize(256).save(FILE, optimize=True)
