"""Statistics of norm layers in evaluation, against numbers worked out by hand."""

import copy

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from normlab.config.targets import build
from normlab.data.blocks import Part
from normlab.evaluation.statistics import (
    ShuffledBatches,
    batch_statistics,
    mixed_statistics,
    restored,
)
from normlab.norms import (
    EvoNormB0,
    FrozenBatchNorm,
    IterativeWhitening,
    MovingAverageBatchNorm,
)

# Norms with a running mean and a running variance.
RUNNING = ["custom", "torch", "ghost", "batch_renorm", "noisy_batch"]


@pytest.fixture
def make(compose):
    def make_norm(name, num_features, dim=1, **options):
        settings = OmegaConf.to_container(compose(f"norm={name}").norm, resolve=True)
        return build(settings | options)(num_features, dim)

    return make_norm


@pytest.mark.parametrize("name", RUNNING)
def test_batch_statistics_leave_no_trace(make, name):
    network = nn.Sequential(make(name, 1)).eval()
    before = copy.deepcopy(network.state_dict())
    x = torch.tensor([[4.0], [8.0]])
    with batch_statistics(network):
        torch.testing.assert_close(network(x), torch.tensor([[-1.0], [1.0]]))
    assert network(x)[0].item() == pytest.approx(4.0, rel=1e-4)
    assert all(
        torch.equal(before[key], value) for key, value in network.state_dict().items()
    )


def test_batch_statistics_of_ghost_norm_are_those_of_the_whole_batch(make):
    network = nn.Sequential(make("ghost", 1, size=2)).eval()
    x = torch.tensor([[0.0], [2.0], [10.0], [12.0]])  # mean 6, variance 26
    with batch_statistics(network):
        y = network(x)
    torch.testing.assert_close(y, (x - 6) / 26**0.5)


def evonorm():
    layer = EvoNormB0(1, 1)
    layer.running_var.fill_(100.0)
    return layer


def test_batch_statistics_of_evonorm_leave_no_trace():
    layer, x = evonorm().eval(), torch.tensor([[1.0], [3.0]])  # biased variance 1
    with batch_statistics(nn.Sequential(layer)):
        y = layer.eval()(x)
    expected = torch.tensor([[1.0], [1.0]])  # x / max(1, x)
    torch.testing.assert_close(y, expected, atol=1e-2, rtol=0)
    assert layer.running_var.tolist() == [100.0]
    assert not layer.training
    expected = torch.tensor([[0.1], [0.3]])  # x / max(10, x)
    torch.testing.assert_close(layer(x), expected, atol=1e-2, rtol=0)


def test_batch_statistics_of_whitening_leave_no_trace():
    layer, x = IterativeWhitening(1, 1, eps=0.0).eval(), torch.tensor([[4.0], [8.0]])
    with batch_statistics(nn.Sequential(layer)):
        torch.testing.assert_close(layer.eval()(x), torch.tensor([[-1.0], [1.0]]))
    assert torch.equal(layer(x), x)


def test_moving_averages_are_replaced_by_those_of_the_batch():
    layer = MovingAverageBatchNorm(1, 1, window=2, warmup_steps=0, eps=0.0)
    for _ in range(4):
        layer(torch.tensor([[100.0], [100.0]]))
    network, x = nn.Sequential(layer).eval(), torch.tensor([[1.0], [-7.0]])
    layer.running_mean_square.fill_(9.0)
    before = copy.deepcopy(layer.state_dict())
    with batch_statistics(network):
        torch.testing.assert_close(network(x), x / 5)
    with mixed_statistics(network, pseudo_count=2.0):
        torch.testing.assert_close(network(x), x / 17**0.5)  # half 9, half 25
    torch.testing.assert_close(network(x), x / 3)
    torch.testing.assert_close(layer.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize("norm", [FrozenBatchNorm(1, 1), nn.Identity()])
def test_a_norm_without_averages_has_running_statistics_only(norm):
    network = nn.Sequential(norm)
    message = "statistics must be running, .* keeps no statistics of batches"
    with pytest.raises(ValueError, match=message), batch_statistics(network):
        pass


def test_shuffled_batches_hold_every_sample_once_and_none_alone():
    class Plain:
        def evaluate(self, inputs):
            return inputs

    part = Part(torch.arange(9.0)[:, None], torch.arange(9), torch.arange(9), Plain())
    blocks = ShuffledBatches(part, 4)
    assert [len(block.targets) for block in blocks] == [4, 5]
    assert sorted(torch.cat([block.targets for block in blocks]).tolist()) == list(
        range(9)
    )


class OwnNorm(nn.Module):
    """A norm of a user: it needs its running statistics, and is slow to forget."""

    def __init__(self):
        super().__init__()
        self.momentum = 0.9  # the weight of the old statistics
        self.register_buffer("running_mean", torch.tensor([5.0]))
        self.register_buffer("running_var", torch.tensor([1.0]))

    def forward(self, x):
        if not self.training:
            return (x - self.running_mean.view(1, -1)) / self.running_var.view(1, -1)
        self.running_mean.mul_(self.momentum).add_((1 - self.momentum) * x.mean(0))
        return x - x.mean(0)


def test_batch_statistics_of_a_norm_of_the_user_leave_no_trace():
    layer = OwnNorm().eval()
    inputs = torch.tensor([[1.0], [3.0]])
    with batch_statistics(nn.Sequential(layer)):
        assert layer(inputs).flatten().tolist() == [-1.0, 1.0]
    assert layer(inputs).flatten().tolist() == [-4.0, -2.0]
    assert layer.momentum == 0.9


class NormFromABook(nn.Module):
    """Its running statistics have other names, and it has no momentum."""

    def __init__(self):
        super().__init__()
        self.register_buffer("moving_mean", torch.tensor([5.0]))
        self.register_buffer("moving_var", torch.tensor([4.0]))

    def forward(self, x):
        if not self.training:
            return (x - self.moving_mean) / self.moving_var.sqrt()
        mean = x.mean(0)
        var = x.var(0, unbiased=False)
        self.moving_mean = 0.9 * self.moving_mean + 0.1 * mean
        self.moving_var = 0.9 * self.moving_var + 0.1 * var
        return (x - mean) / var.sqrt()


def test_batch_statistics_of_a_norm_with_buffers_of_other_names():
    layer = NormFromABook().eval()
    inputs = torch.tensor([[1.0], [3.0]])
    with batch_statistics(nn.Sequential(layer)):
        assert layer(inputs).flatten().tolist() == [-1.0, 1.0]
        assert layer(2 * inputs).flatten().tolist() == [-1.0, 1.0]
        assert [layer.moving_mean.item(), layer.moving_var.item()] == [5.0, 4.0]
    assert layer(inputs).flatten().tolist() == [-2.0, -1.0]
    assert not layer.training


class NormWithConstants(nn.Module):
    """Its buffer is no running average: no call moves it."""

    def __init__(self):
        super().__init__()
        self.register_buffer("moving_var", torch.tensor([4.0]))

    def forward(self, x):
        factor = 100.0 if self.training else 1.0
        return factor * x / self.moving_var.sqrt()


def test_a_buffer_that_no_batch_moves_is_no_running_statistic():
    layer = NormWithConstants().eval()
    message = "statistics must be running, .* keeps no statistics of batches"
    with (
        pytest.raises(ValueError, match=message),
        batch_statistics(nn.Sequential(layer)),
    ):
        assert layer(torch.tensor([[6.0]])).item() == 3.0  # still in evaluation mode


class NormThatFails(NormFromABook):
    """It updates its statistics before it fails."""

    def forward(self, x):
        super().forward(x)
        raise RuntimeError("no more memory")


def test_buffers_are_put_back_after_a_call_that_fails():
    layer = NormThatFails().eval()
    layer.momentum = 0.1
    layer.register_buffer("running_var", torch.tensor([1.0]))
    with (
        batch_statistics(nn.Sequential(layer)),
        pytest.raises(RuntimeError, match="no more memory"),
    ):
        layer(torch.tensor([[1.0], [3.0]]))
    assert [layer.moving_mean.item(), layer.moving_var.item()] == [5.0, 4.0]
    assert not layer.training


@pytest.mark.parametrize("name", RUNNING)
def test_mixed_statistics_weigh_the_batch_by_its_samples(make, name):
    network = nn.Sequential(make(name, 1)).eval()
    before = copy.deepcopy(network.state_dict())
    x = torch.tensor([[4.0], [8.0]])  # mean 6, unbiased variance 8
    with mixed_statistics(network, pseudo_count=2):
        y = network(x)
    # Half of running mean 0 and variance 1: mean 3, variance 4.5.
    expected = (x - 3) / 4.5**0.5
    torch.testing.assert_close(y, expected, atol=1e-5, rtol=1e-5)
    with mixed_statistics(network, pseudo_count=6):
        y = network(x)  # mean 1.5, variance 0.75 + 0.25 * 8
    torch.testing.assert_close(y, (x - 1.5) / 2.75**0.5, atol=1e-5, rtol=1e-5)
    for key, value in network.state_dict().items():
        assert torch.equal(before[key], value)
    assert not network[0].training
    assert network[0].momentum == 0.1


def test_mixed_statistics_of_a_norm_of_the_user_leave_no_trace():
    layer = OwnNorm().eval()
    inputs = torch.tensor([[1.0], [3.0]])  # mean 2, the running mean is 5
    with mixed_statistics(nn.Sequential(layer), pseudo_count=1):
        assert layer(inputs).flatten().tolist() == pytest.approx([-2.0, 0.0], abs=1e-5)
    assert layer(inputs).flatten().tolist() == [-4.0, -2.0]


def test_mixed_statistics_need_averages():
    message = "statistics must be running, .* keeps no statistics of batches"
    network = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(ValueError, match=message), mixed_statistics(network, 1):
        network(torch.zeros(2, 2))


def test_an_error_leaves_the_buffers_of_a_mixed_layer():
    network = nn.Sequential(nn.BatchNorm1d(2)).eval()
    with mixed_statistics(network, 1):
        network(torch.rand(4, 2))
        with pytest.raises(ValueError, match="Expected more than 1 value"):
            network(torch.ones(1, 2))
    assert network[0].running_mean.tolist() == [0.0, 0.0]
    assert network[0].momentum == 0.1


def test_a_network_is_restored_when_the_block_ends():
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    network[0].requires_grad_(False)
    before = copy.deepcopy(network.state_dict())
    with restored(network):
        network.requires_grad_(True)
        nn.init.zeros_(network[0].weight)
        network(torch.rand(4, 2))
    for key, value in network.state_dict().items():
        assert torch.equal(before[key], value)
    assert not network[0].weight.requires_grad
    assert network[1].weight.requires_grad
