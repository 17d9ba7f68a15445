"""Corruptions of images: shifts between the data of training and those of a test.

The corruptions and the constants of their five severities are those of Hendrycks and
Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations", 2019, arXiv 1903.12261. Their code has three tables: ImageNet-C for
large images, Tiny ImageNet-C for 64 pixels and CIFAR-10-C for 32, where the constants
of large images would leave nothing to recognize. The size of an image decides which
table it gets. `inversion` is not among theirs, and their `frost` is not among these.

Shapes: N images, C channels, H x W pixels. Pixels lie in 0..1.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from torch import Generator, Tensor

from normlab.data.blurs import (
    defocus_blur,
    gaussian_blur,
    glass_blur,
    motion_blur,
    zoom_blur,
)
from normlab.data.distortions import (
    brightness,
    contrast,
    elastic_transform,
    inversion,
    jpeg_compression,
    pixelate,
    saturate,
)
from normlab.data.noises import (
    gaussian_noise,
    impulse_noise,
    shot_noise,
    speckle_noise,
)
from normlab.data.spatter import spatter
from normlab.data.weather import fog, snow

# The tables by the largest side of an image that they are for, in pixels.
CIFAR10_SIDE = 32
TINY_IMAGENET_SIDE = 64

Constants = float | tuple[float, ...]
Corrupt = Callable[[Tensor, Any, Iterable[Generator]], Tensor]


class Severities(NamedTuple):
    """The constants of severity 1 to 5, by table."""

    imagenet: tuple[Constants, ...]
    tiny_imagenet: tuple[Constants, ...]
    cifar10: tuple[Constants, ...]

    def constant(self, severity: int, side: int) -> Constants:
        """The constants of a severity for images of this many pixels a side."""
        table = self.imagenet
        if side <= TINY_IMAGENET_SIDE:
            table = self.tiny_imagenet
        if side <= CIFAR10_SIDE:
            table = self.cifar10
        return table[severity - 1]


class Corruption(NamedTuple):
    """A corruption.

    Attributes:
        corrupt: from images ``(N, C, H, W)``, constants, and one generator of random
            numbers per image to other images. Generators are made when they are used.
        severities: its constants.
        needs_colours: whether it leaves images of one channel as they are.
    """

    corrupt: Corrupt
    severities: Severities
    needs_colours: bool = False


SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)  # of the negative
# The authors' moves of pixels are in multiples of 244 for images of 224.
ELASTIC_SCALE = 244 / 224


def _elastic(factor: float, sigma: float, largest: float) -> tuple[float, ...]:
    return (factor * ELASTIC_SCALE, sigma * ELASTIC_SCALE, largest * ELASTIC_SCALE)


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
    "defocus_blur": Corruption(
        defocus_blur,
        Severities(
            imagenet=((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
            tiny_imagenet=((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
            cifar10=((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        ),
    ),
    "glass_blur": Corruption(
        glass_blur,
        Severities(
            imagenet=((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
            tiny_imagenet=(
                (0.1, 1, 1),
                (0.5, 1, 1),
                (0.6, 1, 2),
                (0.7, 2, 1),
                (0.9, 2, 2),
            ),
            cifar10=(
                (0.05, 1, 1),
                (0.25, 1, 1),
                (0.4, 1, 1),
                (0.25, 1, 2),
                (0.4, 1, 2),
            ),
        ),
    ),
    "motion_blur": Corruption(
        motion_blur,
        Severities(
            imagenet=((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
            tiny_imagenet=((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
            cifar10=((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        ),
    ),
    "zoom_blur": Corruption(
        zoom_blur,
        Severities(
            imagenet=(
                (1.11, 0.01),
                (1.16, 0.01),
                (1.21, 0.02),
                (1.26, 0.02),
                (1.31, 0.03),
            ),
            tiny_imagenet=(
                (1.06, 0.01),
                (1.11, 0.01),
                (1.16, 0.01),
                (1.21, 0.01),
                (1.26, 0.01),
            ),
            cifar10=(
                (1.06, 0.01),
                (1.11, 0.01),
                (1.16, 0.01),
                (1.21, 0.01),
                (1.26, 0.01),
            ),
        ),
    ),
    "fog": Corruption(
        fog,
        Severities(
            imagenet=((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
            tiny_imagenet=((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
            cifar10=((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        ),
    ),
    "snow": Corruption(
        snow,
        Severities(
            imagenet=(
                (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
                (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
                (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
                (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
                (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
            ),
            tiny_imagenet=(
                (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
                (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
                (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
                (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
                (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
            ),
            cifar10=(
                (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
                (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
                (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
                (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
                (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
            ),
        ),
    ),
    "spatter": Corruption(
        spatter,
        Severities(
            imagenet=(
                (0.65, 0.3, 4, 0.69, 0.6, 0),
                (0.65, 0.3, 3, 0.68, 0.6, 0),
                (0.65, 0.3, 2, 0.68, 0.5, 0),
                (0.65, 0.3, 1, 0.65, 1.5, 1),
                (0.67, 0.4, 1, 0.65, 1.5, 1),
            ),
            tiny_imagenet=(
                (0.62, 0.1, 0.7, 0.7, 0.6, 0),
                (0.65, 0.1, 0.8, 0.7, 0.6, 0),
                (0.65, 0.3, 1, 0.69, 0.6, 0),
                (0.65, 0.1, 0.7, 0.68, 0.6, 1),
                (0.65, 0.1, 0.5, 0.67, 0.6, 1),
            ),
            cifar10=(
                (0.62, 0.1, 0.7, 0.7, 0.5, 0),
                (0.65, 0.1, 0.8, 0.7, 0.5, 0),
                (0.65, 0.3, 1, 0.69, 0.5, 0),
                (0.65, 0.1, 0.7, 0.69, 0.6, 1),
                (0.65, 0.1, 0.5, 0.68, 0.6, 1),
            ),
        ),
    ),
    "saturate": Corruption(
        saturate,
        Severities(
            imagenet=((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
            tiny_imagenet=((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
            cifar10=((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
        ),
        needs_colours=True,
    ),
    "elastic_transform": Corruption(
        elastic_transform,
        Severities(
            imagenet=(
                _elastic(2, 0.7, 0.1),
                _elastic(2, 0.08, 0.2),
                _elastic(0.05, 0.01, 0.02),
                _elastic(0.07, 0.01, 0.02),
                _elastic(0.12, 0.01, 0.02),
            ),
            tiny_imagenet=(
                (0, 0, 0.08),
                (0.05, 0.3, 0.06),
                (0.1, 0.08, 0.06),
                (0.1, 0.03, 0.03),
                (0.16, 0.03, 0.02),
            ),
            cifar10=(
                (0, 0, 0.08),
                (0.05, 0.2, 0.07),
                (0.08, 0.06, 0.06),
                (0.1, 0.04, 0.05),
                (0.1, 0.03, 0.03),
            ),
        ),
    ),
    "pixelate": Corruption(
        pixelate,
        Severities(
            imagenet=(0.6, 0.5, 0.4, 0.3, 0.25),
            tiny_imagenet=(0.9, 0.8, 0.7, 0.6, 0.5),
            cifar10=(0.95, 0.9, 0.85, 0.75, 0.65),
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
# Corruptions of ImageNet-C that are not among these, and why.
LEFT_OUT = {
    "frost": "it takes photographs of frost by others, which normlab does not contain"
}
# Short names of the two that are asked for most.
SHORT_NAMES = {"noise": "gaussian_noise", "blur": "gaussian_blur"}
