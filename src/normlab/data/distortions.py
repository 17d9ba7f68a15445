"""Corruptions of images that change colours, sizes and places of their pixels.

Shapes: N images, C channels, H x W pixels. Pixels lie in 0..1.
"""

from collections.abc import Iterable
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor
from torch.nn import functional

from normlab.data.noises import draw
from normlab.data.resampling import blurred, box_matrix, mapped
from normlab.data.transforms import PIXEL_RANGE

# Of red from its largest channel, in shares of the largest distance.
DISTANCES_OF_RED = (0.0, 1.0, 1.0)
ELASTIC_TRUNCATE = 3.0  # standard deviations at which the blur of the field ends


def brightness(
    pixels: Tensor, constant: float, generators: Iterable[Generator]
) -> Tensor:
    """Add to the value of hue, saturation and value; of grey images to the pixels.

    The value of a colour is its largest channel. With hue and saturation as they are,
    all channels are multiplied by the same number.
    """
    value = pixels.amax(1, keepdim=True)
    brighter = value + constant
    brighter = brighter.clamp(0, 1)
    multiplied = pixels * brighter / value
    # Black has neither hue nor saturation, and becomes grey.
    return torch.where(value > 0, multiplied, brighter)


def contrast(
    pixels: Tensor, constant: float, generators: Iterable[Generator]
) -> Tensor:
    """Draw every channel of an image towards its mean."""
    mean = pixels.mean((2, 3), keepdim=True)
    deviations = pixels - mean
    return mean + constant * deviations


def inversion(
    pixels: Tensor, constant: float, generators: Iterable[Generator]
) -> Tensor:
    """Blend images with their negatives, of which the constant is the share."""
    difference = 1 - 2 * pixels  # of the negative `1 - pixels` from the image
    return pixels + constant * difference


def saturate(
    pixels: Tensor, constants: tuple[float, float], generators: Iterable[Generator]
) -> Tensor:
    """Change the saturation of colours: s becomes ``factor s + sum`` within 0..1.

    With hue and value as they are, the distance of every channel from the largest one
    changes in proportion. Grey pixels have the hue of red, which they get if something
    is added to their saturation.

    Args:
        pixels: ``(N, 3, H, W)``.
        constants: factor and sum.
        generators: not used.
    """
    factor, added = constants
    value = pixels.amax(1, keepdim=True)
    distance = value - pixels
    largest = distance.amax(1, keepdim=True)
    saturation = torch.where(value > 0, largest / value, 0.0)
    wanted = factor * saturation + added
    wanted = wanted.clamp(0, 1)
    red = torch.tensor(DISTANCES_OF_RED, device=pixels.device)
    hue = torch.where(largest > 0, distance / largest, red.view(1, 3, 1, 1))
    return value * (1 - wanted * hue)


def pixelate(
    pixels: Tensor, constant: float, generators: Iterable[Generator]
) -> Tensor:
    """Make images smaller by this factor, and as large as they were, by boxes."""
    height, width = pixels.shape[-2:]
    rows = _coarse(height, constant)
    columns = _coarse(width, constant)
    return mapped(pixels, rows, columns)


def _coarse(size: int, factor: float) -> Tensor:
    """The map of a side to a smaller one and back, ``(size, size)``."""
    small_size = max(1, int(size * factor))
    shrink = box_matrix(size, small_size)
    enlarge = box_matrix(small_size, size)
    return enlarge @ shrink


def elastic_transform(
    pixels: Tensor,
    constants: tuple[float, float, float],
    generators: Iterable[Generator],
) -> Tensor:
    """Move three points and all that lies between them, then every pixel a little.

    The three points span a triangle around the middle, which gives an affine map. The
    moves of the pixels are uniform random numbers, blurred.

    Args:
        pixels: ``(N, C, H, W)``.
        constants: factor of the moves, standard deviation of their blur, and largest
            move of the three points, all as multiples of the larger side.
        generators: of both.
    """
    height, width = pixels.shape[-2:]
    side = max(height, width)
    factor = side * constants[0]
    sigma = side * constants[1]
    largest = side * constants[2]
    num_numbers = 6 + 2 * height * width
    numbers = draw(torch.rand, (num_numbers,), generators, pixels)
    directions = 2 * numbers - 1
    of_points = directions[:, :6].view(-1, 3, 2)
    of_pixels = directions[:, 6:].view(-1, 2, height, width)

    corners = _triangle(height, width).to(pixels.device)
    grid = _grid(height, width).to(pixels.device)
    maps = _affine(corners + largest * of_points, corners)
    bent = _sampled(pixels, grid @ maps[:, None], align_corners=True)
    if factor == 0:
        return bent
    field = factor * blurred(of_pixels, sigma, "reflect", ELASTIC_TRUNCATE)
    places = grid[..., :2] + field.permute(0, 2, 3, 1)
    return _sampled(bent, places, align_corners=False)


def _triangle(height: int, width: int) -> Tensor:
    """The points ``(3, 2)`` that are moved, as (x, y)."""
    reach = max(1, min(height, width) // 3)
    middle = torch.tensor([width // 2, height // 2])
    directions = torch.tensor([[1, 1], [1, -1], [-1, -1]])
    return (middle + reach * directions).float()


def _grid(height: int, width: int) -> Tensor:
    """All pixels as (x, y, 1): ``(H, W, 3)``."""
    rows = torch.arange(height)
    columns = torch.arange(width)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    ones = torch.ones_like(x)
    grid = torch.stack([x, y, ones], -1)
    return grid.float()


def _affine(origins: Tensor, images: Tensor) -> Tensor:
    """The maps ``(N, 3, 2)`` of (x, y, 1) that take three points to others.

    Args:
        origins: ``(N, 3, 2)``; three points in one line have no such map.
        images: ``(3, 2)``.
    """
    ones = torch.ones_like(origins[..., :1])
    homogeneous = torch.cat([origins, ones], -1)
    targets = images.expand(len(origins), 3, 2)
    maps = torch.linalg.solve(homogeneous.double(), targets.double())
    return maps.float()


def _sampled(images: Tensor, places: Tensor, align_corners: bool) -> Tensor:
    """Images at places ``(N, H, W, 2)`` in pixels, bilinearly, mirrored at the edges.

    Args:
        images: ``(N, C, H, W)``.
        places: as (x, y).
        align_corners: whether the edge itself is not repeated by the mirror.
    """
    height, width = images.shape[-2:]
    size = torch.tensor([width, height], device=images.device)
    # `grid_sample` wants -1 and 1 for the centres of the first and of the last pixel,
    # or for their outer edges.
    if align_corners:
        last = (size - 1).clamp(min=1)
        grid = 2 * places / last - 1
    else:
        grid = (2 * places + 1) / size - 1
    return functional.grid_sample(
        images, grid, padding_mode="reflection", align_corners=align_corners
    )


def jpeg_compression(
    pixels: Tensor, constant: float, generators: Iterable[Generator]
) -> Tensor:
    """Store images as JPEG of this quality."""
    values = pixels.mul(PIXEL_RANGE).round()
    channels_last = values.to(torch.uint8).permute(0, 2, 3, 1)
    decoded = []
    for image in channels_last.cpu().numpy():
        stored = _through_jpeg(image, int(constant))
        decoded.append(torch.from_numpy(stored))
    channels_first = torch.stack(decoded).permute(0, 3, 1, 2)
    return channels_first.to(pixels.device) / PIXEL_RANGE


def _through_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """What is left of an image ``(H, W, C)`` once it was a JPEG file."""
    is_grey = image.shape[2] == 1
    picture = Image.fromarray(image[:, :, 0] if is_grey else image)
    file = BytesIO()
    picture.save(file, "JPEG", quality=quality)
    decoded = np.array(Image.open(file))
    return decoded.reshape(image.shape)
