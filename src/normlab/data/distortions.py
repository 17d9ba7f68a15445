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

ELASTIC_TRUNCATE = 3.0  # standard deviations at which the blur of the field ends


def brightness(
    pixels: Tensor, constant: float, generators: Iterable[Generator]
) -> Tensor:
    """Add to the value of hue, saturation and value; of grey images to the pixels.

    The value of a colour is its largest channel. With hue and saturation as they are,
    all channels are multiplied by the same number.
    """
    value = pixels.amax(1, keepdim=True)
    brighter = (value + constant).clamp(0, 1)
    return torch.where(value > 0, pixels * brighter / value, brighter)


def contrast(
    pixels: Tensor, constant: float, generators: Iterable[Generator]
) -> Tensor:
    """Draw every channel of an image towards its mean."""
    mean = pixels.mean((2, 3), keepdim=True)
    return mean + constant * (pixels - mean)


def inversion(
    pixels: Tensor, constant: float, generators: Iterable[Generator]
) -> Tensor:
    """Blend images with their negatives, of which the constant is the share."""
    return pixels + constant * (1 - 2 * pixels)


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
    wanted = (factor * saturation + added).clamp(0, 1)
    red = torch.tensor([0.0, 1.0, 1.0], device=pixels.device).view(1, 3, 1, 1)
    shares = torch.where(largest > 0, distance / largest, red)
    return value * (1 - wanted * shares)


def pixelate(
    pixels: Tensor, constant: float, generators: Iterable[Generator]
) -> Tensor:
    """Make images smaller by this factor, and as large as they were, by boxes."""
    height, width = pixels.shape[-2:]
    return mapped(pixels, _coarse(height, constant), _coarse(width, constant))


def _coarse(size: int, factor: float) -> Tensor:
    smaller = max(1, int(size * factor))
    return box_matrix(smaller, size) @ box_matrix(size, smaller)


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
    factor, sigma, largest = (side * constant for constant in constants)
    numbers = draw(torch.rand, (6 + 2 * height * width,), generators, pixels)
    numbers = 2 * numbers - 1
    corners = _triangle(height, width).to(pixels.device)
    moved = corners + largest * numbers[:, :6].view(-1, 3, 2)
    grid = _grid(height, width).to(pixels.device)
    places = grid @ _affine(moved, corners)[:, None]
    bent = _sampled(pixels, places, align_corners=True)
    if factor == 0:
        return bent
    field = numbers[:, 6:].view(-1, 2, height, width)
    field = factor * blurred(field, sigma, "reflect", ELASTIC_TRUNCATE)
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
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([x, y, torch.ones_like(x)], -1).float()


def _affine(origins: Tensor, images: Tensor) -> Tensor:
    """The maps ``(N, 3, 2)`` of (x, y, 1) that take three points to others.

    Args:
        origins: ``(N, 3, 2)``; three points in one line have no such map.
        images: ``(3, 2)``.
    """
    ones = torch.ones_like(origins[..., :1])
    homogeneous = torch.cat([origins, ones], -1).double()
    targets = images.double().expand(len(origins), 3, 2)
    return torch.linalg.solve(homogeneous, targets).float()


def _sampled(images: Tensor, places: Tensor, align_corners: bool) -> Tensor:
    """Images at places ``(N, H, W, 2)`` in pixels, bilinearly, mirrored at the edges.

    Args:
        images: ``(N, C, H, W)``.
        places: as (x, y).
        align_corners: whether the edge itself is not repeated by the mirror.
    """
    size = torch.tensor(images.shape[:1:-1], device=images.device)
    if align_corners:
        grid = 2 * places / (size - 1).clamp(min=1) - 1
    else:
        grid = (2 * places + 1) / size - 1
    return functional.grid_sample(
        images, grid, padding_mode="reflection", align_corners=align_corners
    )


def jpeg_compression(
    pixels: Tensor, constant: float, generators: Iterable[Generator]
) -> Tensor:
    """Store images as JPEG of this quality."""
    images = pixels.mul(PIXEL_RANGE).round().to(torch.uint8).permute(0, 2, 3, 1)
    decoded = []
    for image in images.cpu().numpy():
        file = BytesIO()
        picture = image[:, :, 0] if image.shape[2] == 1 else image
        Image.fromarray(picture).save(file, "JPEG", quality=int(constant))
        decoded.append(np.asarray(Image.open(file)).reshape(image.shape))
    stored = torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2)
    return stored.to(pixels.device) / PIXEL_RANGE
