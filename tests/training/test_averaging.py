"""Averages of weights with statistics of their own, against plain means."""

import copy
import csv
from functools import partial

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from normlab.config.identity import run_folder
from normlab.config.targets import build
from normlab.data.blocks import Block
from normlab.endings import Interrupted
from normlab.evaluation.evaluate import evaluate_run
from normlab.training.averaging import (
    Averaging,
    average_of,
    build_averaging,
    check_averaging,
    ema_share,
    swa_share,
    swa_start,
    take_over,
)
from normlab.training.checkpoint_files import load
from normlab.training.experiment import run
from training.kills import kill_after

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")

RUNNING = ["custom", "torch", "ghost", "batch_renorm", "noisy_batch"]


@pytest.fixture
def config(compose, tmp_path):
    def make(*overrides, outputs="outputs"):
        words = (
            "progress=false",
            "trainer.max_epochs=4",
            f"paths.outputs={tmp_path / outputs}",
            *overrides,
        )
        return OmegaConf.to_container(compose(*words), resolve=True)

    return make


def batches():
    generator = torch.Generator().manual_seed(1)
    return [
        Block(torch.randn(8, 2, generator=generator), torch.zeros(8), 8)
        for _ in range(3)
    ]


def move(network, value):
    """Set all weights of a network to one value."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(value)


def test_the_share_of_new_weights_falls_to_that_of_the_decay():
    shares = [ema_share(count, decay=0.9) for count in (1, 8, 80, 81, 1000)]
    assert shares == pytest.approx([9 / 11, 0.5, 0.1, 0.1, 0.1])
    assert [swa_share(count) for count in (1, 2, 4)] == pytest.approx([0.5, 1 / 3, 0.2])


@pytest.mark.parametrize(
    ("start", "epochs", "first"),
    [(0.75, 10, 8), (0.75, 4, 4), (0.01, 9, 1), (0.99, 2, 2)],
)
def test_swa_starts_after_a_share_of_the_epochs(start, epochs, first):
    assert swa_start(start, epochs) == first


def test_an_average_over_steps_is_exponential():
    network = nn.Linear(2, 1)
    average = Averaging(
        network, partial(ema_share, decay=0.4), batches, every_step=True
    )
    assert average.network is network
    for value in (1.0, 2.0, 4.0):
        move(network, value)
        average.after_step()
    # The shares are 1, 9 / 11 and 3 / 4.
    expected = 0.25 * (2 / 11 * 1.0 + 9 / 11 * 2.0) + 0.75 * 4.0
    assert average.network.bias.item() == pytest.approx(expected)
    assert network.bias.item() == 4.0
    assert not average.network.bias.requires_grad


def test_an_average_over_epochs_is_the_mean_of_the_last_ones():
    network = nn.Linear(2, 1)
    average = Averaging(network, swa_share, batches, first_epoch=2)
    for epoch, value in enumerate((1.0, 2.0, 4.0, 9.0), start=1):
        move(network, value)
        average.after_step()
        average.close_epoch(epoch)
        assert (average.network is network) == (epoch == 1)
    assert average.network.bias.item() == pytest.approx(5.0)
    assert average.num_averaged == 3


class WithOtherNames(nn.Module):
    def __init__(self, num_features):
        super().__init__()
        self.register_buffer("global_mean", torch.zeros(1, num_features))

    def forward(self, x):
        if self.training:
            mean = x.mean(0, keepdim=True)
            self.global_mean.mul_(0.8).add_(mean, alpha=0.2)
        else:
            mean = self.global_mean
        return x - mean


@pytest.mark.parametrize("name", [*RUNNING, "own"])
def test_the_statistics_are_those_of_the_averaged_weights(compose, name):
    norm = WithOtherNames(3)
    if name != "own":
        options = OmegaConf.to_container(compose(f"norm={name}").norm, resolve=True)
        norm = build(options)(3, 1)
    torch.manual_seed(2)
    network = nn.Sequential(nn.Linear(2, 3), norm, nn.Dropout(0.5)).train()
    average = Averaging(network, swa_share, batches)
    weights = []
    for epoch in (1, 2):
        nn.init.normal_(network[0].weight)
        weights.append(network[0].weight.detach().clone())
        network(batches()[0].inputs)
        before = copy.deepcopy(norm.state_dict())
        average.close_epoch(epoch)

    linear = copy.deepcopy(network[0])
    linear.weight.data = (weights[0] + weights[1]) / 2
    means = torch.stack([linear(block.inputs).mean(0) for block in batches()])
    found = average.network[1].state_dict()
    mean = found["global_mean" if name == "own" else "running_mean"].flatten()
    torch.testing.assert_close(mean, means.mean(0).detach(), rtol=1e-4, atol=1e-5)
    for key, value in norm.state_dict().items():
        assert torch.equal(value, before[key])
    assert network.training


def test_evonorm_gets_the_variance_of_the_averaged_weights(compose):
    options = OmegaConf.to_container(compose("norm=evonorm_b0").norm, resolve=True)
    network = nn.Sequential(nn.Linear(2, 3), build(options)(3, 1)).train()
    average = Averaging(network, take_over, batches)
    average.close_epoch(1)
    variances = [network[0](block.inputs).var(0) for block in batches()]
    expected = torch.stack(variances).mean(0).detach()
    torch.testing.assert_close(average.network[1].running_var, expected)


def test_layers_that_do_not_train_keep_their_statistics():
    class Frozen(nn.Sequential):
        def train(self, mode=True):
            super().train(mode)
            self[0].eval()
            return self

    network = Frozen(nn.BatchNorm1d(2), nn.BatchNorm1d(2)).train()
    network[0].running_mean.fill_(3.0)
    average = Averaging(network, take_over, batches)
    network[0].running_mean.fill_(4.0)  # as a checkpoint may
    average.close_epoch(1)
    assert average.network[0].running_mean.tolist() == [4.0, 4.0]
    assert average.network[0].num_batches_tracked == 0
    assert average.network[1].num_batches_tracked == 3


def test_a_network_without_statistics_needs_no_batches():
    def no_batches():
        raise AssertionError

    average = Averaging(nn.Linear(2, 1), take_over, no_batches)
    average.close_epoch(1)
    assert average.num_averaged == 1


class Switching(torch.optim.SGD):
    """The average is half of the weights, and switching back is off by a rounding."""

    @torch.no_grad()
    def eval(self):
        for value in self.param_groups[0]["params"]:
            value.mul_(0.5)

    @torch.no_grad()
    def train(self):
        for value in self.param_groups[0]["params"]:
            value.mul_(2.0).add_(1e-6)


def test_the_average_of_an_optimizer_leaves_no_trace():
    network = nn.Linear(2, 1)
    before = copy.deepcopy(network.state_dict())
    with average_of(Switching(network.parameters(), lr=0.1)):
        assert torch.equal(network.weight, before["weight"] / 2)
    assert torch.equal(network.weight, before["weight"])
    assert torch.equal(network.bias, before["bias"])


def test_the_average_of_an_optimizer_is_what_is_scored():
    network = nn.Linear(2, 1)
    optimizer = Switching(network.parameters(), lr=0.1)
    average = build_averaging(network, optimizer, {}, epochs=3, batches=batches)
    average.close_epoch(1)
    assert torch.equal(average.network.weight, network.weight / 2)


def test_averages_that_cannot_be_are_refused():
    plain = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    switching = Switching([torch.zeros(1)], lr=0.1)
    check_averaging({"average": "ema"}, plain, "ddp")
    check_averaging({"average": None}, switching, "auto")
    check_averaging({"average": None}, plain, "fsdp")
    with pytest.raises(
        ValueError, match="average must be null for Switching, .* 'ema'"
    ):
        check_averaging({"average": "ema"}, switching, "auto")
    with pytest.raises(ValueError, match="device=fsdp .* got trainer.average=swa"):
        check_averaging({"average": "swa"}, plain, "fsdp")
    with pytest.raises(ValueError, match="device=fsdp .* got Switching"):
        check_averaging({}, switching, "fsdp")


def test_two_averages_are_refused_before_anything_is_written(config):
    pytest.importorskip("schedulefree", reason="it is not installed")
    settings = config("optimizer=schedule_free", "trainer.average=swa")
    with pytest.raises(ValueError, match="null for AdamWScheduleFree, .* got 'swa'"):
        run(settings)
    assert not run_folder(settings).exists()


def last_state(settings):
    return load(run_folder(settings) / "checkpoints" / "last.ckpt")


def rows(settings):
    with open(run_folder(settings) / "metrics.csv") as file:
        return [{**row, "seconds": ""} for row in csv.DictReader(file)]


@pytest.mark.parametrize("norm", ["custom", "evonorm_b0"])
def test_the_average_is_stored_and_scored_while_training_goes_on(config, norm):
    plain = config(f"norm={norm}")
    averaged = config(
        f"norm={norm}", "trainer.average=ema", "trainer.average_decay=0.9"
    )
    run(plain)
    result = run(averaged)
    assert result["num_averaged"] == result["steps"] == 72
    trained = last_state(plain)["network"]
    for name, value in last_state(averaged)["network"].items():
        assert torch.equal(value, trained[name])
    for row, other in zip(rows(averaged), rows(plain), strict=True):
        assert row["train/loss"] == other["train/loss"]
        assert row["val/loss"] != other["val/loss"]

    folder = run_folder(averaged)
    best = min(rows(averaged), key=lambda row: -float(row["val/accuracy"]))
    assert result["best_epoch"] == int(best["epoch"])
    assert result["metrics"]["val/loss"] == pytest.approx(float(best["val/loss"]))
    # The stored statistics are those that evaluation finds for these weights.
    again = evaluate_run(folder, statistics="recalibrated", num_batches=100)
    assert again["test/loss"] == pytest.approx(result["metrics"]["test/loss"], rel=1e-4)


def test_swa_is_the_mean_over_the_ends_of_the_last_epochs(config):
    settings = config("trainer.average=swa", "trainer.average_start=0.5")
    result = run(settings)
    assert result["best_epoch"] in (3, 4)
    assert result["num_averaged"] == 2
    ends = []
    for epochs in (3, 4):
        plain = config(f"trainer.max_epochs={epochs}")
        run(plain)
        ends.append(last_state(plain)["network"])
    average = last_state(settings)["average"]["network"]
    for name, parameter in average.items():
        if name.endswith(("weight", "bias")):
            mean = (ends[0][name] + ends[1][name]) / 2
            torch.testing.assert_close(parameter, mean)


def test_patience_waits_for_the_first_average(config):
    options = ("trainer.average=swa", "trainer.patience=1", "optimizer.lr=1e-12")
    result = run(config(*options))
    assert (result["epochs"], result["best_epoch"]) == (4, 4)


@pytest.mark.parametrize("average", ["ema", "swa"])
def test_an_averaging_run_that_was_killed_ends_in_the_same_bits(
    config, monkeypatch, average
):
    """An epoch has 18 steps, of which the fifth block holds the last three."""
    options = ("checkpoint.every_n_steps=5", f"trainer.average={average}")
    options += ("trainer.average_start=0.3", "model.dropout=0.2", "norm=noisy_batch")
    undisturbed = config(*options)
    expected = run(undisturbed)
    settings = config(*options, outputs="interrupted")
    kill_after(monkeypatch, 10)
    with pytest.raises(Interrupted):
        run(settings)
    monkeypatch.undo()
    result = run(settings)
    assert result["metrics"] == expected["metrics"]
    assert result["num_averaged"] == expected["num_averaged"]
    assert rows(settings) == rows(undisturbed)
    found, wanted = last_state(settings), last_state(undisturbed)
    for name, value in wanted["average"]["network"].items():
        assert torch.equal(found["average"]["network"][name], value)


def test_a_schedule_free_run_is_scored_at_the_average_of_its_optimizer(config):
    """Between weights y and z the average is x = y + (1 - 1 / beta) (z - y)."""
    pytest.importorskip("schedulefree", reason="it is not installed")
    settings = config("optimizer=schedule_free", "optimizer.betas=[0.8,0.99]")
    result = run(settings)
    assert result["num_averaged"] == 4
    state = last_state(settings)
    names = [name for name in state["network"] if name.endswith(("weight", "bias"))]
    found = []
    for values in state["optimizer"]["state"].values():
        found.append(values["z"])
    averages = state["average"]["network"]
    by_shape = {tuple(value.shape): value for value in found}
    (matrix,) = [
        name for name in names if tuple(state["network"][name].shape) == (10, 64)
    ]
    y, z = state["network"][matrix], by_shape[10, 64]
    torch.testing.assert_close(averages[matrix], torch.lerp(y, z, 1 - 1 / 0.8))
    assert not torch.equal(averages[matrix], y)

    again = evaluate_run(run_folder(settings), statistics="recalibrated")
    assert again["val/loss"] == pytest.approx(result["metrics"]["val/loss"], rel=1e-4)
