"""Mean and standard deviation of the channels of images, computed or published."""

from collections.abc import Sequence

import torch
from torch import Tensor

from normlab.data.transforms import PIXEL_RANGE

STATISTICS_BYTES = 2**24  # images that are counted at once
# Mean and standard deviation of the pixels of each channel in published training parts,
# in 0..1. Those of ImageNet are what torchvision's networks were trained with.
PUBLISHED_STATISTICS = {
    "mnist": ((0.1307,), (0.3081,)),
    "fashion_mnist": ((0.2860,), (0.3530,)),
    "kmnist": ((0.1918,), (0.3483,)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "svhn": ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    "tiny_imagenet": ((0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


def channel_statistics(
    images: Tensor, rows: Tensor | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Compute the mean and standard deviation of every channel, for pixels in 0..1.

    The images are never copied as a whole. For bytes, the result is exact: how often
    each of the 256 values occurs is counted, chunk by chunk. Other numbers are divided
    by 255, whatever their range is.

    Args:
        images: ``(N, C, H, W)``, which may be mapped into memory from a file.
        rows: int64, indices of the images that count; None for all.
    """
    if rows is None:
        rows = torch.arange(len(images))
    image_bytes = images[:1].nbytes
    images_per_chunk = max(1, STATISTICS_BYTES // image_bytes)
    chunks = rows.split(images_per_chunk)
    if images.dtype != torch.uint8:
        return _statistics_of_numbers(images, chunks)
    counts = torch.zeros(images.shape[1], 256, dtype=torch.int64)
    for chunk in chunks:
        channels = images.index_select(0, chunk).unbind(1)
        for channel_counts, pixels in zip(counts, channels, strict=True):
            channel_counts += torch.bincount(pixels.flatten(), minlength=256)

    share = counts.double() / counts.sum(1, keepdim=True)
    values = torch.arange(256, dtype=torch.float64) / PIXEL_RANGE
    means = (share * values).sum(1)
    deviations = values - means[:, None]
    variances = (share * deviations.square()).sum(1)
    stds = variances.sqrt()
    return tuple(means.tolist()), tuple(stds.tolist())


def _statistics_of_numbers(
    images: Tensor, chunks: Sequence[Tensor]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """As `channel_statistics`, by Chan, Golub and LeVeque's update (1979)."""
    num_channels = images.shape[1]
    count = 0
    means = torch.zeros(num_channels, dtype=torch.float64)
    squares = torch.zeros_like(means)
    for chunk in chunks:
        chosen = images.index_select(0, chunk)
        values = chosen.transpose(0, 1).flatten(1).double()
        chunk_means = values.mean(1)
        deviations = values - chunk_means[:, None]
        difference = chunk_means - means
        number = values.shape[1]
        total = count + number
        squares += deviations.square().sum(1)
        squares += difference.square() * count * number / total
        means += difference * number / total
        count = total
    stds = (squares / count).sqrt()
    means = means / PIXEL_RANGE
    stds = stds / PIXEL_RANGE
    return tuple(means.tolist()), tuple(stds.tolist())
