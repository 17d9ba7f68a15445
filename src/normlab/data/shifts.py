"""Data whose images are corrupted before the network sees them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace

import torch
from torch import Generator, Tensor

from normlab.data.blocks import Part
from normlab.data.corruptions import CORRUPTIONS, LEFT_OUT, SHORT_NAMES
from normlab.data.parts import Parts
from normlab.data.transforms import PIXEL_RANGE, ImageTransform
from normlab.spelling import did_you_mean
from normlab.streams import torch_generator

NO_SHIFT = "none"
SEVERITIES = ("1", "2", "3", "4", "5")
IMAGE_CHANNELS = (1, 3)


@dataclass(frozen=True)
class Shift:
    """A corruption at one of its severities.

    Attributes:
        name: of a corruption in `normlab.data.corruptions`.
        severity: 1 to 5.
    """

    name: str
    severity: int

    def apply(self, images: Tensor, generators: Iterable[Generator]) -> Tensor:
        """Corrupt images.

        Args:
            images: uint8 ``(N, C, H, W)``.
            generators: of the random numbers of each image.

        Returns:
            float32 ``(N, C, H, W)`` from 0 to 255, not rounded.
        """
        corruption = CORRUPTIONS[self.name]
        constant = corruption.severities.constant(self.severity, max(images.shape[-2:]))
        pixels = images.float() / PIXEL_RANGE
        corrupted = corruption.corrupt(pixels, constant, generators)
        return corrupted.clamp(0, 1) * PIXEL_RANGE


def parse_shift(text: str) -> Shift | None:
    """Read a shift such as `brightness:3`; `none` is None.

    Raises:
        ValueError: there is no such corruption or severity.
    """
    if text == NO_SHIFT:
        return None
    given, _, severity = text.partition(":")
    name = SHORT_NAMES.get(given, given)
    if name in LEFT_OUT:
        raise ValueError(f"shift must not be {name}: {LEFT_OUT[name]}")
    known = [*CORRUPTIONS, *SHORT_NAMES]
    if name not in CORRUPTIONS:
        hint = did_you_mean(given, known) or f"; known are {', '.join(known)}"
        raise ValueError(f"shift must name a corruption, got {given!r}{hint}")
    if severity not in SEVERITIES:
        raise ValueError(
            f"shift must end in a severity from 1 to 5, as in {given}:3, got {text!r}"
        )
    return Shift(name, int(severity))


@dataclass(frozen=True)
class ShiftedPart(Part):
    """A part whose images are corrupted whenever it is evaluated.

    The random numbers of an image depend on the seed, the part and the row of the image
    alone, and not on the batch that it is in.

    Attributes:
        shift: what happens to the stored images, before they are resized and
            normalized.
        seed: of the random numbers.
        name: of the part.
    """

    shift: Shift = Shift("contrast", 1)
    seed: int = 0
    name: str = "test"

    def evaluation_inputs(self, rows: Tensor) -> Tensor:
        """Return what the network gets of some samples in evaluation.

        Args:
            rows: int64 ``(K * B,)``, indices of stored samples.
        """
        images = self.shift.apply(self._stored(rows), self._generators(rows))
        return self._in_memory_format(self.transform.evaluate(images))

    def _generators(self, rows: Tensor) -> Iterator[Generator]:
        stream = f"{self.shift.name} of {self.name}"
        for row in rows.tolist():
            yield torch_generator(self.seed, stream, row)


def shifted_parts(parts: Parts, shift: Shift, seed: int) -> Parts:
    """Corrupt the images of all parts when they are evaluated.

    Args:
        parts: the data, which stay as they are stored.
        shift: the corruption.
        seed: of its random numbers.

    Raises:
        ValueError: the data are no images with 1 or 3 channels, stored as bytes, or
            they are grey and the corruption needs colours.
    """
    _check_images(parts.test)
    _check_colours(parts.test, shift)
    own = [field.name for field in fields(Part)]
    changed = {}
    for name, part in parts.by_name.items():
        values = {key: getattr(part, key) for key in own}
        changed[name] = ShiftedPart(**values, shift=shift, seed=seed, name=name)
    return replace(
        parts,
        train=changed["train"],
        validation=changed["val"],
        test=changed["test"],
    )


def _check_images(part: Part) -> None:
    inputs = part.inputs
    are_bytes = inputs.dtype == torch.uint8 and inputs.ndim == 4
    is_known = are_bytes and inputs.shape[1] in IMAGE_CHANNELS
    if not is_known or not isinstance(part.transform, ImageTransform):
        raise ValueError(
            "shift must act on images with 1 or 3 channels that are stored as bytes "
            f"(uint8), the data hold {inputs.dtype} of shape {tuple(inputs.shape[1:])}"
        )


def _check_colours(part: Part, shift: Shift) -> None:
    if CORRUPTIONS[shift.name].needs_colours and part.inputs.shape[1] == 1:
        raise ValueError(
            f"shift must act on images with 3 channels if it is {shift.name}, which "
            f"changes colours only; the images of these data have 1"
        )
