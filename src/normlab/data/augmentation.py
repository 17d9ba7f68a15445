"""Random changes of images by policies and erased rectangles, for whole batches.

Changes of colours are in `colour_jitter`.

Every change has two steps. `draw` draws the random numbers of an epoch, one row per
sample, and `apply` changes images by their rows, so that what happens to an image does
not depend on the batch or process that it is in. Images that need the same operation of
torchvision are changed by one call.

Shapes: N samples, C channels (1 or 3), S x S pixels.
"""

import math
from collections.abc import Iterable
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
        has_magnitudes = torch.tensor(list(map(bool, self.magnitudes)))
        is_signed = torch.tensor(self.is_signed)
        magnitude = torch.where(has_magnitudes[name], magnitude, 0)
        negative = negative & is_signed[name]
        return (name * MAGNITUDES + magnitude) * 2 + negative

    def operation(self, number: int) -> Operation:
        """The operation with a number."""
        rest, negative = divmod(number, 2)
        name, magnitude = divmod(rest, MAGNITUDES)
        value = 0.0
        if self.magnitudes[name]:
            value = self.magnitudes[name][magnitude]
        if negative:
            value = -value
        return Operation(self.names[name], value)


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
        names, probabilities, magnitudes = _auto_augment_policies(self.policy)
        num_pairs = len(names)
        chosen = torch.randint(num_pairs, (num_samples,), generator=generator)
        draw = torch.rand(num_samples, 2, generator=generator)
        negative = torch.rand(num_samples, 2, generator=generator) < 0.5
        happens = draw <= probabilities[chosen]
        numbers = self._space.number(names[chosen], magnitudes[chosen], negative)
        return torch.where(happens, numbers, NOTHING)

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
    names = []
    magnitudes = []
    is_signed = []
    for name, (values_of, signed) in table.items():
        values = values_of(bins, size, size)
        if values is None:
            values = ()
        names.append(name)
        magnitudes.append(list(map(float, values)))
        is_signed.append(signed)
    return Space(names, magnitudes, is_signed)


@cache
def _auto_augment_policies(policy: str) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs of operations of a policy.

    The table is private to torchvision (checked with version 0.29).

    Returns:
        Indices of the names, probabilities, and indices of the magnitudes; each of them
        ``(number of pairs, 2)``.
    """
    from torchvision.transforms import v2

    known = list(_torchvision("AutoAugment")._AUGMENTATION_SPACE)
    table = v2.AutoAugment(v2.AutoAugmentPolicy(policy))._policies
    names = []
    probabilities = []
    magnitudes = []
    for pair in table:
        for name, probability, magnitude in pair:
            names.append(known.index(name))
            probabilities.append(probability)
            magnitudes.append(magnitude or 0)
    return (
        torch.tensor(names).view(-1, 2),
        torch.tensor(probabilities).view(-1, 2),
        torch.tensor(magnitudes).view(-1, 2),
    )


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
class Erasing:
    """A random rectangle of some images becomes 0, the mean of the training part.

    Zhong et al., arXiv 1708.04896, as in torchvision's RandomErasing: the rectangle has
    0.02 to 0.33 of the area and an aspect ratio between 0.3 and 3.3. It is drawn again
    if it does not fit, and after ten attempts the image stays as it is.

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
        low, high = map(math.log, ERASED_RATIO)
        log_ratio = low + (high - low) * torch.rand(shape, generator=generator)
        ratio = torch.exp(log_ratio)
        height = (area * ratio).sqrt()
        width = (area / ratio).sqrt()
        sides = torch.stack([height, width], 2)
        sides = (sides * self.size).round().long()

        fits = (sides < self.size).all(2)
        happens = torch.rand(num_samples, generator=generator) < self.share
        is_erased = happens & fits.any(1)
        sides = torch.where(is_erased[:, None], first_that_fits(sides, fits), 0)
        position = torch.rand(num_samples, 2, generator=generator)
        corner = (position * (self.size - sides + 1)).long()
        return {"erased": torch.cat([corner, sides], 1)}

    def apply(self, pixels: Tensor, draws: Draws) -> Tensor:
        """Erase the rectangles of normalized images."""
        row, column, height, width = draws["erased"].unbind(1)
        steps = torch.arange(self.size, device=pixels.device)
        in_rows = _between(steps, row, height)
        in_columns = _between(steps, column, width)
        erased = in_rows[:, :, None] & in_columns[:, None, :]
        return pixels.masked_fill(erased[:, None], 0.0)


def first_that_fits(sides: Tensor, fits: Tensor) -> Tensor:
    """The sides ``(N, 2)`` of the first attempt that fits; of none, the first attempt.

    Args:
        sides: height and width of each attempt ``(N, attempts, 2)``.
        fits: bool ``(N, attempts)``.
    """
    first = fits.int().argmax(1)
    samples = torch.arange(len(sides))
    return sides[samples, first]


def _between(steps: Tensor, start: Tensor, length: Tensor) -> Tensor:
    """Which steps ``(S,)`` lie in each range, bool ``(N, S)``."""
    end = start + length
    return (steps >= start[:, None]) & (steps < end[:, None])


def draw_all(
    changes: Iterable[Change], num_samples: int, generator: torch.Generator
) -> Draws:
    """The random numbers of several changes."""
    draws: Draws = {}
    for change in changes:
        draws |= change.draw(num_samples, generator)
    return draws
