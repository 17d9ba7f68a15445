"""The loss as a function: values, gradients, and nothing that stays behind."""

import torch
from torch import nn

from normlab.evaluation.batch_loss import (
    BatchLoss,
    buffers_of,
    difference,
    dot,
    length,
    moved,
    trained_parameters,
)


def half_squares(predictions, targets):
    return 0.5 * (predictions - targets).square().sum(1).mean()


def test_loss_and_gradient_of_a_line():
    network = nn.Linear(1, 1, bias=False)
    inputs = torch.tensor([[1.0], [2.0]])
    targets = torch.zeros(2, 1)
    batch_loss = BatchLoss(network, half_squares, inputs, targets)
    # The loss is (w^2 + 4 w^2) / 4, its gradient 2.5 w.
    loss, gradient = batch_loss.gradient({"weight": torch.tensor([[2.0]])})
    assert loss == 5.0
    assert gradient["weight"].item() == 5.0


def test_a_call_leaves_buffers_gradients_and_random_numbers_alone():
    torch.manual_seed(3)
    network = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    inputs = torch.randn(8, 2)
    targets = torch.zeros(8, 4)
    batch_loss = BatchLoss(network, half_squares, inputs, targets, buffers_of(network))
    parameters = trained_parameters(network)
    before = torch.random.get_rng_state()
    first = batch_loss.gradient(parameters)
    second = batch_loss.gradient(parameters)
    assert torch.random.get_rng_state().equal(before)
    assert first[0] == second[0]  # the same elements are dropped
    assert all(first[1][name].equal(second[1][name]) for name in parameters)
    assert network[1].num_batches_tracked.item() == 0
    assert all(value.grad is None for value in network.parameters())


def test_gradients_of_some_parameters_only():
    network = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    batch_loss = BatchLoss(network, half_squares, torch.ones(1, 1), torch.ones(1, 1))
    parameters = trained_parameters(network)
    _, whole = batch_loss.gradient(parameters)
    _, part = batch_loss.gradient(parameters, ["1.weight"])
    assert list(part) == ["1.weight"]
    assert part["1.weight"].equal(whole["1.weight"])


def test_frozen_parameters_are_not_among_the_trained_ones():
    network = nn.Linear(2, 2)
    network.bias.requires_grad_(False)
    assert list(trained_parameters(network)) == ["weight"]


def test_vectors_add_and_have_lengths():
    start = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([5.0])}
    direction = {"a": torch.tensor([3.0, 4.0])}
    end = moved(start, direction, 2.0)
    assert end["a"].tolist() == [7.0, 10.0]
    assert end["b"].tolist() == [5.0]
    assert length(direction) == 5.0
    assert dot(direction, start) == 11.0
    assert difference(end, start)["a"].tolist() == [6.0, 8.0]
