"""Pictures of scores: a confusion matrix, and samples with what was predicted.

Pillow draws them in milliseconds. A figure of matplotlib would take as long as an epoch
of a small network.
"""

import io
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

MATRIX_PIXELS = 560
LARGEST_CELL = 40
FEWEST_PIXELS_FOR_NUMBERS = 26
FEWEST_PIXELS_FOR_NAMES = 12
LONGEST_NAME = 16
MARGIN = 8
FONT_SIZE = 11
TILE_PIXELS = 112
CAPTION_PIXELS = 30
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
FULL = np.array([8.0, 48.0, 107.0])  # the colour of a whole row in one cell


def draw_matrix(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> bytes:
    """Draw a confusion matrix, coloured by the share of each row.

    Args:
        matrix: K rows of K counts; row i has the samples of class i.
        names: of the classes; none are drawn if there are too many.

    Returns:
        A PNG file.
    """
    counts = np.array(matrix)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    cell = int(np.clip(MATRIX_PIXELS // len(counts), 2, LARGEST_CELL))
    colours = 255 + shares[..., None] * (FULL - 255)
    cells = colours.astype(np.uint8).repeat(cell, 0).repeat(cell, 1)

    has_names = cell >= FEWEST_PIXELS_FOR_NAMES
    labels = [_text(name, LONGEST_NAME) for name in names] if has_names else []
    font = _font()
    widths = [font.getlength(label) for label in labels]
    left = 2 * MARGIN + FONT_SIZE + round(max(widths, default=0))
    side = left + len(cells) + MARGIN
    image = Image.new("RGB", (side, side), "white")
    image.paste(Image.fromarray(cells), (left, left))
    draw = ImageDraw.Draw(image)
    for place, label in enumerate(labels):
        middle = left + cell * place + cell // 2
        draw.text((left - 4, middle), label, "black", font, anchor="rm")
        _draw_upright(image, (middle, left - 4), label, font)
    if cell >= FEWEST_PIXELS_FOR_NUMBERS:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                centre = (left + cell * (column + 0.5), left + cell * (row + 0.5))
                ink = "white" if shares[row, column] > 0.5 else "black"
                draw.text(centre, str(count), ink, font, anchor="mm")
    draw.text((MARGIN, MARGIN), "row: true, column: predicted", "black", font)
    return _png(image)


def draw_samples(samples: Tensor, captions: Sequence[tuple[str, str]]) -> bytes:
    """Draw images in a grid, each above two lines of text.

    Args:
        samples: images as stored, ``(N, C, H, W)``. Images that are no bytes are drawn
            from their smallest to their largest value, and images that have neither one
            nor three channels by the mean of their channels.
        captions: the two lines of each.

    Returns:
        A PNG file.
    """
    num_columns = int(np.ceil(np.sqrt(len(samples))))
    num_rows = -(-len(samples) // num_columns)
    width, height = TILE_PIXELS + MARGIN, TILE_PIXELS + CAPTION_PIXELS
    size = (num_columns * width + MARGIN, num_rows * height + MARGIN)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    font = _font()
    for place, (sample, lines) in enumerate(zip(samples, captions, strict=True)):
        row, column = divmod(place, num_columns)
        corner = (MARGIN + column * width, MARGIN + row * height)
        tile = Image.fromarray(_pixels(sample)).resize(
            (TILE_PIXELS, TILE_PIXELS), Image.Resampling.NEAREST
        )
        sheet.paste(tile, corner)
        for number, line in enumerate(lines):
            below = corner[1] + TILE_PIXELS + 1 + number * (FONT_SIZE + 2)
            draw.text((corner[0], below), _text(line, 20), "black", font)
    return _png(sheet)


def _pixels(sample: Tensor) -> np.ndarray:
    """An image ``(C, H, W)`` as uint8 ``(H, W, 3)``."""
    if len(sample) not in (1, 3):
        sample = sample.float().mean(0, keepdim=True)
    if sample.dtype != torch.uint8:
        values = sample.float().nan_to_num()
        low, high = values.aminmax()
        sample = ((values - low) * (255 / (high - low).clamp(min=1e-12))).byte()
    return sample.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()


def _draw_upright(
    image: Image.Image, foot: tuple[int, int], text: str, font: Font
) -> None:
    """Write upwards, from a point in the middle of the line."""
    length = round(font.getlength(text)) + 2
    line = Image.new("L", (length, FONT_SIZE + 4))
    ImageDraw.Draw(line).text((0, 0), text, 255, font)
    line = line.rotate(90, expand=True)
    place = (foot[0] - line.width // 2, foot[1] - line.height)
    image.paste("black", place, line)


@cache
def _font() -> Font:
    return ImageFont.load_default(FONT_SIZE)


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)  # three times as fast as by default
    return file.getvalue()


def _text(text: str, longest: int) -> str:
    """Text that the font of Pillow has the letters for, shortened."""
    known = text.encode("latin-1", "replace").decode("latin-1")
    return known if len(known) <= longest else known[: longest - 1] + "…"
