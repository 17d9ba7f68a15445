"""Running statistics computed again, against numbers worked out by hand."""

import copy
from functools import partial

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from normlab.config.targets import build
from normlab.data.blocks import Block
from normlab.device.devices import evaluation_context
from normlab.evaluation.statistics import batch_statistics
from normlab.models import RecurrentNetwork
from normlab.models.recurrent import StepNorm
from normlab.norms import (
    BatchChannelNorm,
    BatchNorm1d,
    EvoNormB0,
    FrozenBatchNorm,
    IterativeWhitening,
    MovingAverageBatchNorm,
    SwitchableNorm,
)
from normlab.training.recalibration import layers_in_training, recalibrate

# Norms with a running mean and a running variance.
RUNNING = ["custom", "torch", "ghost", "batch_renorm", "noisy_batch"]


@pytest.fixture
def make(compose):
    def make_norm(name, num_features, dim=1, **options):
        settings = OmegaConf.to_container(compose(f"norm={name}").norm, resolve=True)
        return build(settings | options)(num_features, dim)

    return make_norm


def blocks_of(*batches):
    return (
        Block(torch.tensor(batch)[:, None], torch.zeros(len(batch)), len(batch))
        for batch in batches
    )


def evonorm():
    layer = EvoNormB0(1, 1)
    layer.running_var.fill_(100.0)
    return layer


@pytest.mark.parametrize("name", RUNNING)
def test_recalibration_is_the_mean_over_batches(make, name):
    network = nn.Sequential(make(name, 1, momentum=0.5), nn.Dropout(0.9))
    network(torch.tensor([[50.0], [90.0]]))
    recalibrate(network, blocks_of([0.0, 2.0], [4.0, 8.0]))
    assert network[0].running_mean.tolist() == [3.5]  # of 1 and 6
    assert network[0].running_var.tolist() == [5.0]  # of 2 and 8
    assert network[0].momentum == 0.5
    assert not network.training


@pytest.mark.parametrize("name", RUNNING)
def test_a_layer_called_twice_is_recalibrated_over_all_calls(make, name):
    layer = make(name, 1, affine=False)
    recalibrate(
        nn.Sequential(layer, layer), blocks_of([0.0, 2.0], [4.0, 8.0], [1.0, 3.0])
    )
    # The second calls see batches of mean 0 and, unbiased, variance 2.
    assert layer.running_mean.item() == pytest.approx((1 + 6 + 2) / 6)
    assert layer.running_var.item() == pytest.approx((2 + 8 + 2 + 3 * 2) / 6, rel=1e-4)


@pytest.mark.parametrize("name", ["custom", "noisy_batch", "batch_renorm"])
def test_recalibration_adds_no_noise_and_no_correction(make, name):
    options = {"warmup_steps": 0, "ramp_steps": 0} if name == "batch_renorm" else {}
    network = nn.Sequential(make(name, 1, **options), make(name, 1, **options))
    with torch.no_grad():
        network[0].bias.fill_(3.0)
    state = torch.get_rng_state()
    recalibrate(network, blocks_of([0.0, 2.0], [4.0, 8.0]))
    assert network[1].running_mean.tolist() == [3.0]
    assert network[1].running_var.item() == pytest.approx(2.0, rel=1e-4)
    assert torch.equal(state, torch.get_rng_state())
    network.train()(torch.tensor([[0.0], [2.0]]))
    # In training it is as before.
    unchanged = torch.equal(state, torch.get_rng_state())
    assert unchanged == (name != "noisy_batch")


@pytest.mark.parametrize("name", RUNNING)
def test_every_time_step_is_recalibrated_by_its_own_batches(make, name):
    class Steps(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = StepNorm(make(name, 1), max_steps=2, gamma=None, shift=True)

        def forward(self, x):
            # The third step has the statistics of the second.
            return [self.norm((step + 1) * x, step) for step in range(3)]

    network = Steps()
    network(torch.tensor([[50.0], [90.0]]))
    recalibrate(network, blocks_of([0.0, 2.0], [4.0, 8.0]))
    torch.testing.assert_close(
        network.norm.norm.running_mean, torch.tensor([[3.5], [3.5 * (2 + 3) / 2]])
    )
    torch.testing.assert_close(
        network.norm.norm.running_var, torch.tensor([[5.0], [5.0 * (4 + 9) / 2]])
    )
    assert network.norm.norm.num_batches_tracked.tolist() == [2, 4]
    assert network.norm.norm.momentum == 0.1


class Halving(nn.Module):
    """A norm of a user, without momentum, in whose running mean a batch weighs half."""

    def __init__(self):
        super().__init__()
        self.num_features = 1
        self.register_buffer("moving_mean", torch.full((1,), 100.0))

    def forward(self, x):
        mean = self.moving_mean
        if self.training:
            mean = x.mean(0)
            self.moving_mean = (self.moving_mean + mean) / 2
        return x - mean


@pytest.mark.parametrize(
    ("layer", "name", "value", "power"),
    [
        (SwitchableNorm(1, 1), "running_mean", 3.5, 1),  # of 1 and 6
        (SwitchableNorm(1, 1), "running_var", 5.0, 2),  # of 2 and 8
        (BatchChannelNorm(2, 1, num_groups=1), "running_var", 2.5, 2),  # of 1 and 4
        (IterativeWhitening(1, 1), "running_mean", 3.5, 1),
        # of 2 and 40
        (MovingAverageBatchNorm(1, 1, 2, 0), "running_mean_square", 21.0, 2),
        (Halving(), "moving_mean", 3.5, 1),
    ],
)
def test_time_steps_of_any_norm_are_recalibrated_apart(layer, name, value, power):
    class Steps(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = StepNorm(layer, max_steps=3, gamma=None, shift=True)

        def forward(self, x):
            # The fourth step has the statistics of the third.
            return [self.norm((step + 1) * x, step) for step in range(4)]

    network = Steps()
    size = layer.num_features
    network(torch.tensor([[50.0], [90.0]]).expand(2, size))
    batches = []
    for values in ([0.0, 2.0], [4.0, 8.0]) * 2:
        inputs = torch.tensor(values)[:, None].expand(2, size)
        batches.append(Block(inputs, torch.zeros(2), 2))
    recalibrate(network, batches)
    last = (3**power + 4**power) / 2
    wanted = value * torch.tensor([[1.0], [2.0**power], [last]])
    found = getattr(network.norm.norm, name)
    torch.testing.assert_close(found, wanted.expand(3, size), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["custom", "torch"])
def test_an_lstm_recalibrated_by_one_batch_normalizes_like_it(make, name):
    torch.manual_seed(0)
    network = RecurrentNetwork((1, 8, 8), 3, partial(make, name), hidden=4)
    x = torch.randn(6, 1, 8, 8)
    recalibrate(network, [Block(x, torch.zeros(6), 6)] * 3)
    for layer in network.modules():
        if hasattr(layer, "running_var"):
            layer.running_var *= 5 / 6  # biased, as a batch normalizes by it
    found = network(x)
    with batch_statistics(network):
        torch.testing.assert_close(found, network(x), rtol=1e-4, atol=1e-4)


def test_evonorm_called_twice_is_recalibrated_over_all_calls():
    layer = evonorm()
    recalibrate(nn.Sequential(layer, layer), blocks_of([0.0, 200.0], [0.0, 400.0]))
    # x / max(deviation, x) is 0 and 1, of unbiased variance 0.5: the second calls
    assert layer.running_var.item() == pytest.approx((20_000 + 0.5 + 80_000 + 0.5) / 4)


@pytest.mark.parametrize(
    ("layer", "var"),
    [(SwitchableNorm(1, 1), 5.0), (BatchChannelNorm(2, 1, num_groups=1), 2.5)],
)
def test_mixed_norms_recalibrate_by_their_batches(layer, var):
    """Unbiased variances of 2 and 8, biased ones of 1 and 4."""
    batches = []
    for values in ([0.0, 2.0], [4.0, 8.0]):
        inputs = torch.tensor(values)[:, None].expand(2, layer.num_features)
        batches.append(Block(inputs, torch.zeros(2), 2))
    recalibrate(nn.Sequential(layer), batches)
    size = layer.num_features
    torch.testing.assert_close(layer.running_mean, torch.full((size,), 3.5))
    torch.testing.assert_close(layer.running_var, torch.full((size,), var))


def test_whitening_is_recalibrated_to_the_mean_matrix():
    layer = IterativeWhitening(1, 1, eps=0.0)
    recalibrate(nn.Sequential(layer), blocks_of([0.0, 2.0], [4.0, 8.0]))
    assert layer.running_mean.item() == pytest.approx(3.5)
    assert layer.running_whitening.item() == pytest.approx(0.75)  # of 1 and 1/2


def test_moving_averages_are_recalibrated_to_single_batches():
    layer = MovingAverageBatchNorm(1, 1, window=2, warmup_steps=0)
    for _ in range(4):
        layer(torch.tensor([[100.0], [100.0]]))
    before = layer.recent_mean_squares.clone()
    recalibrate(nn.Sequential(layer), blocks_of([0.0, 2.0], [4.0, 8.0]))
    assert layer.running_mean_square.item() == pytest.approx(21.0)  # of 2 and 40
    assert torch.equal(layer.recent_mean_squares, before)
    assert not layer.plain


def test_evonorm_recalibrates_its_variance():
    network = nn.Sequential(evonorm())
    recalibrate(network, blocks_of([0.0, 2.0], [4.0, 8.0]))
    assert network[0].running_var.item() == pytest.approx(5.0)  # of 2 and 8
    assert network[0].momentum == 0.1
    assert not network[0].training


def test_recalibration_uses_the_precision_of_the_run():
    network = nn.Sequential(nn.Linear(1, 1), BatchNorm1d(1))
    seen = []
    network[1].register_forward_pre_hook(
        lambda layer, inputs: seen.append(inputs[0].dtype)
    )
    context = evaluation_context("bf16-mixed", torch.device("cpu"))
    recalibrate(network, blocks_of([4.0, 8.0]), context)
    assert seen == [torch.bfloat16]


class WithOtherNames(nn.Module):
    """A norm of a user, whose momentum is the weight of the old statistics."""

    def __init__(self, momentum=0.9):
        super().__init__()
        self.momentum = momentum
        self.register_buffer("moving_mean", torch.full((1, 2), 100.0))
        self.register_buffer("moving_var", torch.full((1, 2), 100.0))
        self.register_buffer("seen", torch.tensor(0.0))

    def forward(self, x):
        if not self.training:
            return (x - self.moving_mean) / self.moving_var.sqrt()
        mean, var = x.mean(0), x.var(0, correction=0)
        self.moving_mean = self.momentum * self.moving_mean + (1 - self.momentum) * mean
        self.moving_var = self.momentum * self.moving_var + (1 - self.momentum) * var
        self.seen += 1
        return (x - mean) / var.sqrt()


@pytest.mark.parametrize("momentum", [0.9, 0.99, 0.5])
def test_statistics_with_any_names_and_weights_are_averaged(momentum):
    layer = WithOtherNames(momentum)
    batches = [
        Block(torch.tensor([[0.0, 1.0], [2.0, 9.0]]), torch.zeros(2), 2),
        Block(torch.tensor([[4.0, -6.0], [8.0, -6.0]]), torch.zeros(2), 2),
    ]
    recalibrate(nn.Sequential(layer), batches)
    close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-4)
    close(layer.moving_mean, torch.tensor([[3.5, -0.5]]))  # of 1 and 6, of 5 and -6
    close(layer.moving_var, torch.tensor([[2.5, 8.0]]))  # of 1 and 4, of 16 and 0
    assert layer.seen == 2  # the trial calls do not count
    assert layer.momentum == momentum
    assert not layer.training


def test_layers_whose_buffers_do_not_move_are_in_evaluation_mode():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("added", torch.tensor([1.0]))

        def forward(self, x):
            return x + self.added + (torch.rand(()) if self.training else 0)

    network = nn.Sequential(Positions(), BatchNorm1d(1))
    recalibrate(network, blocks_of([0.0, 2.0], [4.0, 8.0]))
    assert network[0].added.tolist() == [1.0]
    assert network[1].running_mean.tolist() == [4.5]


def test_vectors_that_do_not_average_batches_stay_as_they_are():
    """Spectral norm moves its vectors too, whatever the batch."""
    linear = spectral_norm(nn.Linear(1, 3))
    network = nn.Sequential(linear, BatchNorm1d(3))
    before = copy.deepcopy(linear.state_dict())
    recalibrate(network, blocks_of([0.0, 2.0], [4.0, 8.0]))
    torch.testing.assert_close(linear.state_dict(), before, rtol=0, atol=0)
    mean = 3.5 * linear.weight[:, 0] + linear.bias
    torch.testing.assert_close(network[1].running_mean, mean)


def test_only_the_given_layers_are_recalibrated():
    network = nn.Sequential(BatchNorm1d(1), BatchNorm1d(1))
    before = copy.deepcopy(network[0].state_dict())
    recalibrate(network, blocks_of([0.0, 2.0], [4.0, 8.0]), layers=[network[1]])
    assert network[0].state_dict() == before
    assert network[1].running_mean.item() == pytest.approx(3.5, rel=1e-4)


class Frozen(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = BatchNorm1d(1)
        self.head = BatchNorm1d(1)

    def train(self, mode=True):
        super().train(mode)
        self.trunk.eval()
        return self


def test_frozen_layers_are_not_in_training():
    network = Frozen().eval()
    layers = layers_in_training(network)
    assert network.head in layers
    assert network.trunk not in layers
    assert not any(layer.training for layer in network.modules())


@pytest.mark.parametrize(
    "norm", [FrozenBatchNorm(1, 1), nn.Identity(), spectral_norm(nn.Linear(1, 2))]
)
def test_a_network_without_averages_is_refused(norm):
    message = "statistics must be running, .* keeps no statistics of batches"
    with pytest.raises(ValueError, match=message):
        recalibrate(nn.Sequential(norm), blocks_of([4.0, 8.0]))
