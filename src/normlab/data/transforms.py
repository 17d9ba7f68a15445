"""What happens between the stored samples and the network, on whole batches, on whichever device they are.

Shapes: N samples, C channels, H x W stored pixels, S x S pixels for the network.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

PIXEL_RANGE = 255.0


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
            3/4 to 4/3, enlarged to S x S (torchvision's RandomResizedCrop), or None.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int
    flip: bool = False
    crop_padding: int = 0
    resized_crop: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if min(self.std) <= 0:
            raise ValueError(f"every channel must vary to be normalized, the standard deviations are {self.std}")
        if self.resized_crop is not None and not 0 < self.resized_crop[0] <= self.resized_crop[1] <= 1:
            raise ValueError(f"augment.resized_crop must be [smallest, largest] in 0..1, got {self.resized_crop}")

    def draw(self, num_samples: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Random parameters of one epoch: ``flip (N,)``, ``shift (N, 2)``, ``window (N, 4)``, each where needed."""
        draws = {}
        if self.flip:
            draws["flip"] = torch.rand(num_samples, generator=generator) < 0.5
        if self.crop_padding:
            draws["shift"] = torch.randint(2 * self.crop_padding + 1, (num_samples, 2), generator=generator)
        if self.resized_crop is not None:
            draws["window"] = random_windows(num_samples, self.resized_crop, generator)
        return draws

    def train(self, images: Tensor, draws: dict[str, Tensor]) -> Tensor:
        """Augmented and normalized; `draws` holds the rows that belong to `images`."""
        if "window" in draws:
            pixels = self._window(images.float(), draws["window"], draws.get("flip"))
        else:
            pixels = self._resize(images)
            if "shift" in draws or "flip" in draws:
                pixels = self._shift_and_flip(pixels, draws.get("shift"), draws.get("flip"))
        return self._normalize(pixels.float())

    def evaluate(self, images: Tensor) -> Tensor:
        """Resized and normalized, nothing random."""
        return self._normalize(self._resize(images).float())

    def _resize(self, images: Tensor) -> Tensor:
        if images.shape[-2:] == (self.size, self.size):
            return images
        return functional.interpolate(images.float(), (self.size, self.size), mode="bilinear", align_corners=False)

    def _normalize(self, pixels: Tensor) -> Tensor:
        scale = 1 / (PIXEL_RANGE * torch.tensor(self.std, device=pixels.device))
        shift = -torch.tensor(self.mean, device=pixels.device) / torch.tensor(self.std, device=pixels.device)
        return torch.addcmul(shift[:, None, None], pixels, scale[:, None, None])

    def _shift_and_flip(self, pixels: Tensor, shift: Tensor | None, flip: Tensor | None) -> Tensor:
        """One gather for both: the column and the row from which every output pixel comes."""
        num_samples, padding, device = len(pixels), self.crop_padding, pixels.device
        if padding:
            pixels = functional.pad(pixels, (padding,) * 4)
        positions = torch.arange(self.size, device=device).expand(num_samples, -1)
        rows = positions if shift is None else positions + shift[:, :1]
        columns = positions if flip is None else torch.where(flip[:, None], positions.flip(1), positions)
        columns = columns if shift is None else columns + shift[:, 1:]
        sample = torch.arange(num_samples, device=device)[:, None, None, None]
        channel = torch.arange(pixels.shape[1], device=device)[:, None, None]
        return pixels[sample, channel, rows[:, None, :, None], columns[:, None, None, :]]

    def _window(self, pixels: Tensor, window: Tensor, flip: Tensor | None) -> Tensor:
        """Bilinear samples of the windows, all in one call; `window` holds centre y, x and height, width in -1..1."""
        centre_y, centre_x, height, width = window.to(pixels).unbind(1)
        if flip is not None:
            width = torch.where(flip, -width, width)
        zero = torch.zeros_like(width)
        affine = torch.stack([width, zero, centre_x, zero, height, centre_y], 1).view(-1, 2, 3)
        grid = functional.affine_grid(affine, (*pixels.shape[:2], self.size, self.size), align_corners=False)
        return functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)


def random_windows(num_samples: int, scale: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Windows of random area, shape and place inside the image, as ``(N, 4)``: centre y, x and half height, width.

    Coordinates run from -1 to 1. Area uniform in `scale`, log of the sides' ratio uniform in ln 3/4..ln 4/3; a side
    longer than the image is cut to it.
    """
    uniform = torch.rand(num_samples, 4, generator=generator)
    area = scale[0] + (scale[1] - scale[0]) * uniform[:, 0]
    half_log_ratio = (uniform[:, 1] - 0.5) * torch.log(torch.tensor(4 / 3))
    height = (area.sqrt() * torch.exp(-half_log_ratio)).clamp(max=1)
    width = (area.sqrt() * torch.exp(half_log_ratio)).clamp(max=1)
    centre_y = (2 * uniform[:, 2] - 1) * (1 - height)
    centre_x = (2 * uniform[:, 3] - 1) * (1 - width)
    return torch.stack([centre_y, centre_x, height, width], 1)


@dataclass(frozen=True)
class TableTransform:
    """``(x - mean) / std`` for every column of ``(N, F)``, nothing random.

    Attributes:
        mean: ``(F,)``, of the training part.
        std: ``(F,)``; 1 for a column that does not vary there.
    """

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, inputs: Tensor, standardize: bool) -> "TableTransform":
        """Standardization by the statistics of `inputs`, or columns as they are."""
        if not standardize:
            return cls(torch.zeros(inputs.shape[1]), torch.ones(inputs.shape[1]))
        std, mean = torch.std_mean(inputs, 0, correction=0)
        return cls(mean, torch.where(std > 0, std, 1.0))

    def draw(self, num_samples: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {}

    def train(self, inputs: Tensor, draws: dict[str, Tensor]) -> Tensor:
        return self.evaluate(inputs)

    def evaluate(self, inputs: Tensor) -> Tensor:
        return (inputs - self.mean.to(inputs.device)) / self.std.to(inputs.device)


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of every channel of uint8 ``(N, C, H, W)``, for pixels in 0..1.

    Exact: counts how often each of the 256 values occurs.
    """
    values = torch.arange(256, dtype=torch.float64) / PIXEL_RANGE
    means, stds = [], []
    for channel in images.unbind(1):
        share = torch.bincount(channel.flatten().int(), minlength=256).double() / channel.numel()
        mean = (share * values).sum()
        means.append(mean.item())
        stds.append((share * (values - mean).square()).sum().sqrt().item())
    return tuple(means), tuple(stds)
