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
    # The side and its mirror image repeat. `reflect` shows the pixel at an edge twice,
    # `mirror` once, so that a side of one pixel has no image there.
    if mode == "reflect":
        last = 2 * size - 1
        period = 2 * size
    else:
        last = 2 * size - 2
        period = max(last, 1)
    around = positions.remainder(period)
    mirrored = last - around
    return torch.minimum(around, mirrored)


def bell(offsets: Tensor, sigma: float) -> Tensor:
    r"""The shape of a normal distribution: :math:`\exp(-x^2 / 2\sigma^2)`.

    Args:
        offsets: x, of any shape.
        sigma: standard deviation.
    """
    deviations = offsets / sigma
    return torch.exp(-0.5 * deviations**2)


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
    taps = bell(offsets, sigma)
    taps /= taps.sum()
    continued = boundary_indices(size, radius, mode)
    windows = continued.unfold(0, len(taps), 1)
    weights = taps.expand(size, -1)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    # A pixel that a window shows more than once gets the sum of its weights.
    matrix.scatter_add_(1, windows, weights)
    return matrix.float()


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
    reach = max(scale, 1.0) / 2
    new_pixels = torch.arange(new_size, dtype=torch.float64)
    new_centres = (new_pixels + 0.5) * scale
    old_centres = torch.arange(size) + 0.5
    distances = old_centres - new_centres[:, None]
    # A centre on the border of two boxes belongs to one of them.
    is_inside = (distances > -reach) & (distances <= reach)
    matrix = is_inside.double()
    num_inside = matrix.sum(1, keepdim=True)
    matrix /= num_inside
    return matrix.float()


def mapped(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Apply a matrix to the height and another one to the width of images.

    Args:
        images: ``(N, C, H, W)``.
        rows: ``(H', H)``.
        columns: ``(W', W)``.

    Returns:
        ``(N, C, H', W')``.
    """
    rows = rows.to(images.device)
    columns = columns.to(images.device)
    return rows @ images @ columns.T


def blurred(
    images: Tensor, sigma: float, mode: str = "nearest", truncate: float = 4.0
) -> Tensor:
    """Blur images by a normal distribution, see `blur_matrix`."""
    height, width = images.shape[-2:]
    rows = blur_matrix(height, sigma, mode, truncate)
    columns = blur_matrix(width, sigma, mode, truncate)
    return mapped(images, rows, columns)


def convolved(images: Tensor, kernel: Tensor) -> Tensor:
    """Correlate images with a kernel; they are mirrored at their edges.

    Args:
        images: ``(N, C, H, W)``.
        kernel: ``(2 R + 1, 2 R + 1)``.
    """
    radius = len(kernel) // 2
    height, width = images.shape[-2:]
    rows = boundary_indices(height, radius, "mirror")
    columns = boundary_indices(width, radius, "mirror")
    padded = images.index_select(2, rows.to(images.device))
    padded = padded.index_select(3, columns.to(images.device))
    # Every channel is an image by itself.
    channels = padded.flatten(0, 1).unsqueeze(1)
    weight = kernel.to(images)
    result = functional.conv2d(channels, weight[None, None])
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
    old_height = math.ceil(height / factor)
    old_width = math.ceil(width / factor)
    new_height = round(old_height * factor)
    new_width = round(old_width * factor)
    middle = _centre(images, old_height, old_width)
    larger = functional.interpolate(
        middle, (new_height, new_width), mode="bilinear", align_corners=True
    )
    return _centre(larger, height, width)


def _centre(images: Tensor, height: int, width: int) -> Tensor:
    """The middle of images, in whole pixels."""
    full_height, full_width = images.shape[-2:]
    top = (full_height - height) // 2
    left = (full_width - width) // 2
    rows = images.narrow(-2, top, height)
    return rows.narrow(-1, left, width)
