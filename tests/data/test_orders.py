"""Batches of two classes: every sample once, and two classes at most in a batch."""

import pytest
import torch
from omegaconf import OmegaConf

from normlab.config.identity import digest
from normlab.data.blocks import Part, Progress, TrainBlocks
from normlab.data.orders import blocked_order
from normlab.data.parts import load_parts
from normlab.data.transforms import Unchanged

COUNTS = [37, 60, 9, 3]  # samples of each class
CLASSES = torch.tensor([0] * 37 + [1] * 60 + [2] * 9 + [3] * 3)
BATCH = 8


def order(seed, classes=CLASSES):
    generator = torch.Generator().manual_seed(seed)
    return blocked_order(classes, BATCH, generator)


@pytest.mark.parametrize("seed", range(3))
def test_every_batch_has_samples_of_at_most_two_classes(seed):
    drawn = order(seed)
    assert sorted(drawn.tolist()) == list(range(len(CLASSES)))

    halves = CLASSES[drawn].split(BATCH // 2)
    num_whole = sum(count // 4 for count in COUNTS)  # 9 + 15 + 2 + 0
    whole = [half.unique().tolist() for half in halves[:num_whole]]
    assert [len(classes) for classes in whole] == [1] * 26
    assert [whole.count([number]) for number in range(4)] == [9, 15, 2, 0]
    # What remains of the classes, fewer than four samples of each, comes last.
    assert CLASSES[drawn][26 * 4 :].tolist() == [0, 2, 3, 3, 3]


def test_blocks_and_their_samples_are_shuffled():
    first, second = order(0), order(1)
    assert torch.equal(first, order(0))
    assert first.tolist() != second.tolist()
    assert CLASSES[first].tolist() != CLASSES[second].tolist()
    members = first[CLASSES[first] == 1].tolist()
    assert members != sorted(members)


def test_classes_smaller_than_half_a_batch_are_trained_too():
    classes = torch.tensor([2, 0, 0, 2, 1])
    assert classes[order(0, classes)].tolist() == [0, 0, 1, 2, 2]


def blocks(progress, max_steps=3):
    part = Part(
        inputs=torch.arange(200.0)[:, None],
        targets=torch.arange(200) % 5,
        rows=torch.arange(20, 180),
        transform=Unchanged(),
        order="blocked",
    )
    return TrainBlocks(part, BATCH, seed=4, progress=progress, max_steps=max_steps)


def batches(made):
    return [batch for block in made for batch in block.targets.split(BATCH)]


def test_an_epoch_of_training_goes_through_blocks_of_classes():
    progress = Progress()
    first = batches(blocks(progress))
    assert len(first) == 20
    assert all(len(batch.unique()) <= 2 for batch in first)
    inputs = torch.cat([block.inputs for block in blocks(progress)])
    assert sorted(inputs.flatten().tolist()) == list(range(20, 180))

    progress.epoch, progress.steps = 1, 20
    second = batches(blocks(progress))
    assert torch.cat(first).tolist() != torch.cat(second).tolist()


def test_a_resumed_epoch_goes_on_in_the_same_order():
    whole = torch.cat(batches(blocks(Progress())))
    rest = torch.cat(batches(blocks(Progress(steps=7), max_steps=2)))
    assert torch.equal(rest, whole[7 * BATCH :])


def config(compose, *overrides):
    return OmegaConf.to_container(compose(*overrides), resolve=True)


def test_the_order_of_a_configuration_reaches_training(compose):
    shuffled = config(compose, "dataset.batch_size=32")
    blocked = config(compose, "dataset.batch_size=32", "dataset.order=blocked")
    num_classes = []
    for settings in (shuffled, blocked):
        train = load_parts(settings, 8).train
        made = TrainBlocks(train, 32, seed=0, progress=Progress(), max_steps=1)
        num_classes.append([len(block.targets.unique()) for block in made])
    few = 7  # of the 36 batches, those of the remaining samples
    assert min(num_classes[0][:-few]) > 5
    assert max(num_classes[1][:-few]) == 2
    assert sum(num_classes[1][:-few]) > 1.5 * len(num_classes[1][:-few])


def test_stored_runs_without_the_key_keep_their_digests(compose):
    plain = config(compose)
    name = digest(plain)
    del plain["dataset"]["order"]
    assert digest(plain) == name
    assert digest(config(compose, "dataset.order=blocked")) != name


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["dataset.batch_size=33"], "needs an even dataset.batch_size.* got 33"),
        (["dataset=csv"], "must have classes.* got dataset.task=regression"),
    ],
)
def test_an_order_that_the_data_cannot_have_is_refused(compose, overrides, message):
    settings = config(compose, *overrides, "dataset.order=blocked")
    with pytest.raises(ValueError, match=f"dataset.order=blocked {message}"):
        load_parts(settings, 8)
