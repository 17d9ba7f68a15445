from dataclasses import replace

import pytest
import torch

from normlab.data.blocks import Block, EvaluationBlocks, Part, Progress, TrainBlocks
from normlab.data.transforms import ImageTransform


class Unchanged:
    """Adds one random number per sample, so that augmentation can be followed."""

    def draw(self, num_samples, generator):
        return {"shift": torch.rand(num_samples, generator=generator)}

    def train(self, inputs, draws):
        return inputs + draws["shift"][:, None]

    def evaluate(self, inputs):
        return inputs


def part(num_samples, first=0):
    inputs = torch.arange(100.0)[:, None]
    return Part(
        inputs, torch.arange(100), torch.arange(first, first + num_samples), Unchanged()
    )


def epoch(blocks):
    return [block for block in blocks if len(block.targets)]


def targets(blocks):
    return torch.cat([block.targets for block in epoch(blocks)]).tolist()


def test_every_epoch_has_every_sample_once_in_another_order():
    progress = Progress()
    blocks = TrainBlocks(part(50, first=20), 8, seed=0, progress=progress)
    first = targets(blocks)
    assert sorted(first) == list(range(20, 70))
    assert targets(blocks) == first
    progress.epoch = 1
    assert sorted(targets(blocks)) == sorted(first)
    assert targets(blocks) != first


def test_the_order_depends_only_on_seed_and_epoch():
    few = targets(TrainBlocks(part(50), 8, seed=3, progress=Progress(), max_steps=1))
    many = targets(TrainBlocks(part(50), 8, seed=3, progress=Progress(), max_steps=5))
    assert few == many
    assert few != targets(TrainBlocks(part(50), 8, seed=4, progress=Progress()))


def test_blocks_hold_whole_batches():
    blocks = TrainBlocks(part(50), 8, seed=0, progress=Progress(), max_steps=3)
    assert len(blocks) == 3
    assert [len(block.targets) for block in blocks] == [24, 24, 2]
    assert {block.batch_size for block in blocks} == {8}


@pytest.mark.parametrize(
    ("epoch", "max_steps", "sizes"),
    [(0, 2, [0, 0, 16, 2]), (0, 3, [0, 16, 2]), (0, 50, [18]), (3, 2, [0, 0, 16, 2])],
)
def test_a_resumed_epoch_yields_the_rest_unchanged(epoch, max_steps, sizes):
    """Four of seven batches were seen; blocks may have another size than before."""
    whole = list(
        TrainBlocks(part(50), 8, seed=0, progress=Progress(epoch), max_steps=2)
    )
    seen = Progress(epoch, blocks=2, steps=7 * epoch + 4)
    rest = list(TrainBlocks(part(50), 8, seed=0, progress=seen, max_steps=max_steps))
    assert [len(block.targets) for block in rest] == sizes
    assert torch.equal(
        torch.cat([block.inputs for block in whole[2:]]),
        torch.cat([block.inputs for block in rest]),
    )


def test_blocks_are_larger_on_other_devices_than_the_cpu():
    images = Part(
        torch.zeros(4000, 3, 32, 32),
        torch.zeros(4000),
        torch.arange(4000),
        ImageTransform((0,), (1,), 32),
    )
    assert (
        TrainBlocks(images, 512, 0, Progress()).steps_per_block == 1
    )  # a batch is 6 MiB
    assert (
        TrainBlocks(images.to(torch.device("meta")), 512, 0, Progress()).steps_per_block
        == 42
    )


def test_images_are_channels_last_if_asked_for():
    """The values stay. Two channels, since for one both memory formats are the same."""
    images = torch.arange(5 * 2 * 3 * 3, dtype=torch.uint8).view(5, 2, 3, 3)
    plain = Part(
        images,
        torch.arange(5),
        torch.arange(5),
        ImageTransform((0.0, 0.0), (1.0, 1.0), 3),
    )
    last = replace(plain, channels_last=True)
    for blocks in (lambda part: TrainBlocks(part, 2, 0, Progress()), EvaluationBlocks):
        (ordered,), (given,) = blocks(last), blocks(plain)
        assert all(
            each.is_contiguous(memory_format=torch.channels_last)
            for each in ordered.inputs.split(2)
        )
        assert not given.inputs.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(ordered.inputs, given.inputs)
    assert next(
        iter(EvaluationBlocks(replace(part(3), channels_last=True)))
    ).inputs.tolist() == [[0], [1], [2]]


def test_processes_share_every_batch():
    ranks = [
        TrainBlocks(part(21), 8, 0, Progress(), rank=rank, world_size=2)
        for rank in (0, 1)
    ]
    assert sorted(targets(ranks[0]) + targets(ranks[1])) == list(range(21))
    last = [list(blocks)[-1] for blocks in ranks]
    assert [len(block.targets) for block in last] == [3, 2]
    assert [block.loss_scale for block in last] == [
        pytest.approx(6 / 5),
        pytest.approx(4 / 5),
    ]


@pytest.mark.parametrize(("samples", "batches"), [(16, 2), (17, 2), (19, 2), (20, 3)])
def test_no_process_gets_a_batch_of_one(samples, batches):
    ranks = [
        list(TrainBlocks(part(samples), 8, 0, Progress(), rank=rank, world_size=2))
        for rank in (0, 1)
    ]
    assert [len(blocks) for blocks in ranks] == [batches, batches]
    assert min(len(block.targets) for blocks in ranks for block in blocks) >= 2


@pytest.mark.parametrize(
    ("samples", "sizes"),
    [(24, [8, 8, 8]), (22, [8, 8, 6]), (21, [8, 8, 4]), (17, [8, 8]), (3, [3])],
)
def test_steps_hold_whole_batches_of_the_same_epoch(samples, sizes):
    """A last batch of one sample is left out, whatever the size of a step."""
    options = {"seed": 0, "progress": Progress()}
    blocks = TrainBlocks(part(samples), 4, **options, max_steps=1, accumulate=2)
    assert len(blocks) == blocks.num_steps == len(sizes)
    assert [len(block.targets) for block in blocks] == sizes
    for block in blocks:
        assert block.batch_size == 8
        assert block.micro_batch_size == min(4, samples)
    assert targets(blocks) == targets(TrainBlocks(part(samples), 4, **options))


def test_processes_share_every_batch_of_a_step():
    ranks = [
        TrainBlocks(part(22), 6, 0, Progress(), rank=rank, world_size=2, accumulate=2)
        for rank in (0, 1)
    ]
    whole = torch.tensor(targets(TrainBlocks(part(22), 6, 0, Progress())))
    first = [next(iter(blocks)) for blocks in ranks]
    assert [block.micro_batch_size for block in first] == [3, 3]
    for rank in (0, 1):
        shares = [batch[rank::2] for batch in whole[:12].split(6)]
        assert torch.equal(first[rank].targets, torch.cat(shares))
    assert sorted(targets(ranks[0]) + targets(ranks[1])) == list(range(22))


@pytest.mark.parametrize(
    ("epoch", "steps", "sizes"), [(0, 0, [24, 24, 2]), (1, 7, [24, 8]), (1, 9, [8, 8])]
)
def test_the_last_step_of_a_run_may_come_within_an_epoch(epoch, steps, sizes):
    progress = Progress(epoch, steps=steps)
    blocks = TrainBlocks(part(50), 8, 0, progress, max_steps=3, last_step=11)
    held = [len(block.targets) for block in blocks]
    assert [size for size in held if size] == sizes


def test_a_block_can_end_before_its_time():
    block = Block(torch.arange(10.0)[:, None], torch.arange(10), 4, 0.5, 2)
    assert block.first_batches(2).targets.tolist() == list(range(8))
    assert block.first_batches(2).inputs.flatten().tolist() == list(range(8))
    assert block.first_batches(3).targets.tolist() == list(range(10))
    assert block.first_batches(1)[2:5] == (4, 0.5, 2)


def test_evaluation_sees_every_sample_on_one_process():
    seen = [targets(EvaluationBlocks(part(21), rank, 2)) for rank in (0, 1)]
    assert seen[0] == list(range(0, 21, 2))
    assert sorted(seen[0] + seen[1]) == list(range(21))


def test_processes_evaluate_the_same_number_of_blocks(monkeypatch):
    """Shares of nine and eight samples, at most eight per block: two blocks each."""
    monkeypatch.setattr("normlab.data.blocks.EVALUATION_BLOCK_BYTES", 8 * 4)
    sizes = [
        [len(block.targets) for block in EvaluationBlocks(part(17), rank, 2)]
        for rank in (0, 1)
    ]
    assert sizes == [[5, 4], [5, 3]]
    assert [len(EvaluationBlocks(part(17), rank, 2)) for rank in (0, 1)] == [2, 2]
    assert [len(block.targets) for block in EvaluationBlocks(part(17))] == [8, 8, 1]


@pytest.mark.parametrize(
    ("samples", "sizes"),
    [(9, ([2, 2, 1], [2, 1, 1])), (3, ([2], [1])), (2, ([1], [1]))],
)
def test_blocks_of_several_processes_may_differ_in_size(monkeypatch, samples, sizes):
    """At most two samples per block, unless there would be a block without any."""
    monkeypatch.setattr("normlab.data.blocks.EVALUATION_BLOCK_BYTES", 2 * 4)
    for rank in (0, 1):
        blocks = EvaluationBlocks(part(samples), rank, 2)
        assert [len(block.targets) for block in blocks] == sizes[rank]
        assert len(blocks) == len(sizes[rank])
