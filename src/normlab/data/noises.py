"""Corruptions of images by noise.

Shapes: N images, C channels, H x W pixels. Pixels lie in 0..1.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Generator, Tensor


def gaussian_noise(
    pixels: Tensor, constant: float, generators: Iterable[Generator]
) -> Tensor:
    """Add normal noise with this standard deviation."""
    return pixels + constant * draw(torch.randn, pixels.shape[1:], generators, pixels)


def speckle_noise(
    pixels: Tensor, constant: float, generators: Iterable[Generator]
) -> Tensor:
    """Add normal noise that is proportional to the pixel."""
    noise = draw(torch.randn, pixels.shape[1:], generators, pixels)
    return pixels + constant * pixels * noise


def shot_noise(
    pixels: Tensor, constant: float, generators: Iterable[Generator]
) -> Tensor:
    """Count photons, of which a white pixel gets as many as the constant on average."""
    counts = []
    rates = constant * pixels.cpu()
    for rate, generator in zip(rates, generators, strict=True):
        counts.append(torch.poisson(rate, generator))
    return torch.stack(counts).to(pixels.device) / constant


def impulse_noise(
    pixels: Tensor, constant: float, generators: Iterable[Generator]
) -> Tensor:
    """Make this share of all values black or white, half of them each."""
    numbers = draw(torch.rand, pixels.shape[1:], generators, pixels)
    salted = torch.where(numbers > 1 - constant / 2, 1.0, pixels)
    return torch.where(numbers < constant / 2, 0.0, salted)


def draw(
    distribution: Callable[..., Tensor],
    shape: Iterable[int],
    generators: Iterable[Generator],
    like: Tensor,
) -> Tensor:
    """Random numbers for several images, each from a generator of its own.

    Args:
        distribution: such as `torch.rand`.
        shape: of the numbers of one image.
        generators: one per image.
        like: a tensor on the device that the numbers are for.

    Returns:
        ``(N, *shape)``.
    """
    draws = []
    for generator in generators:
        draws.append(distribution(tuple(shape), generator=generator))
    return torch.stack(draws).to(like.device)
