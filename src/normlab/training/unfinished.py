"""A block of batches that a signal stopped in the middle.

The scores of a block are computed from all its batches at once. A run that stops within
a block therefore stores the losses and predictions of the batches that it has made. The
resumed run gets the whole block again, leaves out these batches, and ends in the same
bits as an uninterrupted one.

Shapes: B samples in a batch, K batches that were made.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from normlab.data.batches import ceil_div
from normlab.data.blocks import Block


class UnfinishedBlock(NamedTuple):
    """The batches of a block that were made before a signal.

    Attributes:
        losses: mean loss of every batch ``(K,)``.
        predictions: predictions of their samples ``(K * B, num_outputs)``.
    """

    losses: Tensor
    predictions: Tensor

    def split(self, batch_size: int, num_samples: int) -> tuple[Any, Any]:
        """Divide it into the batches of the next block and those of later blocks.

        A resumed run may use smaller blocks than the interrupted one.

        Args:
            batch_size: B.
            num_samples: number of samples in the next block.

        Returns:
            two blocks; the second is None if nothing is left for it.
        """
        num_batches = ceil_div(num_samples, batch_size)
        first = UnfinishedBlock(
            self.losses[:num_batches], self.predictions[:num_samples]
        )
        if len(self.losses) <= num_batches:
            return first, None
        rest = UnfinishedBlock(
            self.losses[num_batches:], self.predictions[num_samples:]
        )
        return first, rest


def made_batches(
    unfinished: UnfinishedBlock | None, block: Block
) -> tuple[list[Tensor], list[Tensor], UnfinishedBlock | None]:
    """Losses and predictions of the batches of a block that are made already.

    Returns:
        both, and what is left for later blocks.
    """
    if unfinished is None:
        return [], [], None
    made, rest = unfinished.split(block.batch_size, len(block.targets))
    return list(made.losses), [made.predictions], rest


def stored_block(block: UnfinishedBlock | None) -> dict[str, Any]:
    """What a checkpoint holds of an unfinished block: nothing if there is none."""
    if block is None:
        return {}
    return {"unfinished_block": block._asdict()}


def restored_block(
    state: dict[str, Any], device: torch.device
) -> UnfinishedBlock | None:
    """The unfinished block of a checkpoint, on a device; None if it has none."""
    stored = state.get("unfinished_block")
    if stored is None:
        return None
    losses = stored["losses"].to(device)
    return UnfinishedBlock(losses, stored["predictions"].to(device))
