"""Checks of a configuration, and the objects of its run before it trains."""

from dataclasses import FrozenInstanceError

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from normlab.device.devices import Device
from normlab.norms import normalize_weights
from normlab.training.preparation import (
    check_environment,
    check_monitor,
    count_steps,
    describe_network,
    prepare,
    weights_digest,
)


@pytest.fixture
def config(compose, tmp_path):
    def make(*overrides):
        composed = compose(f"paths.outputs={tmp_path}", *overrides)
        return OmegaConf.to_container(composed, resolve=True)

    return make


def initial_weights(prepared):
    names = prepared.norm_layers
    return [
        value
        for key, value in prepared.task.network.named_parameters()
        if key.rpartition(".")[0] not in names
    ]


def test_prepared_runs_cannot_be_changed(config):
    prepared = prepare(config())
    assert prepared.device == Device.from_config(config()["device"])
    assert len(prepared.parts.train) == 1150
    assert prepared.cautions == []
    with pytest.raises(FrozenInstanceError):
        prepared.parts = None


def test_seed_zero_is_a_seed(config):
    weights = [
        initial_weights(prepare(config(f"seed={seed}")))[0] for seed in (0, 0, 1)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("model", ["mlp", "lenet5", "alexnet"])
def test_arms_start_from_the_same_weights_and_parts(config, model):
    arms = [
        prepare(config(f"model={model}", f"norm={norm}", "model.dropout=0.1"))
        for norm in ("none", "torch", "custom")
    ]
    for arm in arms[1:]:
        pairs = zip(initial_weights(arms[0]), initial_weights(arm), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
        assert torch.equal(arms[0].parts.train.rows, arm.parts.train.rows)


def test_lengths_of_weights_are_parameters_of_the_norm(config):
    plain, lengths = (
        describe_network(prepare(config(f"norm={norm}")))
        for norm in ("none", "weight_norm")
    )
    added = lengths["num_parameters"] - plain["num_parameters"]
    assert added == 128 + 64 + 10  # one per output of mlp on digits
    assert lengths["num_norm_parameters"] == added
    assert lengths["initial_weights"] == plain["initial_weights"]


def test_a_network_is_described_by_its_counts(config):
    described = describe_network(prepare(config("model.hidden=[4]", "norm=layer")))
    assert described["num_norm_layers"] == 1
    assert described["num_norm_parameters"] == 2 * 4
    assert described["num_parameters"] == 64 * 4 + 4 + 2 * 4 + 4 * 10 + 10
    assert described["step_flops"] == 3 * 2 * 64 * (64 * 4 + 4 * 10)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["norm=none"], None),
        (["norm=group"], None),
        (["norm=ghost"], None),
        (["norm=batch_renorm"], False),
        (["norm=custom"], False),
        (["norm=custom", "norm.sync=true"], True),
    ],
)
def test_a_result_tells_whether_norms_are_synchronized(config, words, expected):
    assert describe_network(prepare(config(*words)))["synchronized"] is expected


def test_the_digest_of_weights_leaves_norms_out():
    def digest(*layers, norms=()):
        network = nn.Sequential(*layers)
        return weights_digest(network, {name: network[int(name)] for name in norms})

    linear = nn.Linear(2, 3)
    expected = digest(linear)
    assert len(expected) == 16
    assert digest(linear, nn.BatchNorm1d(3), norms="1") == expected
    assert digest(linear, nn.BatchNorm1d(3)) != expected
    assert digest(nn.Linear(2, 3)) != expected

    weight = linear.weight.detach().clone()
    normalize_weights(network := nn.Sequential(linear))
    torch.testing.assert_close(network[0].weight, weight)
    assert weights_digest(network, {}) == expected


def test_an_epoch_has_at_least_one_step():
    assert count_steps(100, 30) == 4
    assert count_steps(91, 30) == 3
    with pytest.raises(
        ValueError,
        match="^the training part must hold a batch of at least two samples, it has 1; "
        "lower dataset.batch_size or dataset.validation$",
    ):
        count_steps(1, 30)


def test_a_metric_that_no_epoch_has_is_refused():
    check_monitor(None, ("accuracy", "loss"))
    check_monitor("val/loss", ("accuracy", "loss"))
    with pytest.raises(
        ValueError,
        match="^trainer.monitor must be null or one of val/accuracy, val/loss, got "
        "'loss'$",
    ):
        check_monitor("loss", ("accuracy", "loss"))


def test_targets_outside_of_trusted_packages_are_refused(config):
    settings = config()
    assert check_environment(settings) == Device.from_config(settings["device"])
    settings["model"] = settings["model"] | {"_target_": "normlab.results.os.system"}
    with pytest.raises(ValueError, match="not in a trusted package"):
        check_environment(settings)
