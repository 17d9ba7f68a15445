"""Random changes of the colours and the content of images, for whole batches.

Every change has two steps. `draw` draws the random numbers of an epoch, one row per
sample, and `apply` changes images by their rows, so that what happens to an image does
not depend on the batch or process that it is in. Images that need the same operation of
torchvision are changed by one call.

Shapes: N samples, C channels (1 or 3), S x S pixels.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

Draws = dict[str, Tensor]

POLICIES = ("imagenet", "cifar10", "svhn")  # of AutoAugment
NOTHING = -1  # in place of the number of an operation
MAGNITUDES = 31  # bins of RandAugment and TrivialAugment, as in torchvision
AUTO_MAGNITUDES = 10  # those of AutoAugment
# Of erased rectangles, as in torchvision's RandomErasing.
ERASED_SHARE = (0.02, 0.33)
ERASED_RATIO = (0.3, 3.3)
ERASING_ATTEMPTS = 10
GRAY = (0.2989, 0.587, 0.114)  # weights of red, green and blue, as in torchvision


class Change(Protocol):
    """A random change of images uint8 ``(N, C, S, S)``."""

    def draw(self, num_samples: int, generator: torch.Generator) -> Draws:
        """Draw the random numbers of an epoch, one row per sample."""

    def apply(self, pixels: Tensor, draws: Draws) -> Tensor:
        """Change images; `draws` has one row per image."""


class Operation(NamedTuple):
    """An operation of torchvision's policies.

    Attributes:
        name: as torchvision calls it, such as Rotate.
        magnitude: in its own unit; 0 for operations without one.
    """

    name: str
    magnitude: float


class Space(NamedTuple):
    """The operations among which a policy chooses.

    Attributes:
        names: of the operations.
        magnitudes: of each operation, smallest to largest; empty without magnitudes.
        is_signed: of each operation, whether the magnitude may be negative.
    """

    names: list[str]
    magnitudes: list[list[float]]
    is_signed: list[bool]

    def number(self, name: Tensor, magnitude: Tensor, negative: Tensor) -> Tensor:
        """Number every operation, so that equal ones have equal numbers.

        Args:
            name: int64, indices into `names`.
            magnitude: int64, indices into the magnitudes of the operation.
            negative: bool, whether the magnitude has a minus sign.
        """
        counts = torch.tensor([len(values) for values in self.magnitudes])
        magnitude = torch.where(counts[name] > 0, magnitude, 0)
        negative = negative & torch.tensor(self.is_signed)[name]
        return (name * MAGNITUDES + magnitude) * 2 + negative

    def operation(self, number: int) -> Operation:
        """The operation with a number."""
        rest, negative = divmod(number, 2)
        name, magnitude = divmod(rest, MAGNITUDES)
        value = 0.0
        if self.magnitudes[name]:
            value = self.magnitudes[name][magnitude]
        return Operation(self.names[name], -value if negative else value)


@dataclass(frozen=True)
class Policy:
    """Operations of torchvision that are drawn for each image.

    RandAugment: Cubuk et al., arXiv 1909.13719. TrivialAugment: Müller and Hutter,
    arXiv 2103.10158. AutoAugment: Cubuk et al., arXiv 1805.09501. Names, ranges and
    probabilities are those of torchvision's classes, areas outside of an image are
    black, and pixels are taken from their nearest neighbours.

    Attributes:
        kind: torchvision's class: `RandAugment`, `TrivialAugmentWide` or `AutoAugment`.
        size: S.
        number: of operations per image, for RandAugment.
        magnitude: 0 to 30, for RandAugment.
        policy: one of `POLICIES`, for AutoAugment.
    """

    kind: str
    size: int
    number: int = 1
    magnitude: int = 0
    policy: str = "imagenet"

    def draw(self, num_samples: int, generator: torch.Generator) -> Draws:
        """Draw ``operations (N, K)``, the numbers of K operations one by one."""
        if self.kind == "AutoAugment":
            return {"operations": self._draw_policies(num_samples, generator)}
        shape = (num_samples, self.number)
        space = self._space
        name = torch.randint(len(space.names), shape, generator=generator)
        magnitude = torch.full(shape, self.magnitude)
        if self.kind == "TrivialAugmentWide":
            magnitude = torch.randint(MAGNITUDES, shape, generator=generator)
        negative = torch.rand(shape, generator=generator) < 0.5
        return {"operations": space.number(name, magnitude, negative)}

    def _draw_policies(self, num_samples: int, generator: torch.Generator) -> Tensor:
        """Draw one of the pairs of operations, each of which has a probability."""
        space = self._space
        pairs = _auto_augment_policies(self.policy)
        names, probabilities, magnitudes = (
            torch.tensor([[step[entry] for step in pair] for pair in pairs])
            for entry in range(3)
        )
        chosen = torch.randint(len(pairs), (num_samples,), generator=generator)
        happens = torch.rand(num_samples, 2, generator=generator)
        negative = torch.rand(num_samples, 2, generator=generator) < 0.5
        numbers = space.number(names[chosen], magnitudes[chosen], negative)
        return torch.where(happens <= probabilities[chosen], numbers, NOTHING)

    def apply(self, pixels: Tensor, draws: Draws) -> Tensor:
        """Apply the operations one after the other."""
        for numbers in draws["operations"].unbind(1):
            pixels = self._apply_each(pixels, numbers)
        return pixels

    def _apply_each(self, pixels: Tensor, numbers: Tensor) -> Tensor:
        """Apply one operation to each image; equal ones by one call."""
        changed = pixels.clone()
        for number in numbers.unique().tolist():
            operation = Operation("Identity", 0.0)
            if number != NOTHING:
                operation = self._space.operation(number)
            if operation.name == "Identity":
                continue
            rows = (numbers == number).nonzero()[:, 0]
            images = pixels.index_select(0, rows)
            changed.index_copy_(0, rows, apply_operation(images, operation))
        return changed

    @cached_property
    def _space(self) -> Space:
        bins = AUTO_MAGNITUDES if self.kind == "AutoAugment" else MAGNITUDES
        return _space(self.kind, bins, self.size)


@cache
def _torchvision(kind: str) -> Any:
    """An instance of one of torchvision's classes of policies."""
    from torchvision.transforms import v2

    return getattr(v2, kind)()


@cache
def _space(kind: str, bins: int, size: int) -> Space:
    """The operations of a class of torchvision, in the order of their names there.

    The table is private to torchvision (checked with version 0.29).
    """
    table = _torchvision(kind)._AUGMENTATION_SPACE
    magnitudes = []
    for values_of, _ in table.values():
        values = values_of(bins, size, size)
        magnitudes.append([] if values is None else [float(value) for value in values])
    return Space(list(table), magnitudes, [signed for _, signed in table.values()])


@cache
def _auto_augment_policies(policy: str) -> list[list[tuple[int, float, int]]]:
    """Pairs of operations: index of the name, probability and index of the magnitude.

    The table is private to torchvision (checked with version 0.29).
    """
    from torchvision.transforms import v2

    names = list(_torchvision("AutoAugment")._AUGMENTATION_SPACE)
    table = v2.AutoAugment(v2.AutoAugmentPolicy(policy))._policies
    pairs = []
    for pair in table:
        steps = [(names.index(name), share, index or 0) for name, share, index in pair]
        pairs.append(steps)
    return pairs


def apply_operation(images: Tensor, operation: Operation) -> Tensor:
    """Apply an operation of torchvision to images uint8 ``(N, C, S, S)``.

    The method is private to torchvision (checked with version 0.29).
    """
    transform = _torchvision("AutoAugment")
    return transform._apply_image_or_video_transform(
        images,
        operation.name,
        operation.magnitude,
        interpolation=transform.interpolation,
        fill=transform._fill,
    )


@dataclass(frozen=True)
class ColourJitter:
    """Random brightness, contrast, saturation and hue, in random order.

    As torchvision's ColorJitter: factors are uniform between ``1 - x`` and ``1 + x``,
    the shift of the hue between ``-x`` and ``x`` of a full circle, and the order of the
    four steps is drawn for each image. Images with one channel have no colours, so
    saturation and hue leave them as they are.

    Attributes:
        strengths: x of brightness, contrast, saturation and hue.
    """

    strengths: tuple[float, float, float, float]

    def draw(self, num_samples: int, generator: torch.Generator) -> Draws:
        """Draw ``jitter (N, 4)``, the factors, and ``jitter_order (N, 4)``."""
        uniform = torch.rand(num_samples, 4, generator=generator)
        strengths = torch.tensor(self.strengths)
        low = (1 - strengths).clamp(min=0)
        high = 1 + strengths
        low[3], high[3] = -strengths[3], strengths[3]
        ranks = torch.rand(num_samples, 4, generator=generator)
        return {
            "jitter": low + (high - low) * uniform,
            "jitter_order": ranks.argsort(1),
        }

    def apply(self, pixels: Tensor, draws: Draws) -> Tensor:
        """Apply the four steps to each image in its order."""
        pixels = pixels.clone()
        for order in draws["jitter_order"].unbind(1):
            for index, step in enumerate(JITTER_STEPS):
                if self.strengths[index] == 0:
                    continue
                rows = (order == index).nonzero()[:, 0]
                if not len(rows):
                    continue
                factors = draws["jitter"][rows, index][:, None, None, None]
                changed = step(pixels.index_select(0, rows), factors)
                pixels.index_copy_(0, rows, changed)
        return pixels


def _blended(pixels: Tensor, others: Tensor | float, factors: Tensor) -> Tensor:
    """``factor * pixels + (1 - factor) * others`` as bytes, as torchvision rounds."""
    mixed = pixels * factors + others * (1 - factors)
    return mixed.clamp(0, 255).to(torch.uint8)


def adjust_brightness(pixels: Tensor, factors: Tensor) -> Tensor:
    """Blend images with black."""
    return _blended(pixels, 0.0, factors)


def adjust_contrast(pixels: Tensor, factors: Tensor) -> Tensor:
    """Blend images with the mean of their gray values."""
    mean = _gray(pixels).mean((1, 2, 3), keepdim=True)
    return _blended(pixels, mean, factors)


def adjust_saturation(pixels: Tensor, factors: Tensor) -> Tensor:
    """Blend images with their gray values."""
    if pixels.shape[1] == 1:
        return pixels
    return _blended(pixels, _gray(pixels), factors)


def adjust_hue(pixels: Tensor, shifts: Tensor) -> Tensor:
    """Shift the hue of images by shares of a full circle.

    The conversions are private to torchvision (checked with version 0.29).
    """
    if pixels.shape[1] == 1:
        return pixels
    from torchvision.transforms.v2.functional import _color, to_dtype

    colours = to_dtype(pixels, torch.float32, scale=True)
    hue, saturation, value = _color._rgb_to_hsv(colours).unbind(1)
    hue = (hue + shifts[:, 0]).remainder(1.0)
    shifted = _color._hsv_to_rgb(torch.stack([hue, saturation, value], 1))
    return to_dtype(shifted, torch.uint8, scale=True)


def _gray(pixels: Tensor) -> Tensor:
    """Gray values in whole numbers, float32 ``(N, 1, S, S)``."""
    if pixels.shape[1] == 1:
        return pixels.float()
    weights = torch.tensor(GRAY, device=pixels.device)[:, None, None]
    return (pixels * weights).sum(1, keepdim=True).floor()


JITTER_STEPS: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    adjust_brightness,
    adjust_contrast,
    adjust_saturation,
    adjust_hue,
)


@dataclass(frozen=True)
class Erasing:
    """A random rectangle of some images becomes 0, the mean of the training part.

    Zhong et al., arXiv 1708.04896, as in torchvision's RandomErasing: the rectangle has
    .02 to .33 of the area and an aspect ratio between .3 and 3.3. It is drawn again if
    it does not fit, and after ten attempts the image stays as it is.

    Attributes:
        share: of the images that are changed.
        size: S.
    """

    share: float
    size: int

    def draw(self, num_samples: int, generator: torch.Generator) -> Draws:
        """Draw ``erased (N, 4)``: first row and column, height and width."""
        shape = (num_samples, ERASING_ATTEMPTS)
        low, high = ERASED_SHARE
        area = low + (high - low) * torch.rand(shape, generator=generator)
        low, high = (math.log(ratio) for ratio in ERASED_RATIO)
        ratio = torch.exp(low + (high - low) * torch.rand(shape, generator=generator))
        sides = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()], 2)
        sides = (sides * self.size).round().long()

        fits = (sides < self.size).all(2)
        first = fits.int().argmax(1)[:, None, None]
        sides = sides.gather(1, first.expand(-1, 1, 2)).squeeze(1)
        happens = torch.rand(num_samples, generator=generator) < self.share
        sides = torch.where((happens & fits.any(1))[:, None], sides, 0)
        position = torch.rand(num_samples, 2, generator=generator)
        corner = (position * (self.size - sides + 1)).long()
        return {"erased": torch.cat([corner, sides], 1)}

    def apply(self, pixels: Tensor, draws: Draws) -> Tensor:
        """Erase the rectangles of normalized images."""
        row, column, height, width = draws["erased"].unbind(1)
        steps = torch.arange(self.size, device=pixels.device)
        in_rows = _between(steps, row, height)
        in_columns = _between(steps, column, width)
        erased = in_rows[:, None, :, None] & in_columns[:, None, None, :]
        return pixels.masked_fill(erased, 0.0)


def _between(steps: Tensor, start: Tensor, length: Tensor) -> Tensor:
    """Which steps ``(S,)`` lie in each range, bool ``(N, S)``."""
    start = start[:, None]
    return (steps >= start) & (steps < start + length[:, None])


def draw_all(
    changes: Iterable[Change], num_samples: int, generator: torch.Generator
) -> Draws:
    """The random numbers of several changes."""
    draws: Draws = {}
    for change in changes:
        draws |= change.draw(num_samples, generator)
    return draws
