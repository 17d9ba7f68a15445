"""Mixup and CutMix of whole batches, with draws that follow from the seed alone."""

import pytest
import torch

from normlab.data.blocks import Part, Progress, TrainBlocks
from normlab.data.mixing import check_mixing, mixed
from normlab.data.transforms import Unchanged

CLASSES = 3
MIXUP = {"mixup": 1.0, "cutmix": None}
CUTMIX = {"mixup": None, "cutmix": 1.0}


def part(shape=(2, 6, 6), num_samples=10):
    """Sample i holds the number i everywhere, so that a mixture can be taken apart."""
    values = torch.arange(float(num_samples)).view(-1, *[1] * len(shape))
    inputs = values.expand(num_samples, *shape).contiguous()
    rows = torch.arange(num_samples)
    return Part(inputs, rows % CLASSES, rows, Unchanged())


def blocks(options, progress=None, shape=(2, 6, 6), max_steps=50, **arguments):
    position = progress or Progress()
    made = TrainBlocks(part(shape), 4, 7, position, max_steps=max_steps, **arguments)
    return mixed(made, options, CLASSES)


def epoch(*arguments, **options):
    """Samples and targets of one epoch, whatever the sizes of its blocks."""
    found = [one for one in blocks(*arguments, **options) if len(one.targets)]
    return (torch.cat([getattr(one, name) for one in found]) for name in Names)


Names = ("inputs", "targets")


@pytest.mark.parametrize("shape", [(2, 6, 6), (5,)])
def test_mixup_adds_the_sample_before_in_the_shares_of_the_classes(shape):
    plain, classes = epoch({}, shape=shape)
    found, shares = epoch(MIXUP, shape=shape)
    assert found.shape == plain.shape
    for start in (0, 4, 8):
        batch = slice(start, start + 4)
        here, before = plain[batch], plain[batch].roll(1, 0)
        one, other = (
            torch.eye(CLASSES)[classes[batch].roll(places)] for places in (0, 1)
        )
        # The share of the batch, from a sample whose neighbour has another class.
        differs = int((one != other).any(1).int().argmax())
        share = (shares[batch][differs] * one[differs]).sum()
        assert 0 < share < 1
        torch.testing.assert_close(found[batch], share * here + (1 - share) * before)
        torch.testing.assert_close(shares[batch], share * one + (1 - share) * other)


def test_cutmix_pastes_a_window_as_large_as_the_share_of_its_class():
    plain, classes = epoch({})
    found, shares = epoch(CUTMIX)
    own = (found == plain).double().mean((1, 2, 3))
    before = torch.cat([batch.roll(1, 0) for batch in classes.split(4)])
    one, other = torch.eye(CLASSES)[classes], torch.eye(CLASSES)[before]
    expected = own[:, None] * one + (1 - own[:, None]) * other
    torch.testing.assert_close(shares.double(), expected)
    assert 0 < own.mean() < 1


@pytest.mark.parametrize("options", [MIXUP, CUTMIX, {"mixup": 0.3, "cutmix": 1}])
def test_a_resumed_epoch_continues_with_the_same_mixtures(options):
    whole = list(epoch(options, Progress(epoch=2, steps=6)))
    torch.manual_seed(3)
    for max_steps in (1, 2):
        rest = epoch(options, Progress(epoch=2, steps=7), max_steps=max_steps)
        for found, expected in zip(rest, whole, strict=True):
            assert torch.equal(found, expected[4:])


def test_every_epoch_and_batch_draws_other_shares_and_leaves_the_generator_alone():
    before = torch.get_rng_state()
    drawn = set()
    for number in range(3):
        _, shares = epoch(MIXUP, Progress(epoch=number, steps=3 * number))
        for batch in shares.split(4):
            drawn.update(round(float(value), 6) for value in batch[(batch > 0)])
    assert len(drawn - {1.0}) >= 2 * 9 - 1
    assert torch.equal(torch.get_rng_state(), before)


def test_mixing_seeds_no_generator_of_a_gpu(monkeypatch):
    """Dropout draws there, and would draw the same masks in every epoch."""
    monkeypatch.setattr(torch, "manual_seed", pytest.fail)  # seeds all devices
    assert len(next(iter(blocks(MIXUP))).targets)


def test_accumulated_batches_are_mixed_one_by_one():
    found, shares = epoch(MIXUP, accumulate=2)
    expected, expected_shares = epoch(MIXUP)
    assert torch.equal(found, expected)
    assert torch.equal(shares, expected_shares)


def test_mixed_images_keep_their_memory_format():
    stored = part((3, 6, 6))
    train = TrainBlocks(
        Part(*(stored.inputs, stored.targets, stored.rows), Unchanged(), True),
        4,
        0,
        Progress(),
    )
    (block,) = mixed(train, CUTMIX, CLASSES)
    assert block.inputs.is_contiguous(memory_format=torch.channels_last)


def test_without_either_the_blocks_are_those_of_the_run():
    made = TrainBlocks(part(), 4, 7, Progress())
    assert mixed(made, {"mixup": None, "cutmix": None}, CLASSES) is made


def test_windows_of_tables_are_refused():
    check_mixing(CUTMIX, (1, 8, 8))
    check_mixing(MIXUP, (10,))
    message = "task.cutmix must be null for a table, which has no windows, got 1.0"
    with pytest.raises(ValueError, match=message):
        check_mixing(CUTMIX, (10,))
