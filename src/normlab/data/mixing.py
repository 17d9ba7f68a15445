"""Mixup and CutMix: training batches whose samples are made of two.

Shapes: B samples in a batch, K batches in a block, C classes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from normlab.data.blocks import Block, TrainBlocks
from normlab.streams import stream_seed

Mix = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class MixedBlocks:
    """Training blocks whose batches are mixed, on the device where they are.

    Every sample of a batch is mixed with the one before it; batches are shuffled, so
    that pairs are random. The random numbers of a batch follow from the seed, the epoch
    and its place in the epoch alone. A resumed run draws the same, and so do runs that
    differ in the norm.

    Attributes:
        blocks: of samples ``(K * B, ...)`` and classes ``(K * B,)``. The classes become
            shares of classes ``(K * B, C)``; the memory format of the samples stays.
        mix: a transform of torchvision for a batch of images and its classes.
    """

    blocks: TrainBlocks
    mix: Mix

    def __len__(self) -> int:
        return len(self.blocks)

    def __iter__(self) -> Iterator[Block]:
        blocks = self.blocks
        epoch = blocks.progress.epoch
        seen = blocks.progress.steps - epoch * blocks.num_steps
        accumulate = blocks.step_size // blocks.batch_size
        for index, block in enumerate(blocks):
            first_step = max(index * blocks.steps_per_block, seen)
            yield self._mixed(block, epoch, first_step * accumulate)

    def _mixed(self, block: Block, epoch: int, first: int) -> Block:
        """Mix the batches of a block, of which the first has a number in the epoch."""
        size = block.micro_batch_size or block.batch_size
        if len(block.targets) == 0:
            return block
        mixed = torch.empty_like(block.inputs)
        shares = []
        batches = zip(
            block.inputs.split(size),
            block.targets.split(size),
            mixed.split(size),
            strict=True,
        )
        # The transforms draw from the default generator of the CPU.
        with torch.random.fork_rng(devices=[]):
            for number, (inputs, classes, place) in enumerate(batches, first):
                seed = stream_seed(self.blocks.seed, "mixing", epoch, number)
                torch.default_generator.manual_seed(seed)
                images = inputs
                if inputs.ndim != 4:  # rows of a table as images of one pixel
                    images = inputs[..., None, None]
                images, share = self.mix(images, classes)
                place.copy_(images.view_as(inputs))
                shares.append(share)
        return block._replace(inputs=mixed, targets=torch.cat(shares))


def is_mixed(options: dict[str, Any]) -> bool:
    """Whether the `task` group of a resolved configuration asks for mixed samples."""
    return bool(options.get("mixup") or options.get("cutmix"))


def mixed(
    blocks: TrainBlocks, options: dict[str, Any], num_classes: int
) -> TrainBlocks | MixedBlocks:
    """The blocks of a run, mixed if its configuration asks for it.

    With mixup and CutMix, each batch gets one of them at random, as in torchvision's
    own training.

    Args:
        blocks: the blocks of training.
        options: the `task` group of a resolved configuration.
        num_classes: C.
    """
    if not is_mixed(options):
        return blocks
    # Imported here, since most runs need neither.
    from torchvision.transforms import v2

    kinds = {"mixup": v2.MixUp, "cutmix": v2.CutMix}
    transforms: list[nn.Module] = []
    for name, kind in kinds.items():
        alpha = options.get(name)
        if alpha:
            # Of a whole number, torchvision would draw nothing.
            transform = kind(alpha=float(alpha), num_classes=num_classes)
            transforms.append(transform)
    return MixedBlocks(blocks, v2.RandomChoice(transforms))


def check_mixing(options: dict[str, Any], input_shape: tuple[int, ...]) -> None:
    """Refuse windows of images for tables.

    Args:
        options: the `task` group of a resolved configuration.
        input_shape: shape of a sample.

    Raises:
        ValueError: says what to use.
    """
    if options.get("cutmix") and len(input_shape) == 1:
        raise ValueError(
            f"task.cutmix must be null for a table, which has no windows, got "
            f"{options['cutmix']}; task.mixup mixes whole rows"
        )
