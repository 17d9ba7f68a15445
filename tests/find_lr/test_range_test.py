"""The learning-rate range test: its rates, its losses, and the suggested rate."""

import math

import pytest
import torch
from omegaconf import OmegaConf

from normlab.data.blocks import Progress, TrainBlocks
from normlab.find_lr.range_test import (
    SMOOTHING,
    GrowingRate,
    evaluate_losses,
    geometric_rates,
    range_test,
    smooth,
)
from normlab.training.preparation import prepare

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")


@pytest.fixture
def config(compose, tmp_path):
    def make(*overrides):
        words = (
            "trainer.max_samples=160",
            "dataset.batch_size=32",
            "device.accelerator=cpu",
            "optimizer.fused=false",
            f"paths.outputs={tmp_path}",
            *overrides,
        )
        return OmegaConf.to_container(compose(*words), resolve=True)

    return make


def test_rates_grow_by_the_same_factor():
    assert geometric_rates(1e-3, 10, 5) == pytest.approx([1e-3, 1e-2, 0.1, 1, 10])


def test_the_smoothed_loss_of_a_constant_is_that_constant():
    assert smooth([2.5] * 4) == pytest.approx([2.5] * 4)
    weights = [SMOOTHING * (1 - SMOOTHING), 1 - SMOOTHING]
    mean = (weights[0] * 1 + weights[1] * 3) / sum(weights)
    assert smooth([1.0, 3.0]) == pytest.approx([1.0, mean])


def test_the_suggestion_is_where_the_loss_falls_fastest():
    rates = geometric_rates(1e-6, 10, 100)
    # A step down around 1e-2, and a steep rise at the end.
    fall = [1 / (1 + math.exp(5 * (math.log10(rate) + 2))) for rate in rates]
    losses = [
        value + 10 * max(0.0, rate - 1) for value, rate in zip(fall, rates, strict=True)
    ]
    test = evaluate_losses(rates, losses, has_diverged=True)
    # The smoothed loss is late by about ten steps of a factor of 1.18 each.
    assert 1e-2 < test.suggestion < 1e-1
    assert test.suggestion < test.lowest < 2


def test_nothing_is_suggested_if_the_loss_falls_nowhere():
    rates = geometric_rates(1e-6, 10, 20)
    rising = [float(index) for index in range(20)]
    test = evaluate_losses(rates, rising, has_diverged=True)
    assert (test.suggestion, test.lowest) == (None, rates[0])
    with pytest.raises(ValueError, match=r"diverged after 3 steps, at the rate .*e-05"):
        evaluate_losses(rates, [1.0, 2.0, 3.0], has_diverged=True)


def plain_losses(settings, rates):
    """The losses of plain PyTorch with these rates, over the batches of training."""
    prepared = prepare(settings)
    network = prepared.task.network.train()
    optimizer = prepared.task.build_optimizer(network)
    progress = Progress()
    size = settings["dataset"]["batch_size"]
    blocks = TrainBlocks(prepared.parts.train, size, settings["seed"], progress, 1)
    losses = []
    while True:
        for block in blocks:
            if len(losses) == len(rates):
                return losses
            for group in optimizer.param_groups:
                group["lr"] = rates[len(losses)]
            loss = torch.nn.functional.cross_entropy(
                network(block.inputs), block.targets
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
            progress.steps += 1
        progress.epoch += 1


def test_the_losses_are_those_of_training_with_growing_rates(config, tmp_path):
    settings = config("scheduler=cosine")
    before = torch.get_rng_state()
    test = range_test(settings, 1e-4, 0.1, 12)
    assert torch.get_rng_state().equal(before)
    assert test.rates == geometric_rates(1e-4, 0.1, 12)
    assert test.losses == pytest.approx(plain_losses(settings, test.rates), rel=1e-4)
    assert test.has_diverged is False
    assert list(tmp_path.iterdir()) == []  # no run, no logs


def test_a_loss_that_grows_ends_the_test(config):
    test = range_test(config("norm=none"), 1e-2, 1e6, 40)
    assert test.has_diverged
    assert 10 <= len(test.losses) < 40
    assert len(test.rates) == len(test.smoothed) == len(test.losses)


def test_groups_keep_the_ratio_of_their_rates():
    growth = GrowingRate([0.5, 1.0], base=0.1)
    groups = [{"lr": 0.1}, {"lr": 0.02}]
    optimizer = type("Optimizer", (), {"param_groups": groups})
    trainer = type("Trainer", (), {"optimizers": [optimizer], "should_stop": False})
    growth.on_train_start(trainer, None)
    growth.on_train_batch_start(trainer, None, None, 0)
    assert [group["lr"] for group in groups] == pytest.approx([0.5, 0.1])
    growth.on_train_batch_end(trainer, None, {"loss": torch.tensor(2.0)}, None, 0)
    growth.on_train_batch_start(trainer, None, None, 1)
    assert [group["lr"] for group in groups] == pytest.approx([1.0, 0.2])
    growth.on_train_batch_end(trainer, None, {"loss": torch.tensor(1.0)}, None, 1)
    assert (growth.losses, trainer.should_stop) == ([2.0, 1.0], True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.0, 0.1, 20), "lowest must be above 0 and below highest, got 1 and 0.1"),
        ((0.0, 0.1, 20), "lowest must be above 0"),
        ((0.1, 1.0, 9), "steps must be at least 10, got 9"),
    ],
)
def test_a_test_that_shows_nothing_is_refused(config, arguments, message):
    with pytest.raises(ValueError, match=message):
        range_test(config(), *arguments)
    with pytest.raises(ValueError, match="must have a learning rate"):
        range_test(config() | {"optimizer": {"lr": None}})
