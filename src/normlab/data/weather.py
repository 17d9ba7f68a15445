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
STEEPEST, FLATTEST = -135.0, -45.0  # angles of falling snow in degrees


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
    size = max(2, 1 << (max(height, width) - 1).bit_length())
    heights = plasma(draw(torch.rand, (size * size,), generators, pixels), decay)
    layer = heights[:, None, :height, :width]
    brightest = pixels.amax((1, 2, 3), keepdim=True)
    return (pixels + amount * layer) * brightest / (brightest + amount)


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
    used, step, relief = 1, size, RELIEF

    def jittered(sums: Tensor) -> Tensor:
        nonlocal used
        number = sums[0].numel()
        jitter = numbers[:, used : used + number].view_as(sums)
        used += number
        return sums / 4 + relief**2 * (2 * jitter - 1)

    while step >= 2:
        half = step // 2
        old = heights[:, ::step, ::step]
        pairs = old + old.roll(-1, 1)
        heights[:, half::step, half::step] = jittered(pairs + pairs.roll(-1, 2))
        new = heights[:, half::step, half::step]
        sideways = new + new.roll(1, 1) + old + old.roll(-1, 2)
        upright = new + new.roll(1, 2) + old + old.roll(-1, 1)
        heights[:, ::step, half::step] = jittered(sideways)
        heights[:, half::step, ::step] = jittered(upright)
        step, relief = half, relief / decay
    lowest = heights.amin((1, 2), keepdim=True)
    return (heights - lowest) / (heights.amax((1, 2), keepdim=True) - lowest)


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
    layers, shares = [], []
    for generator in generators:
        layers.append(torch.randn(1, height, width, generator=generator))
        shares.append(torch.rand((), generator=generator))
    flakes = zoomed(mean + deviation * torch.stack(layers), factor)
    flakes = torch.where(flakes < threshold, 0.0, flakes).clamp(0, 1)
    angles = STEEPEST + (FLATTEST - STEEPEST) * torch.stack(shares)
    falling = moved(flakes, int(radius), sigma, angles).to(pixels.device)
    white = torch.maximum(pixels, 1.5 * grey(pixels) + 0.5)
    return kept * pixels + (1 - kept) * white + falling + falling.flip(2, 3)


def grey(pixels: Tensor) -> Tensor:
    """The brightness of images, ``(N, 1, H, W)``."""
    if pixels.shape[1] == 1:
        return pixels
    shares = torch.tensor(LUMA, device=pixels.device).view(1, 3, 1, 1)
    return (shares * pixels).sum(1, keepdim=True)
