"""Corruptions of images by fog and snow.

Shapes: N images, C channels, H x W pixels. Pixels lie in 0..1.
"""

from collections.abc import Iterable

import torch
from torch import Generator, Tensor

from normlab.data.blurs import moved
from normlab.data.noises import draw
from normlab.data.resampling import zoomed

# Shares of red, green and blue in grey, as in OpenCV.
LUMA = (0.299, 0.587, 0.114)
RELIEF = 100.0  # of the first points of a plasma fractal
# Angles between which snow falls, in degrees.
STEEPEST = -135.0
FLATTEST = -45.0


def fog(
    pixels: Tensor, constants: tuple[float, float], generators: Iterable[Generator]
) -> Tensor:
    """Add a plasma fractal, and scale the sum so that the range of pixels stays.

    Args:
        pixels: ``(N, C, H, W)``.
        constants: the largest value of the fractal, and by how much smaller each
            generation of its points varies than the one before it.
        generators: of the fractal.
    """
    amount, decay = constants
    height, width = pixels.shape[-2:]
    size = _power_of_two(max(height, width))
    numbers = draw(torch.rand, (size * size,), generators, pixels)
    heights = plasma(numbers, decay)
    layer = heights[:, None, :height, :width]
    clouded = pixels + amount * layer
    brightest = pixels.amax((1, 2, 3), keepdim=True)
    return clouded * brightest / (brightest + amount)


def _power_of_two(side: int) -> int:
    """The smallest power of two, from 2 on, that is no less than a side."""
    num_doublings = (side - 1).bit_length()
    return max(2, 2**num_doublings)


def plasma(numbers: Tensor, decay: float) -> Tensor:
    """Height maps by the diamond-square algorithm.

    Each new point is the mean of four old ones around it, plus a number between
    ``-a^2`` and ``a^2`` with a smaller a in each generation. The maps are periodic.

    Args:
        numbers: ``(N, S S)`` in 0..1; S is a power of two and at least 2.
        decay: by which a is divided from one generation to the next.

    Returns:
        ``(N, S, S)``, from 0 to 1.
    """
    num_maps, num_points = numbers.shape
    size = round(num_points**0.5)
    heights = numbers.new_zeros(num_maps, size, size)
    step = size
    relief = RELIEF
    while step >= 2:
        _add_generation(heights, numbers, step, relief)
        step //= 2
        relief /= decay
    lowest = heights.amin((1, 2), keepdim=True)
    highest = heights.amax((1, 2), keepdim=True)
    return (heights - lowest) / (highest - lowest)


def _add_generation(heights: Tensor, numbers: Tensor, step: int, relief: float) -> None:
    """Set the points halfway between those of a grid, which are set already.

    Args:
        heights: ``(N, S, S)``.
        numbers: ``(N, S S)``, in the order of the points.
        step: distance of the points of the grid.
        relief: a, see `plasma`.
    """
    half = step // 2
    old = heights[:, ::step, ::step]
    below = old.roll(-1, 1)
    right = old.roll(-1, 2)

    # Each of three points has a number for every old point; those follow the numbers
    # of the old points.
    num_old = old[0].numel()
    own = numbers[:, num_old : 4 * num_old]
    jitter = relief**2 * (2 * own - 1)
    jitters = jitter.view(-1, 3, *old.shape[1:])
    in_square, in_row, in_column = jitters.unbind(1)

    # The middles of squares come first, since those of edges lie between them.
    pairs = old + below
    corners = pairs + pairs.roll(-1, 2)
    middles = corners / 4 + in_square
    around_row = middles + middles.roll(1, 1) + old + right
    around_column = middles + middles.roll(1, 2) + old + below
    heights[:, half::step, half::step] = middles
    heights[:, ::step, half::step] = around_row / 4 + in_row
    heights[:, half::step, ::step] = around_column / 4 + in_column


def snow(
    pixels: Tensor, constants: tuple[float, ...], generators: Iterable[Generator]
) -> Tensor:
    """Whiten images, and let flakes fall in one direction and in its opposite.

    Args:
        pixels: ``(N, C, H, W)``.
        constants: mean and standard deviation of normal numbers, how much they are
            magnified, the threshold from which they are flakes, radius and standard
            deviation of the flakes' motion in pixels, and the share of the image that
            is not whitened.
        generators: of the flakes and of their direction.
    """
    mean, deviation, factor, threshold, radius, sigma, kept = constants
    height, width = pixels.shape[-2:]
    layers = []
    shares = []
    for generator in generators:
        layer = torch.randn(1, height, width, generator=generator)
        share = torch.rand((), generator=generator)
        layers.append(layer)
        shares.append(share)
    numbers = mean + deviation * torch.stack(layers)
    larger = zoomed(numbers, factor)
    flakes = torch.where(larger < threshold, 0.0, larger)
    flakes = flakes.clamp(0, 1)
    range_of_angles = FLATTEST - STEEPEST
    angles = STEEPEST + range_of_angles * torch.stack(shares)
    falling = moved(flakes, int(radius), sigma, angles)
    falling = falling.to(pixels.device)
    opposite = falling.flip(2, 3)
    whitened = kept * pixels + (1 - kept) * _white(pixels)
    return whitened + falling + opposite


def _white(pixels: Tensor) -> Tensor:
    """Images as light as snow makes them; no pixel is darker than it was."""
    lighter = 1.5 * grey(pixels) + 0.5
    return torch.maximum(pixels, lighter)


def grey(pixels: Tensor) -> Tensor:
    """The brightness of images, ``(N, 1, H, W)``."""
    if pixels.shape[1] == 1:
        return pixels
    shares = torch.tensor(LUMA, device=pixels.device)
    weighted = shares.view(1, 3, 1, 1) * pixels
    return weighted.sum(1, keepdim=True)
