"""Squared gradients by depth: by hand on a small network, by theory on a wide one."""

import math

import pytest
import torch
from torch import nn

from normlab.data.blocks import Block
from normlab.evaluation.gradients_by_depth import (
    RELU_GROWTH,
    growth_per_layer,
    linear_growth,
    squared_gradients_by_depth,
)
from normlab.evaluation.weight_layers import weight_layers
from normlab.models import MLP
from normlab.norms import BatchNorm


def test_gradients_of_outputs_are_those_of_the_chain_rule():
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    with torch.no_grad():
        network[0].weight.fill_(5.0)
        network[1].weight.fill_(3.0)
    batches = [
        Block(torch.ones(2, 1), torch.zeros(2), 2),
        Block(torch.zeros(2, 1), torch.zeros(2), 2),
    ]
    # The gradient of the last output is 1/2 per sample, before it 3/2.
    squares = squared_gradients_by_depth(
        network,
        lambda predictions, targets: predictions.mean(),
        batches,
        weight_layers(network, torch.ones(1, 1)),
    )
    assert squares.tolist() == pytest.approx([4.5, 0.5])


def test_growth_is_the_factor_of_a_geometric_series():
    squares = torch.tensor([8.0, 4.0, 2.0, 1.0]).numpy()
    assert growth_per_layer(squares) == pytest.approx(2.0)
    assert math.isnan(growth_per_layer(squares[:1]))
    assert math.isnan(growth_per_layer(squares * 0))


def growth_of(activation, batch_size):
    """The growth in a wide network with batch norm, as the theorem assumes."""
    torch.manual_seed(0)
    network = MLP(
        (256,),
        10,
        lambda features, dim: BatchNorm(features, dim),
        hidden=[256] * 12,
        activation=activation,
        bias=False,
    )
    block = Block(
        torch.randn(batch_size, 256), torch.randint(10, (batch_size,)), batch_size
    )
    layers = weight_layers(network, block.inputs)
    squares = squared_gradients_by_depth(
        network, nn.functional.cross_entropy, [block], layers
    )
    return growth_per_layer(squares[:-1])


def test_relu_networks_with_batch_norm_grow_by_pi_over_pi_minus_one():
    assert pytest.approx(1.4669, abs=1e-4) == RELU_GROWTH
    assert growth_of("relu", 256) == pytest.approx(RELU_GROWTH, rel=0.1)


def test_linear_networks_with_batch_norm_hardly_grow():
    assert linear_growth(6) == pytest.approx(4 / 3)
    assert linear_growth(128) == pytest.approx(1.008)
    assert growth_of("none", 128) == pytest.approx(linear_growth(128), rel=0.05)
