"""Layers are listed in the order in which the forward pass calls them."""

import torch
from torch import nn
from torch.nn.utils import parametrizations

from normlab.evaluation.weight_layers import weight_layers
from normlab.models import MLP, RecurrentNetwork, ResNet
from normlab.norms import BatchNorm
from normlab.norms.parameters import mark_norm


class Swapped(nn.Module):
    """Registers its layers in another order than it calls them."""

    def __init__(self):
        super().__init__()
        self.second = nn.Linear(3, 1)
        self.norm = nn.LayerNorm(3)
        self.first = nn.Linear(2, 3)
        self.unused = nn.Linear(2, 2)

    def forward(self, x):
        return self.second(self.norm(self.first(x)))


def test_layers_come_in_the_order_of_calls():
    first, second = weight_layers(Swapped(), torch.ones(1, 2))
    assert (first.name, second.name) == ("first", "second")
    assert first.preceding == ()
    assert second.parameters == ("second.weight", "second.bias")
    assert second.preceding == (
        *("first.weight", "first.bias"),
        *("norm.weight", "norm.bias"),
    )


def test_looking_for_layers_changes_nothing():
    network = MLP((4,), 2, lambda features, dim: BatchNorm(features, dim), hidden=[3])
    inputs = torch.randn(5, 4)
    names = [layer.name for layer in weight_layers(network, inputs)]
    assert names == ["hidden.0.linear", "output"]
    assert network.hidden[0].norm.num_batches_tracked.item() == 0


def test_reparametrized_weights_belong_to_their_layer():
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    parametrizations.weight_norm(network[0], "weight")
    first, second = weight_layers(network, torch.ones(1, 2))
    assert set(first.parameters) == {
        "0.bias",
        "0.parametrizations.weight.original0",
        "0.parametrizations.weight.original1",
    }
    assert first.weights == ("0.parametrizations.weight.original1",)
    assert set(second.preceding) == set(first.parameters)


def test_an_lstm_is_one_layer_and_its_norms_follow_it():
    network = RecurrentNetwork(
        (1, 8, 8), 2, lambda features, dim: BatchNorm(features, dim), hidden=3
    )
    lstm, output = weight_layers(network, torch.randn(4, 1, 8, 8))
    assert (lstm.name, output.name) == ("lstm", "output")
    assert lstm.parameters == ("lstm.weight_x", "lstm.weight_h", "lstm.bias")
    assert "lstm.norm_c.norm.weight" in output.preceding


class Own(nn.Module):
    """A norm whose name does not say so, with a scale of rank 2."""

    def __init__(self):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(1, 3))

    def forward(self, x):
        return self.gamma * x


def test_scales_of_rank_two_are_no_weights():
    network = nn.Sequential(nn.Linear(2, 3), mark_norm(Own()), nn.Linear(3, 1))
    first, second = weight_layers(network, torch.ones(1, 2))
    assert (first.name, second.name) == ("0", "2")
    assert (first.parameters, first.weights) == (("0.weight", "0.bias"), ("0.weight",))
    assert "1.gamma" in second.preceding


def test_frozen_layers_are_left_out():
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    network[0].requires_grad_(False)
    (layer,) = weight_layers(network, torch.ones(1, 2))
    assert (layer.name, layer.preceding) == ("1", ())


def test_a_residual_network_has_all_its_convolutions():
    network = ResNet((3, 8, 8), 2, lambda features, dim: nn.Identity(), depth=8)
    layers = weight_layers(network, torch.randn(2, 3, 8, 8))
    assert len(layers) == 8
    assert layers[0].name == "stem.conv"
    assert layers[-1].name == "output"
