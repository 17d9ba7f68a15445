"""Directions have the norms of the filters, and the surface is that of the loss."""

import pytest
import torch
from torch import nn

from normlab.evaluation.batch_loss import BatchLoss, trained_parameters
from normlab.norms import BatchNorm, LayerNorm
from normlab.why.surface import filter_normalized_direction, loss_surface


def test_every_filter_of_a_direction_is_as_long_as_the_networks():
    generator = torch.Generator().manual_seed(1)
    parameters = {
        "linear": torch.tensor([[3.0, 4.0], [0.0, 2.0]]),
        "conv": torch.randn(5, 3, 2, 2),
        "bias": torch.ones(5),
    }
    direction = filter_normalized_direction(parameters, ["linear", "conv"], generator)
    assert set(direction) == {"linear", "conv"}
    assert direction["linear"].norm(dim=1).tolist() == pytest.approx([5.0, 2.0])
    lengths = parameters["conv"].flatten(1).norm(dim=1).tolist()
    assert direction["conv"].flatten(1).norm(dim=1).tolist() == pytest.approx(lengths)


def test_the_seed_decides_the_direction_and_the_scale_of_the_network_its_length():
    names = ["weight"]
    weights = {"weight": torch.randn(4, 3)}

    def direction(parameters, seed):
        generator = torch.Generator().manual_seed(seed)
        return filter_normalized_direction(parameters, names, generator)["weight"]

    assert direction(weights, 0).equal(direction(weights, 0))
    assert not direction(weights, 0).equal(direction(weights, 1))
    tenfold = {"weight": 10 * weights["weight"]}
    assert torch.allclose(direction(tenfold, 0), 10 * direction(weights, 0))


def mean_square(predictions, targets):
    return (predictions - targets).square().mean()


def test_the_surface_of_a_line_is_a_parabola():
    network = nn.Linear(2, 1, bias=False)
    batch_loss = BatchLoss(
        network, mean_square, torch.tensor([[1.0, 2.0]]), torch.zeros(1, 1)
    )
    directions = (
        {"weight": torch.tensor([[1.0, 0.0]])},
        {"weight": torch.tensor([[0.0, 1.0]])},
    )
    surface = loss_surface(
        batch_loss, {"weight": torch.zeros(1, 2)}, directions, [-1.0, 0.0, 2.0]
    )
    # The loss is (a + 2 b)^2, with b by rows and a by columns.
    assert surface.tolist() == [[9.0, 4.0, 0.0], [1.0, 0.0, 4.0], [9.0, 16.0, 36.0]]


class OwnNorm(nn.Module):
    """A norm of a user, whose running statistic has a name of its own."""

    def __init__(self, num_features):
        super().__init__()
        self.register_buffer("average", torch.ones(num_features))

    def forward(self, x):
        if not self.training:
            return x / self.average
        size = x.abs().mean(0)
        self.average = self.average.lerp(size.detach(), 0.1)
        return x / size


@pytest.mark.parametrize("norm", [nn.BatchNorm1d, lambda n: BatchNorm(n, 1), OwnNorm])
def test_batch_norm_uses_the_statistics_of_the_samples_at_every_point(norm):
    network = nn.Sequential(nn.Linear(1, 1, bias=False), norm(1))
    network.train()
    before = [buffer.item() for buffer in network[1].buffers()]
    batch_loss = BatchLoss(
        network, mean_square, torch.tensor([[-1.0], [1.0]]), torch.zeros(2, 1)
    )
    parameters = trained_parameters(network) | {"0.weight": torch.ones(1, 1)}
    direction = {"0.weight": torch.ones(1, 1)}
    surface = loss_surface(batch_loss, parameters, (direction, {}), [0.0, 99.0])
    # Whatever the scale of the weights is, the output has variance 1.
    assert surface.tolist() == [pytest.approx([1.0, 1.0], rel=1e-4)] * 2
    assert network.training
    assert [buffer.item() for buffer in network[1].buffers()] == before


def test_norms_without_running_statistics_need_nothing():
    network = nn.Sequential(nn.Linear(1, 2, bias=False), LayerNorm(2, 1))
    batch_loss = BatchLoss(network, mean_square, torch.ones(2, 1), torch.zeros(2, 2))
    weights = {"0.weight": torch.tensor([[5.0], [1.0]])}  # normalized to 1 and -1
    parameters = trained_parameters(network) | weights
    surface = loss_surface(batch_loss, parameters, ({}, {}), [0.0])
    assert surface.item() == pytest.approx(1.0, rel=1e-2)
