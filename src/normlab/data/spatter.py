"""The corruption of images by drops of water or of mud on the lens.

Shapes: N images, C channels, H x W pixels. Pixels lie in 0..1.
"""

from collections.abc import Iterable

import numpy as np
import torch
from scipy import ndimage
from torch import Generator, Tensor

from normlab.data.noises import draw
from normlab.data.resampling import blurred, convolved
from normlab.data.transforms import PIXEL_RANGE
from normlab.data.weather import grey

TURQUOISE = (175.0, 238.0, 238.0)  # water, in 0..255
BROWN = (63.0, 42.0, 20.0)  # mud
THINNEST_MUD = 0.8
# Of Canny's detector of edges: gradients above the first belong to an edge if they
# are connected with one above the second.
WEAK, STRONG = 50, 150
LARGEST_DISTANCE = 20.0  # to an edge, in pixels
EMBOSS = ((-2.0, -1.0, 0.0), (-1.0, 1.0, 1.0), (0.0, 1.0, 2.0))


def spatter(
    pixels: Tensor, constants: tuple[float, ...], generators: Iterable[Generator]
) -> Tensor:
    """Put drops on the lens: of water, which adds light, or of mud, which hides.

    Args:
        pixels: ``(N, C, H, W)``.
        constants: mean and standard deviation of normal numbers, the standard deviation
            in pixels of their blur, and the threshold from which they are liquid; the
            brightness of water or the standard deviation in pixels of the blur of mud;
            and 0 for water or 1 for mud.
        generators: of the liquid.
    """
    mean, deviation, sigma, threshold, amount, is_mud = constants
    shape = (1, *pixels.shape[-2:])
    numbers = draw(torch.randn, shape, generators, pixels)
    layer = blurred(mean + deviation * numbers, sigma)
    if is_mud:
        mud = blurred((layer > threshold).float(), amount)
        mud = torch.where(mud < THINNEST_MUD, 0.0, mud)
        return pixels * (1 - mud) + mud * _colour(BROWN, pixels)
    liquid = torch.where(layer < threshold, 0.0, layer).clamp(0, 1)
    water = amount * drops(liquid)
    return pixels + water * _colour(TURQUOISE, pixels)


def _colour(colour: tuple[float, ...], pixels: Tensor) -> Tensor:
    """A colour for images; its brightness for grey ones."""
    values = torch.tensor(colour, device=pixels.device).view(1, 3, 1, 1) / PIXEL_RANGE
    return values if pixels.shape[1] == 3 else grey(values)


def drops(liquid: Tensor) -> Tensor:
    """How bright drops are that light falls on from one side, from 0 to 1.

    The deeper a pixel lies inside of a drop, the higher is the surface, which is then
    embossed.

    Args:
        liquid: ``(N, 1, H, W)`` in 0..1, 0 where there is none.
    """
    heights = []
    for image in liquid[:, 0].mul(PIXEL_RANGE).to(torch.uint8).cpu().numpy():
        distances = distances_to(edges(image)).astype(np.float32)
        heights.append(torch.from_numpy(distances))
    box = torch.full((3, 3), 1 / 9)
    smooth = convolved(torch.stack(heights)[:, None].to(liquid.device), box)
    surface = equalized(smooth.to(torch.uint8))
    embossed = convolved(surface, torch.tensor(EMBOSS)).clamp(0, PIXEL_RANGE)
    light = liquid * convolved(embossed, box)
    brightest = light.amax((2, 3), keepdim=True)
    return torch.where(brightest > 0, light / brightest, 0.0)


def edges(image: np.ndarray) -> np.ndarray:
    """The edges of one image by Canny's detector, with the details of OpenCV's.

    Args:
        image: uint8 ``(H, W)``.

    Returns:
        bool ``(H, W)``.
    """
    values = image.astype(np.int64)
    across = ndimage.sobel(values, 1, mode="nearest")
    down = ndimage.sobel(values, 0, mode="nearest")
    size = abs(across) + abs(down)
    padded = np.pad(size, 1)

    def beside(row: int, column: int) -> np.ndarray:
        height, width = size.shape
        return padded[1 + row : 1 + row + height, 1 + column : 1 + column + width]

    def is_ridge(row: int, column: int) -> np.ndarray:
        return (size > beside(-row, -column)) & (size >= beside(row, column))

    def is_peak(row: int, column: int) -> np.ndarray:
        return (size > beside(-row, -column)) & (size > beside(row, column))

    tangent = np.tan(np.pi / 8)
    is_level = abs(down) < tangent * abs(across)
    is_upright = abs(down) > (tangent + 2) * abs(across)
    same_sign = (across < 0) == (down < 0)
    diagonal = np.where(same_sign, is_peak(1, 1), is_peak(1, -1))
    ridge = np.where(is_level, is_ridge(0, 1), diagonal)
    ridge = np.where(is_upright & ~is_level, is_ridge(1, 0), ridge)
    weak = ridge & (size > WEAK)
    regions, _ = ndimage.label(weak, np.ones((3, 3)))
    strong = np.unique(regions[weak & (size > STRONG)])
    return weak & np.isin(regions, strong)


def distances_to(marked: np.ndarray) -> np.ndarray:
    """The distance in pixels to the next marked pixel, at most 20."""
    if not marked.any():
        return np.full(marked.shape, LARGEST_DISTANCE)
    return np.minimum(ndimage.distance_transform_edt(~marked), LARGEST_DISTANCE)


def equalized(images: Tensor) -> Tensor:
    """Spread the values of images so that each becomes its rank, from 0 to 255.

    Args:
        images: uint8 ``(N, 1, H, W)``.

    Returns:
        float32 ``(N, 1, H, W)``; an image of one value keeps it.
    """
    spread = []
    for image in images:
        counts = torch.bincount(image.flatten().long(), minlength=256)
        lowest = counts[image.min().long()]
        others = image.numel() - lowest
        if others == 0:
            spread.append(image.float())
            continue
        ranks = (counts.cumsum(0) - lowest) * PIXEL_RANGE / others
        spread.append(ranks.round()[image.long()].float())
    return torch.stack(spread)
