"""Epochs as blocks of several batches, gathered and transformed at once.

The samples are tensors in memory, or mapped from files.

A framework pays a fixed price every time it asks for data and calls its hooks. Handing
it several batches at a time divides that price, and one gather and one transform per
block are cheaper than one per batch.

Shapes: N samples in a part, B samples in a batch, K batches in a block.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from normlab.data.batches import ceil_div, num_batches, smallest_batch
from normlab.data.mapped import gather, read_ahead, read_in_any_order
from normlab.data.orders import BLOCKED, SHUFFLED, blocked_order
from normlab.streams import torch_generator

MAX_BATCHES_PER_BLOCK = 50
BLOCK_BYTES = 8 * 2**20  # fits into the cache of a processor
# Other devices have no such cache, and every block ends with waiting for them.
DEVICE_BLOCK_BYTES = 256 * 2**20
EVALUATION_BLOCK_BYTES = 32 * 2**20
MAX_EVALUATION_BATCH = 2048


class Transform(Protocol):
    """Turns stored samples into what the network reads."""

    def draw(self, num_samples: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw the random parameters of one epoch, one row per sample."""

    def train(self, inputs: Tensor, draws: dict[str, Tensor]) -> Tensor:
        """Transform samples for training; `draws` has one row per sample."""

    def evaluate(self, inputs: Tensor) -> Tensor:
        """Transform samples for evaluation, without anything random."""


@dataclass(frozen=True)
class Part:
    """The samples of one part (train, validation, test) as rows of stored tensors.

    Attributes:
        inputs: ``(M, ...)``, stored samples that parts share. Only those in `rows`
            belong to this part.
        targets: ``(M,)``, shared in the same way.
        rows: int64 ``(N,)``, indices of the samples of this part.
        transform: what happens to samples before the network sees them.
        limit: largest number of samples of an epoch or of a scoring; None takes all.
        channels_last: whether the network gets images ``(B, C, S, S)`` with the
            channels of a pixel side by side in memory.
        on_disk: whether the inputs are mapped from a file and stay there. They are on
            the CPU then, and what is used of them goes to the device of the targets.
        order: in which training takes the samples, `shuffled` or `blocked` (see
            `blocked_order`).
    """

    inputs: Tensor
    targets: Tensor
    rows: Tensor
    transform: Transform
    channels_last: bool = False
    limit: int | None = None
    on_disk: bool = False
    order: str = SHUFFLED

    def __len__(self) -> int:
        if self.limit is None:
            return len(self.rows)
        return min(len(self.rows), self.limit)

    @property
    def num_targets(self) -> int:
        """Numbers to predict of a sample."""
        return self.targets[0].numel()

    def to(self, device: torch.device) -> "Part":
        """Return the part with its tensors on a device; those there are not copied."""
        return self.map_tensors(lambda tensor: tensor.to(device))

    def map_tensors(self, function: Callable[[Tensor], Tensor]) -> "Part":
        """Return the part with a function applied to its tensors in memory."""
        inputs = self.inputs
        if not self.on_disk:
            inputs = function(inputs)
        return replace(
            self,
            inputs=inputs,
            targets=function(self.targets),
            rows=function(self.rows),
        )

    def left_on_disk(self) -> "Part":
        """Return the part with its inputs, which are mapped, left in their file."""
        read_in_any_order(self.inputs)
        return replace(self, on_disk=True)

    def training_inputs(self, rows: Tensor, draws: dict[str, Tensor]) -> Tensor:
        """Return what the network gets of some samples in training.

        Args:
            rows: int64 ``(K * B,)``, indices of stored samples.
            draws: random parameters of the transform, one row per sample.
        """
        inputs = self.transform.train(self._stored(rows), draws)
        return self._in_memory_format(inputs)

    def evaluation_inputs(self, rows: Tensor) -> Tensor:
        """Return what the network gets of some samples in evaluation.

        Args:
            rows: int64 ``(K * B,)``, indices of stored samples.
        """
        inputs = self.transform.evaluate(self._stored(rows))
        return self._in_memory_format(inputs)

    def _stored(self, rows: Tensor) -> Tensor:
        if self.on_disk:
            read_ahead(self.inputs, rows)
            samples = gather(self.inputs, rows)
            return samples.to(self.targets.device)
        # This copies whole samples. Indexing with [rows] copies value by value, which
        # takes many times as long for bytes.
        return self.inputs.index_select(0, rows)

    def _in_memory_format(self, inputs: Tensor) -> Tensor:
        # With channels-last weights alone, convolutions would reorder every batch.
        if self.channels_last and inputs.ndim == 4:
            return inputs.to(memory_format=torch.channels_last)
        return inputs


# Number of samples that statistics of an epoch are computed from.
PROBE_SAMPLES = 256


class Block(NamedTuple):
    """Consecutive batches of one process.

    Attributes:
        inputs: ``(K * B, ...)``, ready for the network. The last batch may be smaller.
        targets: ``(K * B,)``.
        batch_size: B, the samples of an optimizer step that this process holds.
        loss_scale: factor for this process' mean loss. It is 1 unless the processes
            hold unequal shares of a batch.
        micro_batch_size: samples that go through the network at once, if the gradients
            of several forward passes are added up for a step; None if B do.
        probe: which of the samples are among those that the statistics of the epoch are
            computed from.
    """

    inputs: Tensor
    targets: Tensor
    batch_size: int
    loss_scale: float = 1.0
    micro_batch_size: int | None = None
    probe: slice = slice(0, PROBE_SAMPLES)

    def first_batches(self, number: int) -> "Block":
        """The block without what follows its first `number` batches."""
        end = number * self.batch_size
        return self._replace(inputs=self.inputs[:end], targets=self.targets[:end])


@dataclass
class Progress:
    """How far training has come: the position from which a run resumes.

    Attributes:
        epoch: number of finished epochs.
        blocks: number of finished blocks of the current epoch.
        steps: number of optimizer steps since the start.
        seconds: time spent training, over all attempts.
        processor_seconds: time that processors worked for it, over all attempts and
            processes.
        peak_memory_mib: the most memory in MiB that the processes held.
        peak_device_memory_mib: the most memory in MiB that tensors took on GPUs.
    """

    epoch: int = 0
    blocks: int = 0
    steps: int = 0
    seconds: float = 0.0
    processor_seconds: float = 0.0
    peak_memory_mib: float = 0.0
    peak_device_memory_mib: float = 0.0


class TrainBlocks:
    """The blocks of one training epoch after another.

    The order of the samples and their augmentation depend on the seed and the epoch
    alone. An iterator starts at `progress.epoch`. It leaves out batches that an
    interrupted epoch has already seen, and yields an empty block for each block that
    held no others. The interrupted run may have used blocks of another size.

    Args:
        part: the training part.
        batch_size: samples that go through the network at once, over all processes
            together.
        seed: seed of the order and the augmentation.
        progress: the position in the run, which the training loop updates.
        max_steps: largest number of optimizer steps in a block.
        rank: index of this process. It takes every `world_size`-th sample of a batch,
            starting with number `rank`.
        world_size: number of processes.
        accumulate: number of batches whose gradients are added up for one optimizer
            step. The last step of an epoch may have fewer.
        sharers: number of runs whose blocks are in memory together.
        last_step: number of optimizer steps after which the run ends within an epoch;
            None if it ends with an epoch.
    """

    def __init__(
        self,
        part: Part,
        batch_size: int,
        seed: int,
        progress: Progress,
        max_steps: int = MAX_BATCHES_PER_BLOCK,
        rank: int = 0,
        world_size: int = 1,
        accumulate: int = 1,
        last_step: int | None = None,
        sharers: int = 1,
    ) -> None:
        self.part = part
        self.batch_size = batch_size
        self.step_size = batch_size * accumulate
        self.seed = seed
        self.progress = progress
        self.rank = rank
        self.world_size = world_size
        self.last_step = last_step
        batches = num_batches(len(part), batch_size, smallest_batch(world_size))
        self.num_samples = min(len(part), batches * batch_size)
        self.num_steps = ceil_div(batches, accumulate)

        sample = part.evaluation_inputs(part.rows[:1])
        block_bytes = DEVICE_BLOCK_BYTES
        if sample.device.type == "cpu":
            block_bytes = BLOCK_BYTES
        step_bytes = sample.nbytes * self.step_size

        def affordable(num_runs: int) -> int:
            steps = max(1, block_bytes // (step_bytes * num_runs))
            return min(steps, max_steps, MAX_BATCHES_PER_BLOCK)

        self.steps_per_block = affordable(sharers)
        self.steps_per_block_alone = affordable(1)
        if world_size > 1:
            # Gradients are exchanged once per block, so a block must be one step.
            self.steps_per_block = 1

    def __len__(self) -> int:
        return ceil_div(self.num_steps, self.steps_per_block)

    def __iter__(self) -> Iterator[Block]:
        part = self.part
        epoch = self.progress.epoch
        order = self._order(epoch)
        generator = torch_generator(self.seed, "augmentation", epoch)
        draws = part.transform.draw(len(part.rows), generator)

        steps_before = epoch * self.num_steps
        seen = (self.progress.steps - steps_before) * self.step_size
        end = self.num_samples
        if self.last_step is not None:
            last = (self.last_step - steps_before) * self.step_size
            end = min(end, last)
        order = order[:end]
        size = self.steps_per_block * self.step_size
        # The first samples of the last block of a run by itself.
        size_alone = self.steps_per_block_alone * self.step_size
        probe_start = (end - 1) // size_alone * size_alone
        probe_end = probe_start + PROBE_SAMPLES
        for start in range(0, end, size):
            following = start + size
            first = max(start, seen)
            block = self._gather(order[first:following], draws)
            probe = slice(max(0, probe_start - first), max(0, probe_end - first))
            block = block._replace(probe=probe)
            if part.on_disk:
                self._read_ahead(order[max(following, seen) : following + size])
            yield block

    def _order(self, epoch: int) -> Tensor:
        """The samples of an epoch, int64 ``(N,)``, as indices into `part.rows`."""
        part = self.part
        generator = torch_generator(self.seed, "order", epoch)
        if part.order == BLOCKED:
            classes = part.targets[part.rows].cpu()
            return blocked_order(classes, self.batch_size, generator)
        return torch.randperm(len(part.rows), generator=generator)

    def _read_ahead(self, positions: Tensor) -> None:
        """Begin to read this process' share of the next samples while others train."""
        rows = self.part.rows.cpu()
        share = self._share(positions)
        read_ahead(self.part.inputs, rows[share])

    def _gather(self, positions: Tensor, draws: dict[str, Tensor]) -> Block:
        """Gather and transform this process' share of some samples.

        Args:
            positions: int64 ``(K * B,)``, samples of all processes, as indices into
                `part.rows`.
            draws: random parameters of the whole epoch, one row per sample of the part.
        """
        part = self.part
        share = self._share(positions)
        rows = part.rows[share.to(part.rows.device)]
        share_draws = {}
        for name, draw in draws.items():
            share_draws[name] = draw[share].to(part.targets.device)
        inputs = part.training_inputs(rows, share_draws)

        step_size = self.step_size
        loss_scale = 1.0
        if self.world_size > 1:
            step_size = len(share)  # the block is one step, divided among processes
        if len(positions):
            loss_scale = len(share) * self.world_size / len(positions)
        micro_batch_size = None
        if self.step_size > self.batch_size:
            first_batch = positions[: self.batch_size]
            micro_batch_size = len(self._share(first_batch))
        targets = part.targets[rows]
        return Block(inputs, targets, step_size, loss_scale, micro_batch_size)

    def _share(self, positions: Tensor) -> Tensor:
        """This process' samples of every batch, one batch after the other."""
        if self.world_size == 1:
            return positions
        shares = []
        for batch in positions.split(self.batch_size):
            shares.append(batch[self.rank :: self.world_size])
        return torch.cat(shares)


class EvaluationBlocks:
    """All samples of a part once, in stored order.

    With several processes, each sample is on exactly one of them, and all of them get
    the same number of blocks.

    Args:
        part: the part to evaluate.
        rank: index of this process.
        world_size: number of processes.

    Attributes:
        rows: indices of the samples of this process.
        batch_size: samples in a block.
        bytes: of all inputs, as the network gets them.
    """

    def __init__(self, part: Part, rank: int = 0, world_size: int = 1) -> None:
        self.part = part
        rows = spread(part.rows, part.limit)
        self.rows = rows[rank::world_size]
        sample = part.evaluation_inputs(part.rows[:1])
        self.bytes = sample.nbytes * len(self.rows)
        affordable = EVALUATION_BLOCK_BYTES // sample.nbytes
        self.batch_size = max(1, min(MAX_EVALUATION_BATCH, affordable))
        # The shares of several processes differ by up to one sample. They are divided
        # into as many blocks each, since processes wait for each other in every block.
        largest_share = ceil_div(len(rows), world_size)
        smallest_share = len(rows) // world_size
        num_blocks = ceil_div(largest_share, self.batch_size)
        self._num_blocks = max(1, min(num_blocks, smallest_share))
        if world_size > 1:
            self.batch_size = ceil_div(largest_share, self._num_blocks)

    def __len__(self) -> int:
        return self._num_blocks

    def __iter__(self) -> Iterator[Block]:
        divided = self.rows.split(self.batch_size)
        if len(divided) < self._num_blocks:
            divided = self.rows.tensor_split(self._num_blocks)
        for rows in divided:
            inputs = self.part.evaluation_inputs(rows)
            targets = self.part.targets[rows]
            yield Block(inputs, targets, self.batch_size)


def spread(rows: Tensor, limit: int | None) -> Tensor:
    """At most `limit` rows, spread evenly over all of them; None keeps all.

    Files are often sorted by class, so that the first rows would lack classes.
    """
    if limit is None or len(rows) <= limit:
        return rows
    return rows[torch.arange(limit) * len(rows) // limit]
