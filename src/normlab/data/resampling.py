"""Images as linear maps of images: blurs, boxes and zooms.

A map along one side is a matrix, which is applied to the rows and to the columns.

Shapes: N images, C channels, H x W pixels.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional


def boundary_indices(size: int, radius: int, mode: str) -> Tensor:
    """The pixels of a side, continued beyond both of its ends.

    Args:
        size: pixels of the side.
        radius: pixels by which it is continued at each end, also more than it has.
        mode: in the words of `scipy.ndimage`, for a side `abcd`: `nearest` continues
            with `dddd`, `reflect` with `dcba` and `mirror` with `cbab`.

    Returns:
        int64 ``(size + 2 radius,)``.
    """
    positions = torch.arange(-radius, size + radius)
    if mode == "nearest":
        return positions.clamp(0, size - 1)
    last = 2 * size - 1 if mode == "reflect" else 2 * size - 2
    period = last + 1 if mode == "reflect" else max(last, 1)
    around = positions.remainder(period)
    return torch.minimum(around, last - around)


def blur_matrix(
    size: int, sigma: float, mode: str = "nearest", truncate: float = 4.0
) -> Tensor:
    """The blur of a side by a normal distribution, as in `scipy.ndimage`.

    Args:
        size: pixels of the side.
        sigma: standard deviation in pixels.
        mode: how the side is continued, see `boundary_indices`.
        truncate: standard deviations at which the distribution ends.

    Returns:
        float32 ``(size, size)``, whose rows sum to 1.
    """
    radius = int(truncate * sigma + 0.5)
    if radius == 0:
        return torch.eye(size)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    taps = torch.exp(-0.5 * (offsets / sigma) ** 2)
    taps /= taps.sum()
    windows = boundary_indices(size, radius, mode).unfold(0, 2 * radius + 1, 1)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    return matrix.scatter_add_(1, windows, taps.expand(size, -1)).float()


def box_matrix(size: int, new_size: int) -> Tensor:
    """The change of the size of a side by a box, as in Pillow's `Image.BOX`.

    A new pixel is the mean of the old pixels whose centres lie in it, or the one in
    which it lies if there are more new pixels than old ones.

    Args:
        size: pixels of the side.
        new_size: pixels that it gets.

    Returns:
        float32 ``(new_size, size)``, whose rows sum to 1.
    """
    scale = size / new_size
    width = max(scale, 1.0)
    centres = (torch.arange(new_size, dtype=torch.float64) + 0.5) * scale
    distances = torch.arange(size) + 0.5 - centres[:, None]
    is_inside = (distances > -width / 2) & (distances <= width / 2)
    matrix = is_inside.double()
    return (matrix / matrix.sum(1, keepdim=True)).float()


def mapped(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Apply a matrix to the height and another one to the width of images.

    Args:
        images: ``(N, C, H, W)``.
        rows: ``(H', H)``.
        columns: ``(W', W)``.

    Returns:
        ``(N, C, H', W')``.
    """
    return rows.to(images.device) @ images @ columns.T.to(images.device)


def blurred(
    images: Tensor, sigma: float, mode: str = "nearest", truncate: float = 4.0
) -> Tensor:
    """Blur images by a normal distribution, see `blur_matrix`."""
    height, width = images.shape[-2:]
    rows = blur_matrix(height, sigma, mode, truncate)
    return mapped(images, rows, blur_matrix(width, sigma, mode, truncate))


def convolved(images: Tensor, kernel: Tensor) -> Tensor:
    """Correlate images with a kernel; they are mirrored at their edges.

    Args:
        images: ``(N, C, H, W)``.
        kernel: ``(2 R + 1, 2 R + 1)``.
    """
    radius = len(kernel) // 2
    height, width = images.shape[-2:]
    rows = boundary_indices(height, radius, "mirror").to(images.device)
    columns = boundary_indices(width, radius, "mirror").to(images.device)
    padded = images.index_select(2, rows).index_select(3, columns)
    weight = kernel.to(images)[None, None]
    result = functional.conv2d(padded.flatten(0, 1)[:, None], weight)
    return result.view_as(images)


def zoomed(images: Tensor, factor: float) -> Tensor:
    """Magnify the middle of images to their size, bilinearly.

    The middle is cut out in whole pixels, and what it has too many once it is magnified
    is cut off, as in the code of ImageNet-C.

    Args:
        images: ``(N, C, H, W)``.
        factor: at least 1.
    """
    height, width = images.shape[-2:]
    middle = _centre(images, math.ceil(height / factor), math.ceil(width / factor))
    size = [round(side * factor) for side in middle.shape[-2:]]
    larger = functional.interpolate(middle, size, mode="bilinear", align_corners=True)
    return _centre(larger, height, width)


def _centre(images: Tensor, height: int, width: int) -> Tensor:
    top = (images.shape[-2] - height) // 2
    left = (images.shape[-1] - width) // 2
    return images[..., top : top + height, left : left + width]
