"""Networks, optimizers, schedulers and tasks from configurations."""

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from normlab.norms import BatchNorm, normalize_weights
from normlab.training.build import (
    build_network,
    build_optimizer,
    build_task,
    parameter_groups,
    scheduler_builder,
)
from normlab.training.classification import Classification
from normlab.training.regression import Regression


@pytest.fixture
def config(compose):
    def make(*overrides):
        return OmegaConf.to_container(compose(*overrides), resolve=True)

    return make


def test_norm_layers_are_found_by_their_names(config):
    network, layers = build_network(config("model.hidden=[4,3]"), (1, 8, 8), 10)
    assert [type(layer) for layer in layers.values()] == [BatchNorm, BatchNorm]
    assert [layer.num_features for layer in layers.values()] == [4, 3]
    for name, layer in layers.items():
        assert network.get_submodule(name) is layer
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_weights_follow_from_the_seed_alone(config):
    def first_weight(*overrides):
        network, _ = build_network(config(*overrides), (1, 8, 8), 10)
        return next(network.parameters())

    torch.manual_seed(1)
    state = torch.get_rng_state()
    expected = first_weight("seed=3")
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(first_weight("seed=3", "norm=none"), expected)
    assert not torch.equal(first_weight("seed=4"), expected)


def test_norms_on_weights_change_the_network_after_it_is_built(config):
    network, layers = build_network(config("norm=weight_norm"), (1, 8, 8), 10)
    assert [type(layer) for layer in layers.values()] == [nn.Identity, nn.Identity]
    linear = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    assert all(hasattr(layer, "parametrizations") for layer in linear)


def test_vectors_of_spectral_norm_follow_from_the_seed_alone(config):
    def state(*overrides):
        torch.manual_seed(len(overrides))
        network, _ = build_network(config(*overrides), (1, 8, 8), 10)
        return network.state_dict()

    first = state("norm=spectral")
    again = state("norm=spectral", "seed=0")
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    plain = state("norm=none")
    weight = first["output.parametrizations.weight.original"]
    assert torch.equal(weight, plain["output.weight"])


@pytest.mark.parametrize("channels_last", [True, False])
def test_convolutions_have_the_memory_format_of_the_run(config, channels_last):
    network, _ = build_network(config("model=lenet5"), (3, 28, 28), 10, channels_last)
    weight = network.features[0][0].weight
    is_last = weight.is_contiguous(memory_format=torch.channels_last)
    assert is_last == channels_last


def test_weight_decay_skips_what_is_no_matrix():
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    decaying, constant = parameter_groups(network, 0.1, decay_rank_one=False)
    assert [parameter.ndim for parameter in decaying["params"]] == [2]
    assert decaying["weight_decay"] == 0.1
    assert [parameter.ndim for parameter in constant["params"]] == [1, 1, 1]
    assert constant["weight_decay"] == 0.0
    (everything,) = parameter_groups(network, 0.1, decay_rank_one=True)
    assert len(everything["params"]) == 4


def test_weight_decay_skips_the_lengths_of_weight_norm():
    network = normalize_weights(nn.Sequential(nn.Conv2d(1, 4, 3)))
    lengths = network[0].parametrizations.weight.original0
    decaying, constant = parameter_groups(network, 0.1, decay_rank_one=False)
    assert [tuple(parameter.shape) for parameter in decaying["params"]] == [
        (4, 1, 3, 3)
    ]
    assert any(parameter is lengths for parameter in constant["params"])


def test_weight_decay_skips_scales_of_any_shape(config):
    network, layers = build_network(config("model.hidden=[4]"), (1, 8, 8), 10)
    (layer,) = layers.values()
    layer.weight = nn.Parameter(torch.ones(1, 4))
    decaying, constant = parameter_groups(network, 0.1, decay_rank_one=False)
    shapes = [tuple(parameter.shape) for parameter in decaying["params"]]
    assert shapes == [(4, 64), (10, 4)]
    assert any(parameter is layer.weight for parameter in constant["params"])
    (everything,) = parameter_groups(network, 0.1, decay_rank_one=True)
    assert any(parameter is layer.weight for parameter in everything["params"])


def test_frozen_parameters_are_in_no_group():
    network = nn.Sequential(nn.Linear(2, 3).requires_grad_(False), nn.Linear(3, 1))
    decaying, constant = parameter_groups(network, 0.1, decay_rank_one=False)
    assert decaying["params"] == [network[1].weight]
    assert constant["params"] == [network[1].bias]
    network[1].bias.requires_grad_(False)
    (only,) = parameter_groups(network, 0.1, decay_rank_one=False)
    assert only["params"] == [network[1].weight]


def test_an_optimizer_has_the_settings_of_its_configuration(config):
    options = config(
        "optimizer=adam", "optimizer.lr=0.02", "optimizer.weight_decay=0.5"
    )["optimizer"]
    optimizer = build_optimizer(options, nn.Linear(2, 3))
    assert type(optimizer) is torch.optim.Adam
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 0.0]
    assert {group["lr"] for group in optimizer.param_groups} == {0.02}
    assert options["weight_decay"] == 0.5  # the configuration is left as it was


def test_schedulers_that_step_with_batches_know_the_epoch(config):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    assert scheduler_builder(config("scheduler=none")["scheduler"], 5) is None

    words = ("scheduler=one_cycle", "trainer.max_epochs=3")
    one_cycle = scheduler_builder(config(*words)["scheduler"], 5)(optimizer)
    assert one_cycle.total_steps == 15

    words = ("scheduler=cosine", "trainer.max_epochs=3")
    cosine = scheduler_builder(config(*words)["scheduler"], 5)(optimizer)
    assert cosine.T_max == 3


def test_classification_takes_its_options(config):
    settings = config("task.softmax_before_loss=true", "trainer.gradient_clip=2.0")
    network = nn.Linear(2, 3)
    task = build_task(settings, network, 5, torch.tensor([0, 1, 2]))
    assert type(task) is Classification
    assert task.network is network
    assert (task.softmax_before_loss, task.gradient_clip) == (True, 2.0)


def test_regression_is_standardized_by_the_training_targets(config):
    settings = config("dataset=diabetes", "model=tabular")
    task = build_task(settings, nn.Linear(2, 1), 5, torch.tensor([1.0, 3.0]))
    assert type(task) is Regression
    assert (task.target_mean, task.target_std) == (2.0, 1.0)
    assert task.loss_function is nn.functional.mse_loss
    constant = build_task(settings, nn.Linear(2, 1), 5, torch.tensor([4.0, 4.0]))
    assert (constant.target_mean, constant.target_std) == (4.0, 1.0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task.loss=mse"], "task.loss must be cross_entropy for classification"),
        (
            ["dataset=diabetes", "task.softmax_before_loss=true"],
            "task.softmax_before_loss must be false for regression, which has no "
            "softmax, got true",
        ),
    ],
)
def test_options_of_the_other_kind_of_task_are_refused(config, words, message):
    with pytest.raises(ValueError, match=message):
        build_task(config(*words), nn.Linear(2, 3), 5, torch.tensor([0.0, 1.0]))
