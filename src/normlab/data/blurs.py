"""Corruptions of images that blur them.

Shapes: N images, C channels, H x W pixels. Pixels lie in 0..1.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Generator, Tensor

from normlab.data.noises import draw
from normlab.data.resampling import bell, blurred, convolved, zoomed

LARGEST_ANGLE = 45.0  # of motion in degrees, in both directions
# Of the smoothing of a disk, in pixels: its size, and the one of larger disks.
SMOOTHING = 3
LARGE_SMOOTHING = 5
LARGE_DISK = 8


def gaussian_blur(
    pixels: Tensor, constant: float, generators: Iterable[Generator]
) -> Tensor:
    """Blur by a normal distribution with this standard deviation in pixels.

    It ends at four standard deviations, and what lies outside of an image is its edge.
    """
    return blurred(pixels, constant)


def defocus_blur(
    pixels: Tensor, constants: tuple[float, float], generators: Iterable[Generator]
) -> Tensor:
    """Make a disk of every pixel, as a lens out of focus does.

    Args:
        pixels: ``(N, C, H, W)``.
        constants: radius of the disk and standard deviation of its smoothed edge, in
            pixels.
        generators: not used.
    """
    return convolved(pixels, disk(*constants))


def disk(radius: float, sigma: float) -> Tensor:
    """A disk with a smooth edge, which sums to 1.

    Args:
        radius: in pixels.
        sigma: standard deviation of the normal distribution that smoothes it, which
            ends after one pixel, or after two for disks of more than eight pixels.

    Returns:
        float32 ``(2 R + 1, 2 R + 1)``.
    """
    size = LARGE_SMOOTHING if radius > LARGE_DISK else SMOOTHING
    margin = size // 2
    reach = int(radius) + 2 * margin  # beyond it, nothing but zeros is mirrored
    squares = _offsets(reach) ** 2
    squared_distances = squares[:, None] + squares
    is_inside = squared_distances <= radius**2
    sharp = is_inside.double()
    taps = bell(_offsets(margin), sigma).double()
    smoothing = taps[:, None] * taps
    smooth = convolved(sharp[None, None], smoothing)
    kernel = smooth[0, 0, margin:-margin, margin:-margin]
    kernel /= kernel.sum()
    return kernel.float()


def _offsets(reach: int) -> Tensor:
    """The pixels up to this far from one, ``(2 reach + 1,)``."""
    return torch.arange(-reach, reach + 1)


def glass_blur(
    pixels: Tensor, constants: tuple[float, int, int], generators: Iterable[Generator]
) -> Tensor:
    """Blur, replace each pixel by one nearby, and blur again.

    From the last pixel to the first, each becomes a copy of one that is up to this many
    rows and columns away. This is what the authors' code does, where it exchanges two
    pixels of a colour image: the second one gets its own value back.

    Args:
        pixels: ``(N, C, H, W)``.
        constants: standard deviation of the blurs in pixels, the largest distance, and
            how often all pixels are replaced.
        generators: of the distances.
    """
    sigma, distance, repetitions = constants
    height, width = pixels.shape[-2:]
    # The authors' code leaves out a margin: `distance + 1` rows at the top and
    # `distance - 1` at the bottom, and as many columns on the left and on the right.
    num_rows = max(0, height - 2 * distance)
    num_columns = max(0, width - 2 * distance)
    shape = (repetitions, num_rows, num_columns, 2)
    steps = []
    for generator in generators:
        # Their largest step down or right is one pixel shorter than up or left.
        drawn = torch.randint(-distance, distance, shape, generator=generator)
        steps.append(drawn)
    sources = _sources(torch.stack(steps).numpy(), height, width, distance)
    indices = torch.from_numpy(sources).to(pixels.device)
    soft = blurred(pixels, sigma)
    replaced = _gathered(soft, indices)
    return blurred(replaced, sigma)


def _gathered(images: Tensor, indices: Tensor) -> Tensor:
    """Replace every pixel by the one at an index, the same for all channels.

    Args:
        images: ``(N, C, H, W)``.
        indices: ``(N, H, W)``, positions in ``0..H W - 1``.
    """
    flat = images.flatten(2)
    flat_indices = indices.flatten(1).unsqueeze(1)
    gathered = flat.gather(2, flat_indices.expand_as(flat))
    return gathered.view_as(images)


def _sources(steps: np.ndarray, height: int, width: int, distance: int) -> np.ndarray:
    """Where the pixels of each image come from.

    Args:
        steps: ``(N, repetitions, rows, columns, 2)``.
        height: of the images.
        width: of the images.
        distance: the largest step.

    Returns:
        int64 ``(N, H, W)``, positions in ``0..H W - 1``.
    """
    num_images, repetitions, num_rows, num_columns, _ = steps.shape
    everyone = np.arange(num_images)
    positions = np.arange(height * width).reshape(height, width)
    sources = np.repeat(positions[None], num_images, 0)
    last_row = height - distance
    last_column = width - distance
    for repetition, i, j in np.ndindex(repetitions, num_rows, num_columns):
        row = last_row - i
        column = last_column - j
        down, right = steps[:, repetition, i, j].T
        others = sources[everyone, row + down, column + right]
        sources[:, row, column] = others
    return sources


def motion_blur(
    pixels: Tensor, constants: tuple[int, float], generators: Iterable[Generator]
) -> Tensor:
    """Blur along a line, whose angle is drawn from -45 to 45 degrees.

    Args:
        pixels: ``(N, C, H, W)``.
        constants: see `moved`.
        generators: of the angles.
    """
    radius, sigma = constants
    shares = draw(torch.rand, (), generators, pixels)
    angles = (2 * shares - 1) * LARGEST_ANGLE
    return moved(pixels, radius, sigma, angles)


def moved(images: Tensor, radius: int, sigma: float, angles: Tensor) -> Tensor:
    r"""Average images over their moves along a line, as ImageMagick does.

    Pixel ``p`` becomes :math:`\sum_k w_k\, x(p + k\,(\cos\alpha, \sin\alpha))` with
    :math:`w_k \propto \exp(-k^2 / 2\sigma^2)` for k = 0 to 2 r, each position rounded
    to whole pixels. What lies outside of an image is its edge.

    Args:
        images: ``(N, C, H, W)``.
        radius: r in pixels.
        sigma: standard deviation in pixels.
        angles: ``(N,)`` in degrees.
    """
    steps = torch.arange(2 * radius + 1, dtype=torch.float64, device=images.device)
    weights = bell(steps, sigma)
    weights /= weights.sum()
    radians = torch.deg2rad(angles.double())
    downwards = _whole(steps[:, None] * radians.sin())
    sideways = _whole(steps[:, None] * radians.cos())
    result = torch.zeros_like(images)
    # The sum is taken in the order of the steps, which decides how it is rounded.
    for weight, down, side in zip(weights.tolist(), downwards, sideways, strict=True):
        result += weight * _displaced(images, down, side)
    return result


def _whole(positions: Tensor) -> Tensor:
    """Positions rounded to whole pixels, halves downwards as in ImageMagick."""
    return torch.ceil(positions - 0.5).long()


def _displaced(images: Tensor, down: Tensor, side: Tensor) -> Tensor:
    """What lies this many pixels below and to the right of every pixel.

    Args:
        images: ``(N, C, H, W)``.
        down: int64 ``(N,)``.
        side: int64 ``(N,)``.
    """
    height, width = images.shape[-2:]
    rows = torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device)
    at_rows = (rows + down[:, None]).clamp(0, height - 1)
    at_columns = (columns + side[:, None]).clamp(0, width - 1)
    indices = at_rows[:, :, None] * width + at_columns[:, None]
    return _gathered(images, indices)


def zoom_blur(
    pixels: Tensor, constants: tuple[float, float], generators: Iterable[Generator]
) -> Tensor:
    """Average images with magnified ones.

    Args:
        pixels: ``(N, C, H, W)``.
        constants: the factor before which magnification ends, and the step from one
            factor to the next; the first is 1.
        generators: not used.
    """
    end, step = constants
    factors = np.arange(1, end, step)
    total = pixels.clone()
    for factor in factors.tolist():
        total += zoomed(pixels, factor)
    num_images = len(factors) + 1
    return total / num_images
