"""Random changes of the colours of images, for whole batches.

See `normlab.data.augmentation` for the two steps of a change.

Shapes: N samples, C channels (1 or 3), S x S pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from normlab.data.augmentation import Draws

GRAY = (0.2989, 0.587, 0.114)  # weights of red, green and blue, as in torchvision


@dataclass(frozen=True)
class ColourJitter:
    """Random brightness, contrast, saturation and hue, in random order.

    As torchvision's ColorJitter: factors are uniform between ``1 - x`` and ``1 + x``,
    the shift of the hue between ``-x`` and ``x`` of a full circle, and the order of the
    four steps is drawn for each image. Images with one channel have no colours, so
    saturation and hue leave them as they are.

    Attributes:
        strengths: x of brightness, contrast, saturation and hue.
    """

    strengths: tuple[float, float, float, float]

    def draw(self, num_samples: int, generator: torch.Generator) -> Draws:
        """Draw ``jitter (N, 4)``, the factors, and ``jitter_order (N, 4)``."""
        uniform = torch.rand(num_samples, 4, generator=generator)
        strengths = torch.tensor(self.strengths)
        low = (1 - strengths).clamp(min=0)
        high = 1 + strengths
        hue = strengths[3]
        low[3] = -hue
        high[3] = hue
        ranks = torch.rand(num_samples, 4, generator=generator)
        return {
            "jitter": low + (high - low) * uniform,
            "jitter_order": ranks.argsort(1),
        }

    def apply(self, pixels: Tensor, draws: Draws) -> Tensor:
        """Apply the four steps to each image in its order."""
        pixels = pixels.clone()
        for order in draws["jitter_order"].unbind(1):
            for index, step in enumerate(JITTER_STEPS):
                if self.strengths[index] == 0:
                    continue
                rows = (order == index).nonzero()[:, 0]
                if not len(rows):
                    continue
                factors = draws["jitter"][rows, index]
                images = pixels.index_select(0, rows)
                changed = step(images, factors[:, None, None, None])
                pixels.index_copy_(0, rows, changed)
        return pixels


def _blended(pixels: Tensor, others: Tensor | float, factors: Tensor) -> Tensor:
    """``factor * pixels + (1 - factor) * others`` as bytes, as torchvision rounds."""
    mixed = pixels * factors + others * (1 - factors)
    return mixed.clamp(0, 255).to(torch.uint8)


def adjust_brightness(pixels: Tensor, factors: Tensor) -> Tensor:
    """Blend images with black."""
    return _blended(pixels, 0.0, factors)


def adjust_contrast(pixels: Tensor, factors: Tensor) -> Tensor:
    """Blend images with the mean of their gray values."""
    mean = _gray(pixels).mean((1, 2, 3), keepdim=True)
    return _blended(pixels, mean, factors)


def adjust_saturation(pixels: Tensor, factors: Tensor) -> Tensor:
    """Blend images with their gray values."""
    if pixels.shape[1] == 1:
        return pixels
    return _blended(pixels, _gray(pixels), factors)


def adjust_hue(pixels: Tensor, shifts: Tensor) -> Tensor:
    """Shift the hue of images by shares of a full circle.

    The conversions are private to torchvision (checked with version 0.29).
    """
    if pixels.shape[1] == 1:
        return pixels
    from torchvision.transforms.v2.functional import _color, to_dtype

    colours = to_dtype(pixels, torch.float32, scale=True)
    hsv = _color._rgb_to_hsv(colours)
    hue, saturation, value = hsv.unbind(1)
    hue = (hue + shifts[:, 0]).remainder(1.0)
    hsv = torch.stack([hue, saturation, value], 1)
    shifted = _color._hsv_to_rgb(hsv)
    return to_dtype(shifted, torch.uint8, scale=True)


def _gray(pixels: Tensor) -> Tensor:
    """Gray values in whole numbers, float32 ``(N, 1, S, S)``."""
    if pixels.shape[1] == 1:
        return pixels.float()
    weights = torch.tensor(GRAY, device=pixels.device)
    weighted = pixels * weights[:, None, None]
    return weighted.sum(1, keepdim=True).floor()


JITTER_STEPS: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    adjust_brightness,
    adjust_contrast,
    adjust_saturation,
    adjust_hue,
)
