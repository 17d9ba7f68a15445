"""Corruptions of images: shifts between the data of training and those of a test.

The corruptions and the constants of their five severities are those of Hendrycks and
Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations", 2019, arXiv 1903.12261. Their code has three tables: ImageNet-C for
large images, Tiny ImageNet-C for 64 pixels and CIFAR-10-C for 32, where the constants
of large images would leave nothing to recognize. The size of an image decides which
table it gets. `inversion` is not among theirs.

Shapes: N images, C channels, H x W pixels. Pixels lie in 0..1.
"""

from collections.abc import Callable, Iterable
from io import BytesIO
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor
from torch.nn import functional

from normlab.data.transforms import PIXEL_RANGE

# The tables by the largest side of an image that they are for, in pixels.
CIFAR10_SIDE = 32
TINY_IMAGENET_SIDE = 64
TRUNCATE = 4.0  # standard deviations at which a blur ends, as in scikit-image

Corrupt = Callable[[Tensor, float, Iterable[Generator]], Tensor]


class Severities(NamedTuple):
    """The constants of severity 1 to 5, by table."""

    imagenet: tuple[float, ...]
    tiny_imagenet: tuple[float, ...]
    cifar10: tuple[float, ...]

    def constant(self, severity: int, side: int) -> float:
        """The constant of a severity for images of this many pixels a side."""
        table = self.imagenet
        if side <= TINY_IMAGENET_SIDE:
            table = self.tiny_imagenet
        if side <= CIFAR10_SIDE:
            table = self.cifar10
        return table[severity - 1]


class Corruption(NamedTuple):
    """A corruption.

    Attributes:
        corrupt: from images ``(N, C, H, W)``, a constant, and one generator of random
            numbers per image to other images. Generators are made when they are used.
        severities: its constants.
    """

    corrupt: Corrupt
    severities: Severities


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


def gaussian_noise(
    pixels: Tensor, constant: float, generators: Iterable[Generator]
) -> Tensor:
    """Add normal noise with this standard deviation."""
    return pixels + constant * _draw(torch.randn, pixels, generators)


def speckle_noise(
    pixels: Tensor, constant: float, generators: Iterable[Generator]
) -> Tensor:
    """Add normal noise that is proportional to the pixel."""
    return pixels + constant * pixels * _draw(torch.randn, pixels, generators)


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
    draw = _draw(torch.rand, pixels, generators)
    salted = torch.where(draw > 1 - constant / 2, 1.0, pixels)
    return torch.where(draw < constant / 2, 0.0, salted)


def gaussian_blur(
    pixels: Tensor, constant: float, generators: Iterable[Generator]
) -> Tensor:
    """Blur by a normal distribution with this standard deviation in pixels.

    It ends at four standard deviations, and what lies outside of an image is its edge.
    """
    from torchvision.transforms.v2 import functional as transforms

    radius = int(TRUNCATE * constant + 0.5)
    size = 2 * radius + 1
    padded = functional.pad(pixels, (radius,) * 4, mode="replicate")
    blurred = transforms.gaussian_blur(padded, [size, size], [constant, constant])
    height, width = pixels.shape[-2:]
    return transforms.center_crop(blurred, [height, width])


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


def _draw(
    distribution: Callable[..., Tensor], pixels: Tensor, generators: Iterable[Generator]
) -> Tensor:
    """Random numbers for every value, image by image from its own generator."""
    shape = pixels.shape[1:]
    draws = []
    for generator in generators:
        draws.append(distribution(shape, generator=generator))
    return torch.stack(draws).to(pixels.device)


SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)  # of the negative

CORRUPTIONS = {
    "brightness": Corruption(
        brightness,
        Severities(
            imagenet=(0.1, 0.2, 0.3, 0.4, 0.5),
            tiny_imagenet=(0.1, 0.2, 0.3, 0.4, 0.5),
            cifar10=(0.05, 0.1, 0.15, 0.2, 0.3),
        ),
    ),
    "contrast": Corruption(
        contrast,
        Severities(
            imagenet=(0.4, 0.3, 0.2, 0.1, 0.05),
            tiny_imagenet=(0.4, 0.3, 0.2, 0.1, 0.05),
            cifar10=(0.75, 0.5, 0.4, 0.3, 0.15),
        ),
    ),
    "gaussian_noise": Corruption(
        gaussian_noise,
        Severities(
            imagenet=(0.08, 0.12, 0.18, 0.26, 0.38),
            tiny_imagenet=(0.04, 0.08, 0.12, 0.15, 0.18),
            cifar10=(0.04, 0.06, 0.08, 0.09, 0.1),
        ),
    ),
    "shot_noise": Corruption(
        shot_noise,
        Severities(
            imagenet=(60, 25, 12, 5, 3),
            tiny_imagenet=(250, 100, 50, 30, 15),
            cifar10=(500, 250, 100, 75, 50),
        ),
    ),
    "impulse_noise": Corruption(
        impulse_noise,
        Severities(
            imagenet=(0.03, 0.06, 0.09, 0.17, 0.27),
            tiny_imagenet=(0.01, 0.02, 0.05, 0.08, 0.14),
            cifar10=(0.01, 0.02, 0.03, 0.05, 0.07),
        ),
    ),
    "speckle_noise": Corruption(
        speckle_noise,
        Severities(
            imagenet=(0.15, 0.2, 0.35, 0.45, 0.6),
            tiny_imagenet=(0.15, 0.2, 0.25, 0.3, 0.35),
            cifar10=(0.06, 0.1, 0.12, 0.16, 0.2),
        ),
    ),
    "gaussian_blur": Corruption(
        gaussian_blur,
        Severities(
            imagenet=(1, 2, 3, 4, 6),
            tiny_imagenet=(0.5, 0.75, 1, 1.25, 1.5),
            cifar10=(0.4, 0.6, 0.7, 0.8, 1),
        ),
    ),
    "jpeg_compression": Corruption(
        jpeg_compression,
        Severities(
            imagenet=(25, 18, 15, 10, 7),
            tiny_imagenet=(65, 58, 50, 40, 25),
            cifar10=(80, 65, 58, 50, 40),
        ),
    ),
    "inversion": Corruption(inversion, Severities(SHARES, SHARES, SHARES)),
}
# Short names of the two that are asked for most.
SHORT_NAMES = {"noise": "gaussian_noise", "blur": "gaussian_blur"}
