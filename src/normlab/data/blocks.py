"""Epochs as blocks of several batches: gathered and transformed at once, from tensors in memory.

A framework pays a fixed price every time it asks for data and calls its hooks. Handing it several batches at a
time divides that price, and one gather and one transform a block are cheaper than one a batch.

Shapes: N samples of a part, B samples a batch, K batches a block.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from normlab.streams import torch_generator

MAX_BATCHES_A_BLOCK = 50
BLOCK_BYTES = 8 * 2**20  # what a processor's cache holds
DEVICE_BLOCK_BYTES = (
    256 * 2**20
)  # other devices have no such cache, and every block ends with waiting for them
EVALUATION_BLOCK_BYTES = 32 * 2**20


class Transform(Protocol):
    """Turns stored samples into what the network reads; random draws are made for a whole epoch at once."""

    def draw(
        self, num_samples: int, generator: torch.Generator
    ) -> dict[str, Tensor]: ...
    def train(self, inputs: Tensor, draws: dict[str, Tensor]) -> Tensor: ...
    def evaluate(self, inputs: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Part:
    """The samples of one part (train, validation, test) as rows of stored tensors.

    Attributes:
        inputs: ``(M, ...)``, shared between parts; only `rows` of it belong to this one.
        targets: ``(M,)``.
        rows: int64 ``(N,)``, the samples of this part.
        transform: what happens to a batch before the network sees it.
        channels_last: the network gets images ``(B, C, S, S)`` with the channels of a pixel side by side in memory.
    """

    inputs: Tensor
    targets: Tensor
    rows: Tensor
    transform: Transform
    channels_last: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    def to(self, device: torch.device) -> "Part":
        """The same part with its tensors on `device`; nothing is copied where they are there already."""
        return self.moved(lambda tensor: tensor.to(device))

    def moved(self, move: Callable[[Tensor], Tensor]) -> "Part":
        """The same part with what `move` makes of its tensors."""
        return replace(
            self,
            inputs=move(self.inputs),
            targets=move(self.targets),
            rows=move(self.rows),
        )

    def training_inputs(self, rows: Tensor, draws: dict[str, Tensor]) -> Tensor:
        """What the network gets in training of the stored samples `rows`; `draws` has a row for each."""
        return self._ordered(self.transform.train(self._stored(rows), draws))

    def evaluation_inputs(self, rows: Tensor) -> Tensor:
        """What the network gets in evaluation of the stored samples `rows`."""
        return self._ordered(self.transform.evaluate(self._stored(rows)))

    def _stored(self, rows: Tensor) -> Tensor:
        # Copies whole samples; indexing with [rows] goes value by value, which takes many times as long for bytes.
        return self.inputs.index_select(0, rows)

    def _ordered(self, inputs: Tensor) -> Tensor:
        # Convolutions whose weights alone are channels last would reorder every batch themselves.
        return (
            inputs.to(memory_format=torch.channels_last)
            if self.channels_last and inputs.ndim == 4
            else inputs
        )


class Block(NamedTuple):
    """Consecutive batches of one process.

    Attributes:
        inputs: ``(K * B, ...)`` ready for the network; the last batch may be short.
        targets: ``(K * B,)``.
        batch_size: B of this process.
        loss_scale: weight of this process' mean loss, 1 unless processes hold unequal shares of a batch.
    """

    inputs: Tensor
    targets: Tensor
    batch_size: int
    loss_scale: float = 1.0


@dataclass
class Progress:
    """How far training has come; the position from which an interrupted run goes on.

    Attributes:
        epoch: finished epochs.
        blocks: finished blocks of the running epoch.
        steps: optimizer steps since the start.
        seconds: time spent training, over all attempts.
    """

    epoch: int = 0
    blocks: int = 0
    steps: int = 0
    seconds: float = 0.0


def num_batches(num_samples: int, batch_size: int, smallest: int = 2) -> int:
    """Batches of an epoch; a last batch below `smallest` samples is left out, since batch norm cannot use it."""
    full, rest = divmod(num_samples, batch_size)
    return full + (rest >= min(smallest, batch_size))


def smallest_batch(world_size: int) -> int:
    """Samples that a last batch needs so that every process can normalize its share: two each."""
    return 2 * world_size


class TrainBlocks:
    """One training epoch after another, each a permutation that follows from seed and epoch alone.

    Iterating reads `progress`: batches that an interrupted epoch has already seen are left out, and blocks of nothing
    else come out empty. How large blocks are, then and now, does not matter.

    Args:
        part: the training part.
        batch_size: samples of one optimizer step, over all processes together.
        seed: of the order and the augmentation.
        progress: moved on by the training loop.
        max_steps: at most this many batches in a block.
        rank: of this process; it takes every `world_size`-th sample of a batch from `rank` on.
        world_size: number of processes.
    """

    def __init__(
        self,
        part: Part,
        batch_size: int,
        seed: int,
        progress: Progress,
        max_steps: int = MAX_BATCHES_A_BLOCK,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.part, self.batch_size, self.seed, self.progress = (
            part,
            batch_size,
            seed,
            progress,
        )
        self.rank, self.world_size = rank, world_size
        self.num_batches = num_batches(
            len(part), batch_size, smallest_batch(world_size)
        )
        sample = part.evaluation_inputs(part.rows[:1])
        block_bytes = BLOCK_BYTES if sample.device.type == "cpu" else DEVICE_BLOCK_BYTES
        affordable = max(1, block_bytes // (sample.nbytes * batch_size))
        # A block is one step of the distributed reducer, so several processes take one batch at a time.
        self.batches_a_block = (
            1 if world_size > 1 else min(affordable, max_steps, MAX_BATCHES_A_BLOCK)
        )

    def __len__(self) -> int:
        return -(-self.num_batches // self.batches_a_block)

    def __iter__(self) -> Iterator[Block]:
        epoch = self.progress.epoch
        seen = (self.progress.steps - epoch * self.num_batches) * self.batch_size
        order = torch.randperm(
            len(self.part), generator=torch_generator(self.seed, "order", epoch)
        )
        draws = self.part.transform.draw(
            len(self.part), torch_generator(self.seed, "augmentation", epoch)
        )
        samples = min(len(self.part), self.num_batches * self.batch_size)
        step = self.batches_a_block * self.batch_size
        for start in range(0, samples, step):
            yield self._gather(
                order[max(start, seen) : min(start + step, samples)], draws
            )

    def _gather(self, chosen: Tensor, draws: dict[str, Tensor]) -> Block:
        part, total = self.part, len(chosen)
        chosen = chosen[self.rank :: self.world_size]
        rows = part.rows[chosen.to(part.rows.device)]
        device = part.targets.device
        inputs = part.training_inputs(
            rows, {key: draw[chosen].to(device) for key, draw in draws.items()}
        )
        batch_size = len(chosen) if self.world_size > 1 else self.batch_size
        scale = len(chosen) * self.world_size / total if total else 1.0
        return Block(inputs, part.targets[rows], batch_size, scale)


class EvaluationBlocks:
    """All samples of a part once, in stored order, each on exactly one process, in as many blocks on each of them."""

    def __init__(self, part: Part, rank: int = 0, world_size: int = 1) -> None:
        self.part, self.rows = part, part.rows[rank::world_size]
        sample = part.evaluation_inputs(part.rows[:1])
        self.batch_size = max(1, min(2048, EVALUATION_BLOCK_BYTES // sample.nbytes))
        if (
            world_size > 1
        ):  # the shares differ by a sample: blocks of even size, or it could make a block of its own
            share = -(-len(part) // world_size)
            self.batch_size = -(-share // -(-share // self.batch_size))

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[Block]:
        for rows in self.rows.split(self.batch_size):
            yield Block(
                self.part.evaluation_inputs(rows),
                self.part.targets[rows],
                self.batch_size,
            )
