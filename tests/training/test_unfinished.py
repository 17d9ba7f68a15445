import torch

from normlab.data.blocks import Block
from normlab.training.unfinished import (
    UnfinishedBlock,
    made_batches,
    restored_block,
    stored_block,
)


def block(num_batches, batch_size=4):
    predictions = torch.arange(float(num_batches * batch_size))[:, None]
    return UnfinishedBlock(torch.arange(float(num_batches)), predictions)


def test_a_block_that_holds_all_batches_takes_them():
    first, rest = block(2).split(batch_size=4, num_samples=10)
    assert torch.equal(first.losses, torch.tensor([0.0, 1.0]))
    assert len(first.predictions) == 8
    assert rest is None


def test_smaller_blocks_take_their_own_batches():
    first, rest = block(3).split(batch_size=4, num_samples=8)
    assert first.losses.tolist() == [0.0, 1.0]
    assert first.predictions.flatten().tolist() == list(range(8))
    assert rest.losses.tolist() == [2.0]
    assert rest.predictions.flatten().tolist() == [8, 9, 10, 11]


def test_a_block_begins_with_the_batches_that_were_made():
    whole = Block(torch.zeros(8, 1), torch.zeros(8), 4)
    losses, predictions, rest = made_batches(block(3), whole)
    assert losses == [0.0, 1.0]
    assert torch.cat(predictions).flatten().tolist() == list(range(8))
    assert rest.losses.tolist() == [2.0]
    assert made_batches(None, whole) == ([], [], None)


def test_a_checkpoint_without_an_unfinished_block_holds_nothing_more():
    assert stored_block(None) == {}
    assert restored_block({}, torch.device("cpu")) is None


def test_a_stored_block_comes_back():
    made = block(2)
    back = restored_block(stored_block(made), torch.device("cpu"))
    assert torch.equal(back.losses, made.losses)
    assert torch.equal(back.predictions, made.predictions)
