"""Corruptions of images that blur them.

Shapes: N images, C channels, H x W pixels. Pixels lie in 0..1.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Generator, Tensor

from normlab.data.noises import draw
from normlab.data.resampling import blurred, convolved, zoomed

LARGEST_ANGLE = 45.0  # of motion in degrees, in both directions
# Of the smoothing of a disk, in pixels: its size, and the one of larger disks.
SMOOTHING, LARGE_SMOOTHING = 3, 5
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
    offsets = torch.arange(-reach, reach + 1)
    squares = offsets**2
    sharp = (squares[:, None] + squares <= radius**2).double()
    taps = torch.exp(-0.5 * (torch.arange(-margin, margin + 1) / sigma) ** 2).double()
    smooth = convolved(sharp[None, None], taps[:, None] * taps)[0, 0]
    kernel = smooth[margin:-margin, margin:-margin]
    return (kernel / kernel.sum()).float()


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
    rows = range(height - distance, distance, -1)
    columns = range(width - distance, distance, -1)
    shape = (repetitions, len(rows), len(columns), 2)
    steps = []
    for generator in generators:
        steps.append(torch.randint(-distance, distance, shape, generator=generator))
    sources = _sources(torch.stack(steps).numpy(), height, width, distance)
    indices = torch.from_numpy(sources).to(pixels.device).flatten(1)
    soft = blurred(pixels, sigma).flatten(2)
    moved = soft.gather(2, indices[:, None].expand_as(soft))
    return blurred(moved.view_as(pixels), sigma)


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
    for repetition, i, j in np.ndindex(repetitions, num_rows, num_columns):
        row, column = height - distance - i, width - distance - j
        step = steps[:, repetition, i, j]
        others = sources[everyone, row + step[:, 0], column + step[:, 1]]
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
    shares = draw(torch.rand, (), generators, pixels)
    radius, sigma = constants
    return moved(pixels, radius, sigma, (2 * shares - 1) * LARGEST_ANGLE)


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
    height, width = images.shape[-2:]
    steps = torch.arange(2 * radius + 1, dtype=torch.float64, device=images.device)
    bell = torch.exp(-0.5 * (steps / sigma) ** 2)
    weights = (bell / bell.sum()).tolist()
    radians = torch.deg2rad(angles.double())[:, None]
    downwards = torch.ceil(steps * radians.sin() - 0.5).long()
    sideways = torch.ceil(steps * radians.cos() - 0.5).long()
    rows = torch.arange(height, device=images.device)[:, None]
    columns = torch.arange(width, device=images.device)
    result = torch.zeros_like(images)
    for weight, down, side in zip(weights, downwards.T, sideways.T, strict=True):
        at_rows = (rows + down[:, None, None]).clamp(0, height - 1)
        at_columns = (columns + side[:, None, None]).clamp(0, width - 1)
        indices = (at_rows * width + at_columns).flatten(1)[:, None]
        flat = images.flatten(2)
        result += weight * flat.gather(2, indices.expand_as(flat)).view_as(images)
    return result


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
    result = pixels.clone()
    for factor in factors.tolist():
        result += zoomed(pixels, factor)
    return result / (len(factors) + 1)
