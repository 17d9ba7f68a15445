"""What happens between the stored samples and the network, on whole batches, on whichever device they are.

Shapes: N samples, C channels, H x W stored pixels, S x S pixels for the network.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

PIXEL_RANGE = 255.0
MAX_RATIO, WINDOW_ATTEMPTS = 4 / 3, 10  # torchvision's, for random windows
STATISTICS_BYTES = 2**24


@dataclass(frozen=True)
class ImageTransform:
    """Resize, augment and normalize uint8 images ``(N, C, H, W)`` to float32 ``(N, C, S, S)``.

    Random numbers are drawn for a whole epoch at once, a row per sample, so that a sample's augmentation does not
    depend on which batch or process it is in.

    Attributes:
        mean: per channel, of pixels in 0..1.
        std: per channel.
        size: S, pixels a side; bilinear without antialiasing where the stored size differs.
        flip: mirror half of the training images left to right.
        crop_padding: pad training images with so many black pixels and cut a random S x S window out.
        resized_crop: smallest and largest share of the area that a random window keeps, with sides in a ratio of
            3/4 to 4/3, enlarged to S x S (torchvision's RandomResizedCrop, with windows that need not start at a whole
            pixel), or None. It takes the place of `crop_padding`.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int
    flip: bool = False
    crop_padding: int = 0
    resized_crop: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if min(self.std) <= 0:
            raise ValueError(
                f"every channel must vary to be normalized, the standard deviations are {self.std}; "
                f"use dataset.normalize=none or other images"
            )
        if self.resized_crop is None:
            return
        low, high = self._scale()
        if not 0 < low <= high <= 1:
            raise ValueError(
                f"augment.resized_crop must be [smallest, largest] in 0..1, got {self.resized_crop}"
            )
        if self.crop_padding:
            raise ValueError(
                "augment.crop_padding and augment.resized_crop exclude each other; set one of them"
            )

    def _scale(self) -> tuple[float, float]:
        try:
            low, high = (float(share) for share in self.resized_crop)
        except (TypeError, ValueError):
            raise ValueError(
                f"augment.resized_crop must be null or [smallest, largest], got {self.resized_crop}"
            ) from None
        return low, high

    def draw(self, num_samples: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Random parameters of one epoch: ``flip (N,)``, ``shift (N, 2)``, ``window (N, 4)``, each where needed."""
        draws = {}
        if self.flip:
            draws["flip"] = torch.rand(num_samples, generator=generator) < 0.5
        if self.crop_padding:
            draws["shift"] = torch.randint(
                2 * self.crop_padding + 1, (num_samples, 2), generator=generator
            )
        if self.resized_crop is not None:
            draws["window"] = random_windows(num_samples, self._scale(), generator)
        return draws

    def train(self, images: Tensor, draws: dict[str, Tensor]) -> Tensor:
        """Augmented and normalized; `draws` holds the rows that belong to `images`."""
        flip = draws.get("flip")
        if "window" in draws:
            return self._window(self._normalize(images), draws["window"], flip)
        if "shift" in draws:  # black is black before it is normalized
            return self._normalize(
                self._shift_and_flip(self._resize(images), draws["shift"], flip)
            )
        pixels = self._resize(self._normalize(images))
        return pixels if flip is None else mirrored(pixels, flip)

    def evaluate(self, images: Tensor) -> Tensor:
        """Resized and normalized, nothing random."""
        return self._resize(self._normalize(images))

    def _resize(self, images: Tensor) -> Tensor:
        if images.shape[-2:] == (self.size, self.size):
            return images
        whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]], device=images.device).expand(
            len(images), 4
        )
        return self._window(images.float(), whole, None)

    def _normalize(self, pixels: Tensor) -> Tensor:
        """Before any interpolation, whose weights sum to one: stored images are often smaller than what is made."""
        std = torch.tensor(self.std, device=pixels.device)[:, None, None]
        mean = torch.tensor(self.mean, device=pixels.device)[:, None, None]
        pixels = pixels.float() if pixels.dtype == torch.uint8 else pixels.clone()
        return pixels.mul_(1 / (PIXEL_RANGE * std)).sub_(mean / std)

    def _shift_and_flip(
        self, pixels: Tensor, shift: Tensor, flip: Tensor | None
    ) -> Tensor:
        """Every S x S window exists as a strided view, so cutting one out an image is one copy of whole rows."""
        windows = (
            functional.pad(pixels, (self.crop_padding,) * 4)
            .unfold(2, self.size, 1)
            .unfold(3, self.size, 1)
        )
        pixels = windows[
            torch.arange(len(pixels), device=pixels.device), :, shift[:, 0], shift[:, 1]
        ]
        return pixels if flip is None else mirrored(pixels, flip)

    def _window(self, pixels: Tensor, window: Tensor, flip: Tensor | None) -> Tensor:
        """Bilinear samples of the windows, all in one call; `window` as from `random_windows`."""
        centre_y, centre_x, height, width = window.to(pixels).unbind(1)
        if flip is not None:
            width = torch.where(flip, -width, width)
        inside = (
            2 * torch.arange(self.size, device=pixels.device) + 1
        ) / self.size - 1  # centres of the made pixels
        y, x = (
            centre[:, None] + half[:, None] * inside
            for centre, half in ((centre_y, height), (centre_x, width))
        )
        grid = pixels.new_empty(
            len(pixels), 2, self.size, self.size
        )  # made plane by plane, read pair by pair
        grid[:, 0], grid[:, 1] = x[:, None], y[:, :, None]
        return functional.grid_sample(
            pixels, grid.permute(0, 2, 3, 1), padding_mode="border", align_corners=False
        )


def mirrored(pixels: Tensor, flip: Tensor) -> Tensor:
    """Images ``(N, C, S, S)`` left to right where `flip` ``(N,)`` says so."""
    return torch.where(flip[:, None, None, None], pixels.flip(-1), pixels)


def random_windows(
    num_samples: int, scale: tuple[float, float], generator: torch.Generator
) -> Tensor:
    """Windows of random area, shape and place inside the image, as ``(N, 4)``: centre y, x and half height, width.

    Coordinates run from -1 to 1. Area uniform in `scale`, log of the sides' ratio uniform in ln 3/4..ln 4/3, place
    uniform. As in torchvision, a window with a side longer than the image is drawn again, and after ten attempts the
    whole image is taken.
    """
    area, log_ratio = torch.rand(2, num_samples, WINDOW_ATTEMPTS, generator=generator)
    side = (scale[0] + (scale[1] - scale[0]) * area).sqrt()
    stretch = torch.exp(
        (log_ratio - 0.5) * torch.log(torch.tensor(MAX_RATIO))
    )  # root of the ratio
    sides = torch.stack([side / stretch, side * stretch], 2)  # (N, attempts, 2)
    fits = (sides <= 1).all(2)
    first = fits.int().argmax(1)[:, None, None].expand(-1, 1, 2)
    sides = torch.where(
        fits.any(1, keepdim=True), sides.gather(1, first).squeeze(1), 1.0
    )
    centres = (2 * torch.rand(num_samples, 2, generator=generator) - 1) * (1 - sides)
    return torch.cat([centres, sides], 1)


class Unchanged:
    """Samples that are stored as the network reads them: encoded tables, features."""

    def draw(self, num_samples: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {}

    def train(self, inputs: Tensor, draws: dict[str, Tensor]) -> Tensor:
        return inputs

    def evaluate(self, inputs: Tensor) -> Tensor:
        return inputs


def channel_statistics(
    images: Tensor, rows: Tensor | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of every channel of uint8 ``(N, C, H, W)``, for pixels in 0..1.

    Exact: counts how often each of the 256 values occurs, in chunks, so that no second copy of the images is made.

    Args:
        images: may be mapped into memory from a file.
        rows: int64, the images that count; None for all.
    """
    counts = torch.zeros(images.shape[1], 256, dtype=torch.int64)
    rows = torch.arange(len(images)) if rows is None else rows
    for chosen in rows.split(max(1, STATISTICS_BYTES // images[:1].nbytes)):
        for channel, pixels in enumerate(images.index_select(0, chosen).unbind(1)):
            counts[channel] += torch.bincount(pixels.flatten(), minlength=256)
    share = counts.double() / counts.sum(1, keepdim=True)
    values = torch.arange(256, dtype=torch.float64) / PIXEL_RANGE
    means = (share * values).sum(1)
    variances = (share * (values - means[:, None]).square()).sum(1)
    return tuple(means.tolist()), tuple(variances.sqrt().tolist())
