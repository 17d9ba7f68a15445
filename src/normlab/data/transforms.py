"""What happens to stored samples before the network reads them, a whole batch at once.

Shapes: N samples, C channels, H x W stored pixels, S x S pixels for the network.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from normlab.data.augmentation import (
    MAGNITUDES,
    POLICIES,
    Change,
    Erasing,
    Policy,
    draw_all,
    first_that_fits,
)
from normlab.data.colour_jitter import ColourJitter

PIXEL_RANGE = 255.0
# Of random windows, as in torchvision's RandomResizedCrop.
MAX_ASPECT_RATIO = 4 / 3
WINDOW_ATTEMPTS = 10


@dataclass(frozen=True)
class ImageTransform:
    """Turns stored images ``(N, C, H, W)`` into float32 ``(N, C, S, S)``.

    Images are resized, augmented in training, and normalized. Random numbers are drawn
    for a whole epoch at once, one row per sample, so that a sample's augmentation does
    not depend on the batch or process that it is in.

    Attributes:
        mean: mean of each channel, for pixels in 0..1.
        std: standard deviation of each channel, for pixels in 0..1.
        size: S, height and width in pixels. Images of another size are resized by
            bilinear interpolation without antialiasing.
        flip: whether to mirror half of the training images left to right.
        crop_padding: training images are padded with this many black pixels on every
            side, and a random S x S window is cut out.
        resized_crop: smallest and largest share of the area that a random window of a
            training image keeps, or None. The window has an aspect ratio between 3/4
            and 4/3 and is resized to S x S. This is torchvision's RandomResizedCrop,
            except that windows may start between pixels. It excludes `crop_padding`.
        rand_augment: number of operations and magnitude (0 to 30) of RandAugment, or
            None. This and the next two exclude each other, see `Policy`.
        trivial_augment: whether training images are changed by TrivialAugment.
        auto_augment: the data set for which AutoAugment's policy was found, or None.
        color_jitter: strengths of brightness, contrast, saturation and hue, or None,
            see `ColourJitter`.
        erasing: share of the training images of which a rectangle is erased.

    Operations and colours change the pixels of training images as bytes, after windows
    and mirrors. Rectangles are erased at last.

    Raises:
        ValueError: a standard deviation is 0, or an augmentation is out of range or
            excludes another one.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int
    flip: bool = False
    crop_padding: int = 0
    resized_crop: tuple[float, float] | None = None
    # Not shown: the names of cached features contain the text of a transform.
    rand_augment: tuple[int, int] | None = field(default=None, repr=False)
    trivial_augment: bool = field(default=False, repr=False)
    auto_augment: str | None = field(default=None, repr=False)
    color_jitter: tuple[float, ...] | None = field(default=None, repr=False)
    erasing: float = field(default=0.0, repr=False)

    def __post_init__(self) -> None:
        if min(self.std) <= 0:
            raise ValueError(
                "every channel must vary to be normalized, "
                f"the standard deviations are {self.std}; "
                "use dataset.normalize=none or other images"
            )
        self._check_changes()
        scale = self._scale()
        if scale is None:
            return
        low, high = scale
        if not 0 < low <= high <= 1:
            raise ValueError(
                "augment.resized_crop must be [smallest, largest] in 0..1, "
                f"got {self.resized_crop}"
            )
        if self.crop_padding:
            raise ValueError(
                "augment.crop_padding and augment.resized_crop exclude each other; "
                "set one of them"
            )

    def _check_changes(self) -> None:
        """Refuse augmentations that exclude each other or are out of range."""
        policies = []
        for name in ("rand_augment", "trivial_augment", "auto_augment"):
            if getattr(self, name):
                policies.append(f"augment.{name}")
        if len(policies) > 1:
            raise ValueError(f"{' and '.join(policies)} exclude each other; set one")
        if self.rand_augment is not None:
            _check_rand_augment(self.rand_augment)
        if self.auto_augment not in (None, *POLICIES):
            raise ValueError(
                f"augment.auto_augment must be null or one of {', '.join(POLICIES)}, "
                f"got {self.auto_augment!r}"
            )
        if self.color_jitter is not None:
            _check_color_jitter(self.color_jitter)
        if not 0 <= self.erasing <= 1:
            raise ValueError(f"augment.erasing must lie in 0..1, got {self.erasing}")
        if self._changes and len(self.std) not in (1, 3):
            raise ValueError(
                "augment.rand_augment, trivial_augment, auto_augment and color_jitter "
                f"need images with 1 or 3 channels, these have {len(self.std)}"
            )

    @cached_property
    def _changes(self) -> tuple[Change, ...]:
        """What changes the bytes of training images."""
        changes: list[Change] = []
        if self.rand_augment is not None:
            number, magnitude = self.rand_augment
            changes.append(Policy("RandAugment", self.size, number, magnitude))
        if self.trivial_augment:
            changes.append(Policy("TrivialAugmentWide", self.size))
        if self.auto_augment is not None:
            policy = Policy("AutoAugment", self.size, policy=self.auto_augment)
            changes.append(policy)
        if self.color_jitter is not None:
            brightness, contrast, saturation, hue = self.color_jitter
            jitter = ColourJitter((brightness, contrast, saturation, hue))
            changes.append(jitter)
        return tuple(changes)

    def _scale(self) -> tuple[float, float] | None:
        """`resized_crop` as two numbers."""
        if self.resized_crop is None:
            return None
        try:
            low, high = (float(share) for share in self.resized_crop)
        except (TypeError, ValueError):
            raise ValueError(
                "augment.resized_crop must be null or [smallest, largest], "
                f"got {self.resized_crop}"
            ) from None
        return low, high

    def draw(self, num_samples: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw the random parameters of one epoch.

        Returns:
            ``flip (N,)``, ``shift (N, 2)`` and ``window (N, 4)``, as far as the
            augmentation needs them, and what `normlab.data.augmentation` draws.
        """
        draws = {}
        if self.flip:
            draw = torch.rand(num_samples, generator=generator)
            draws["flip"] = draw < 0.5
        if self.crop_padding:
            num_shifts = 2 * self.crop_padding + 1
            shape = (num_samples, 2)
            draws["shift"] = torch.randint(num_shifts, shape, generator=generator)
        scale = self._scale()
        if scale is not None:
            draws["window"] = random_windows(num_samples, scale, generator)
        draws |= draw_all(self._changes, num_samples, generator)
        if self.erasing:
            draws |= self._erase.draw(num_samples, generator)
        return draws

    @property
    def _erase(self) -> Erasing:
        return Erasing(self.erasing, self.size)

    def train(self, images: Tensor, draws: dict[str, Tensor]) -> Tensor:
        """Augment and normalize images; `draws` has one row per image."""
        if self._changes:
            pixels = self._placed(as_bytes(images).float(), draws)
            pixels = pixels.round().to(torch.uint8)
            for change in self._changes:
                pixels = change.apply(pixels, draws)
            pixels = self._normalize(pixels)
        elif "shift" in draws:
            # Padded before it is normalized, so that the padding is black.
            pixels = self._placed(images, draws)
            pixels = self._normalize(pixels)
        else:
            pixels = self._normalize(images)
            pixels = self._placed(pixels, draws)
        if self.erasing:
            pixels = self._erase.apply(pixels, draws)
        return pixels

    def _placed(self, pixels: Tensor, draws: dict[str, Tensor]) -> Tensor:
        """The window of each image that is drawn for it, S x S, and mirrored or not."""
        flip = draws.get("flip")
        if "window" in draws:
            return self._window(pixels, draws["window"], flip)
        pixels = self._resize(pixels)
        if "shift" in draws:
            pixels = self._shifted(pixels, draws["shift"])
        if flip is None:
            return pixels
        return mirrored(pixels, flip)

    def evaluate(self, images: Tensor) -> Tensor:
        """Resize and normalize images, without anything random."""
        return self._resize(self._normalize(images))

    def _resize(self, images: Tensor) -> Tensor:
        if images.shape[-2:] == (self.size, self.size):
            return images
        whole = torch.tensor([0.0, 0.0, 1.0, 1.0], device=images.device)
        windows = whole.expand(len(images), 4)
        return self._window(images.float(), windows, None)

    def _normalize(self, pixels: Tensor) -> Tensor:
        """Subtract the mean of each channel and divide by its standard deviation.

        The result is the same before and after an interpolation, whose weights sum to
        one. Before it is cheaper, since stored images are often smaller.
        """
        std = torch.tensor(self.std, device=pixels.device)
        mean = torch.tensor(self.mean, device=pixels.device)
        factor = 1 / (PIXEL_RANGE * std)
        offset = mean / std
        # A copy in any case, which can then be changed in place.
        pixels = pixels.to(torch.float32, copy=True)
        return pixels.mul_(factor[:, None, None]).sub_(offset[:, None, None])

    def _shifted(self, pixels: Tensor, shift: Tensor) -> Tensor:
        """Pad images, and cut an S x S window out of each.

        Every possible window exists as a strided view, so cutting one out of each image
        is a single copy of whole rows.

        Args:
            pixels: ``(N, C, S, S)``.
            shift: int64 ``(N, 2)``, the windows' first row and column.
        """
        on_all_sides = (self.crop_padding,) * 4
        padded = functional.pad(pixels, on_all_sides)
        windows = padded.unfold(2, self.size, 1).unfold(3, self.size, 1)
        samples = torch.arange(len(pixels), device=pixels.device)
        first_row, first_column = shift.unbind(1)
        return windows[samples, :, first_row, first_column]

    def _window(self, pixels: Tensor, window: Tensor, flip: Tensor | None) -> Tensor:
        """Resize one window of each image to S x S by bilinear interpolation.

        Args:
            pixels: float ``(N, C, H, W)``.
            window: ``(N, 4)``, as from `random_windows`.
            flip: bool ``(N,)``, the images to mirror; None for none.
        """
        centre_y, centre_x, half_height, half_width = window.to(pixels).unbind(1)
        if flip is not None:
            half_width = torch.where(flip, -half_width, half_width)

        # Centres of the new pixels, in -1..1 relative to the window.
        steps = torch.arange(self.size, device=pixels.device)
        inside = (2 * steps + 1) / self.size - 1
        y = centre_y[:, None] + half_height[:, None] * inside
        x = centre_x[:, None] + half_width[:, None] * inside

        # Written plane by plane, (N, 2, S, S), and read pair by pair, (N, S, S, 2).
        grid = pixels.new_empty(len(pixels), 2, self.size, self.size)
        grid[:, 0] = x[:, None]
        grid[:, 1] = y[:, :, None]
        pairs = grid.permute(0, 2, 3, 1)
        return functional.grid_sample(
            pixels, pairs, padding_mode="border", align_corners=False
        )


def _check_rand_augment(values: Sequence[int]) -> None:
    is_known = False
    if len(values) == 2:
        number, magnitude = values
        is_known = number >= 1 and 0 <= magnitude < MAGNITUDES
    if not is_known:
        raise ValueError(
            "augment.rand_augment must be [number of operations, magnitude from 0 to "
            f"{MAGNITUDES - 1}], such as [2,9], got {list(values)}"
        )


def _check_color_jitter(values: Sequence[float]) -> None:
    is_known = False
    if len(values) == 4:
        hue = values[3]
        is_known = min(values) >= 0 and hue <= 0.5
    if not is_known:
        raise ValueError(
            "augment.color_jitter must be [brightness, contrast, saturation, hue], all "
            "at least 0 and hue at most 0.5, such as [0.4,0.4,0.4,0.1], got "
            f"{list(values)}"
        )


def as_bytes(images: Tensor) -> Tensor:
    """Refuse images that are no bytes, of which colours have no known meaning.

    Raises:
        ValueError: they have another type.
    """
    if images.dtype != torch.uint8:
        raise ValueError(
            "augment.rand_augment, trivial_augment, auto_augment and color_jitter need "
            f"images as bytes (uint8), these are {images.dtype}"
        )
    return images


def mirrored(pixels: Tensor, flip: Tensor) -> Tensor:
    """Mirror the images of ``(N, C, S, S)`` for which `flip` ``(N,)`` is true."""
    is_mirrored = flip[:, None, None, None]
    return torch.where(is_mirrored, pixels.flip(-1), pixels)


def random_windows(
    num_samples: int, scale: tuple[float, float], generator: torch.Generator
) -> Tensor:
    """Draw windows of random area, aspect ratio and position inside an image.

    The area is uniform in `scale`, the logarithm of the aspect ratio uniform between
    ln 3/4 and ln 4/3, and the position uniform. As in torchvision, a window that does
    not fit into the image is drawn again, and after ten attempts the whole image is
    taken.

    Args:
        num_samples: N.
        scale: smallest and largest share of the image's area.
        generator: random numbers.

    Returns:
        ``(N, 4)``: centre y, centre x, half height and half width, in coordinates from
        -1 to 1.
    """
    shape = (2, num_samples, WINDOW_ATTEMPTS)
    draw_of_area, draw_of_ratio = torch.rand(shape, generator=generator)
    low, high = scale
    area = low + (high - low) * draw_of_area
    side = area.sqrt()
    log_maximum = torch.log(torch.tensor(MAX_ASPECT_RATIO))
    root_of_ratio = torch.exp((draw_of_ratio - 0.5) * log_maximum)
    height = side / root_of_ratio
    width = side * root_of_ratio
    sides = torch.stack([height, width], 2)  # (N, 10, 2)

    fits = (sides <= 1).all(2)
    any_fits = fits.any(1, keepdim=True)
    sides = torch.where(any_fits, first_that_fits(sides, fits), 1.0)
    position = torch.rand(num_samples, 2, generator=generator)
    centres = (2 * position - 1) * (1 - sides)
    return torch.cat([centres, sides], 1)


class Unchanged:
    """Passes samples on as they are stored: encoded tables."""

    def draw(self, num_samples: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {}

    def train(self, inputs: Tensor, draws: dict[str, Tensor]) -> Tensor:
        return inputs

    def evaluate(self, inputs: Tensor) -> Tensor:
        return inputs
