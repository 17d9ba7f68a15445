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
WEAK = 50
STRONG = 150
TANGENT = np.tan(np.pi / 8)  # of the steepest direction that counts as level
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
        covered = layer > threshold
        mud = blurred(covered.float(), amount)
        mud = torch.where(mud < THINNEST_MUD, 0.0, mud)
        brown = _colour(BROWN, pixels)
        return pixels * (1 - mud) + mud * brown
    liquid = torch.where(layer < threshold, 0.0, layer)
    water = amount * drops(liquid.clamp(0, 1))
    return pixels + water * _colour(TURQUOISE, pixels)


def _colour(colour: tuple[float, ...], pixels: Tensor) -> Tensor:
    """A colour for images; its brightness for grey ones."""
    values = torch.tensor(colour, device=pixels.device) / PIXEL_RANGE
    values = values.view(1, 3, 1, 1)
    if pixels.shape[1] == 1:
        return grey(values)
    return values


def drops(liquid: Tensor) -> Tensor:
    """How bright drops are that light falls on from one side, from 0 to 1.

    The deeper a pixel lies inside of a drop, the higher is the surface, which is then
    embossed.

    Args:
        liquid: ``(N, 1, H, W)`` in 0..1, 0 where there is none.
    """
    box = torch.full((3, 3), 1 / 9)
    emboss = torch.tensor(EMBOSS)
    # The authors store the surface in bytes before it is embossed.
    smooth = convolved(_depths(liquid), box)
    surface = equalized(smooth.to(torch.uint8))
    embossed = convolved(surface, emboss)
    relief = embossed.clamp(0, PIXEL_RANGE)
    light = liquid * convolved(relief, box)
    brightest = light.amax((2, 3), keepdim=True)
    return torch.where(brightest > 0, light / brightest, 0.0)


def _depths(liquid: Tensor) -> Tensor:
    """How far pixels lie from the edges of drops, float32 ``(N, 1, H, W)``."""
    images = liquid.mul(PIXEL_RANGE).to(torch.uint8)
    depths = []
    for image in images[:, 0].cpu().numpy():
        distances = distances_to(edges(image))
        depth = torch.from_numpy(distances)
        depths.append(depth.float())
    stacked = torch.stack(depths).unsqueeze(1)
    return stacked.to(liquid.device)


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
    steepness = abs(across) + abs(down)
    weak = _ridges(across, down) & (steepness > WEAK)
    strong = weak & (steepness > STRONG)
    regions, _ = ndimage.label(weak, np.ones((3, 3)))
    strong_regions = np.unique(regions[strong])
    return weak & np.isin(regions, strong_regions)


def _ridges(across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Where the gradient is steeper than beside it, in its own direction.

    Args:
        across: derivative along the rows ``(H, W)``.
        down: derivative along the columns ``(H, W)``.

    Returns:
        bool ``(H, W)``.
    """
    sideways = abs(across)
    upright = abs(down)
    steepness = sideways + upright
    is_level = upright < TANGENT * sideways
    # The tangent of 90 - 22.5 degrees is that of 22.5 degrees plus 2.
    is_upright = upright > (TANGENT + 2) * sideways
    falls = (across < 0) == (down < 0)

    # As in OpenCV, a pixel may be equal to the one after it, but not on a diagonal.
    padded = np.pad(steepness, 1)
    rows = _steeper(padded, 0, -1) & _steeper(padded, 0, 1, or_equal=True)
    columns = _steeper(padded, -1, 0) & _steeper(padded, 1, 0, or_equal=True)
    falling = _steeper(padded, -1, -1) & _steeper(padded, 1, 1)
    rising = _steeper(padded, -1, 1) & _steeper(padded, 1, -1)

    diagonals = np.where(falls, falling, rising)
    steep = np.where(is_upright, columns, diagonals)
    return np.where(is_level, rows, steep)


def _steeper(
    padded: np.ndarray, down: int, right: int, or_equal: bool = False
) -> np.ndarray:
    """Where the pixels of an image exceed a neighbour, bool ``(H, W)``.

    Args:
        padded: the image with a margin of one pixel ``(H + 2, W + 2)``.
        down: where the neighbour lies: -1, 0 or 1 rows below.
        right: -1, 0 or 1 columns to the right.
        or_equal: whether it may be equal.
    """
    image = padded[1:-1, 1:-1]
    height, width = image.shape
    top = 1 + down
    left = 1 + right
    neighbours = padded[top : top + height, left : left + width]
    if or_equal:
        return image >= neighbours
    return image > neighbours


def distances_to(marked: np.ndarray) -> np.ndarray:
    """The distance in pixels to the next marked pixel, at most 20."""
    if not marked.any():
        return np.full(marked.shape, LARGEST_DISTANCE)
    distances = ndimage.distance_transform_edt(~marked)
    return np.minimum(distances, LARGEST_DISTANCE)


def equalized(images: Tensor) -> Tensor:
    """Spread the values of images so that each becomes its rank, from 0 to 255.

    Args:
        images: uint8 ``(N, 1, H, W)``.

    Returns:
        float32 ``(N, 1, H, W)``; an image of one value keeps it.
    """
    spread = [_equalized_one(image.long()) for image in images]
    return torch.stack(spread).float()


def _equalized_one(image: Tensor) -> Tensor:
    """`equalized` for one image of whole numbers, int64 ``(1, H, W)``."""
    counts = torch.bincount(image.flatten(), minlength=256)
    lowest = counts[image.min()]
    others = image.numel() - lowest
    if others == 0:
        return image.float()
    ranks = counts.cumsum(0) - lowest
    new_values = ranks * PIXEL_RANGE / others
    return new_values.round()[image]
