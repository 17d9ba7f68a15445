"""What norms on weights compute, and which weights they reach or name."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from normlab.models import AlexNet, RecurrentNetwork
from normlab.models.alexnet import no_norm
from normlab.norms import (
    GroupNorm,
    MovingAverageBatchNorm,
    centre_weights,
    limit_spectrum,
    normalize_weights,
    standardize_weights,
)
from normlab.norms.on_weights import (
    is_weight_length,
    plain_name,
    weights_without_norm,
)
from norms.helpers import draw

NORMS = [normalize_weights, standardize_weights, centre_weights, limit_spectrum]


def recurrent(seed=0, norm=GroupNorm):
    torch.manual_seed(seed)
    return RecurrentNetwork((1, 8, 8), 3, norm, hidden=16, noise=0.0)


class Upwards(nn.Module):
    def __init__(self, groups=1):
        super().__init__()
        self.up = nn.ConvTranspose2d(4, 6, 2, groups=groups)
        self.output = nn.Linear(6, 3)

    def forward(self, x):
        return self.output(self.up(x).mean((2, 3)))


class Attentive(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.output = nn.Linear(4, 3)

    def forward(self, x):
        return self.output(self.attention(x, x, x)[0].mean(1))


def test_weight_norm_computes_what_the_network_did_before():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(8, 4, 2), nn.Flatten(), nn.Linear(24, 3))
    x = draw(5, 8, 4, 3, dtype=torch.float32)
    before = network(x)
    assert normalize_weights(network) is network
    torch.testing.assert_close(network(x), before)
    assert network[0].parametrizations.weight.original0.shape == (4, 1, 1, 1)


def test_normalized_weights_by_head():
    network = normalize_weights(nn.Sequential(nn.Linear(2, 2)))
    parametrization = network[0].parametrizations.weight
    with torch.no_grad():
        parametrization.original0.copy_(torch.tensor([[10.0], [2.0]]))
        parametrization.original1.copy_(torch.tensor([[3.0, 4.0], [0.0, -7.0]]))
    expected = torch.tensor([[6.0, 8.0], [0.0, -2.0]])
    torch.testing.assert_close(network[0].weight, expected)


def test_weights_over_their_spectral_norm_by_head():
    network = nn.Sequential(nn.Linear(2, 3, bias=False))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[3.0, 0.0], [0.0, 4.0], [0.0, 3.0]]))
    torch.manual_seed(0)
    assert limit_spectrum(network, n_power_iterations=20) is network
    network(torch.ones(1, 2))
    # The columns are orthogonal, with lengths 3 and 5.
    expected = torch.tensor([[0.6, 0.0], [0.0, 0.8], [0.0, 0.6]])
    torch.testing.assert_close(network.eval()[0].weight, expected)


def test_a_layer_of_zeros_has_no_spectral_norm_to_divide_by():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    nn.init.zeros_(network[1].weight)
    with pytest.raises(ValueError, match="1.weight has no others; use another norm"):
        limit_spectrum(network)


def test_standardized_weights_by_head():
    network = nn.Sequential(nn.Linear(2, 1, bias=False), nn.Linear(1, 1))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, 3.0]]))
    output = network[1].weight.clone()
    standardize_weights(network, eps=0.0)
    torch.testing.assert_close(network[0].weight, torch.tensor([[-1.0, 1.0]]))
    assert torch.equal(network[1].weight, output)
    other = nn.Sequential(nn.Linear(4, 1))
    standardize_weights(
        other, scaled=True, activation_gain=3.0, eps=0.0, skip_output=False
    )
    # 4 inputs, each of variance 9 / 4.
    assert other[0].weight.square().sum().item() == pytest.approx(9.0)


@pytest.mark.parametrize("norm", [standardize_weights, centre_weights])
def test_one_input_cannot_be_standardized(norm):
    with pytest.raises(ValueError, match="at least 2 inputs"):
        norm(nn.Sequential(nn.Linear(1, 3)), skip_output=False)


def test_centred_weights_by_head():
    network = nn.Sequential(nn.Conv2d(2, 1, (1, 2), bias=False), nn.Linear(1, 1))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[[[1.0, 3.0]], [[4.0, 8.0]]]]))
    output = network[1].weight.clone()
    centre_weights(network)
    centred = torch.tensor([[[[-3.0, -1.0]], [[0.0, 4.0]]]])
    assert torch.equal(network[0].weight, centred)
    assert torch.equal(network[1].weight, output)
    up = nn.ConvTranspose2d(2, 3, 1)
    centre_weights(nn.Sequential(up))
    assert torch.equal(up.weight[0], -up.weight[1])


def test_centred_weights_take_a_common_shift_from_moving_averages():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 3), MovingAverageBatchNorm(3, 1))
    centre_weights(network, skip_output=False)
    x = draw(5, 4, dtype=torch.float32)
    torch.testing.assert_close(network(x + 7), network(x))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("0.parametrizations.weight.original0", True),
        ("parametrizations.in_proj_weight.original0", True),
        ("0.parametrizations.weight.original1", False),
        ("0.parametrizations.weight.original", False),
        ("0.weight", False),
    ],
)
def test_lengths_of_weight_norm_are_known_by_name(name, expected):
    assert is_weight_length(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("0.parametrizations.weight.original", "0.weight"),
        ("0.parametrizations.weight.original1", "0.weight"),
        ("parametrizations.in_proj_weight.original1", "in_proj_weight"),
        ("0.parametrizations.weight.original0", "0.parametrizations.weight.original0"),
        ("0.weight", "0.weight"),
    ],
)
def test_a_reparametrized_weight_keeps_its_plain_name(name, expected):
    assert plain_name(name) == expected


NETWORKS = {
    "recurrent": (recurrent, (5, 1, 8, 8), ["lstm.weight_x", "lstm.weight_h"]),
    "transposed": (Upwards, (5, 4, 3, 3), ["up.weight"]),
    "attention": (
        Attentive,
        (5, 6, 4),
        ["attention.in_proj_weight", "attention.out_proj.weight"],
    ),
}


@pytest.fixture(params=NETWORKS)
def case(request):
    make, shape, names = NETWORKS[request.param]
    torch.manual_seed(0)
    return make(), torch.randn(shape), names


def test_weight_norm_reaches_every_weight_and_changes_nothing(case):
    network, x, names = case
    plain = copy.deepcopy(network)
    normalize_weights(network)
    assert weights_without_norm(network) == []
    for mode in (True, False):
        torch.testing.assert_close(
            network.train(mode)(x), plain.train(mode)(x), rtol=1e-4, atol=1e-5
        )
    with torch.no_grad():
        torch.testing.assert_close(network(x), plain(x), rtol=1e-4, atol=1e-5)
    for name in names:
        owner, _, tensor = name.rpartition(".")
        direction = network.get_parameter(
            f"{owner}.parametrizations.{tensor}.original1"
        )
        torch.testing.assert_close(direction, plain.get_parameter(name))
    network(x).square().sum().backward()
    assert all(
        parameter.grad is not None
        for parameter in network.parameters()
        if parameter.requires_grad
    )


def test_standardized_weights_have_mean_0_and_variance_1(case):
    network, x, names = case
    standardize_weights(network, eps=0.0)
    assert weights_without_norm(network) == []
    for name in names:
        owner, _, tensor = name.rpartition(".")
        weight = (
            getattr(network.get_submodule(owner), tensor)
            .transpose(0, int(owner == "up"))
            .flatten(1)
        )
        torch.testing.assert_close(
            weight.mean(1), torch.zeros(len(weight)), atol=1e-6, rtol=0
        )
        torch.testing.assert_close(weight.square().mean(1), torch.ones(len(weight)))
    assert network(x).isfinite().all()


@pytest.mark.parametrize("norm", NORMS)
def test_the_state_of_an_lstm_comes_back(norm):
    network, twin, x = norm(recurrent()), norm(recurrent(1)), torch.randn(5, 1, 8, 8)
    assert not torch.equal(twin(x), network(x))
    twin.load_state_dict(network.state_dict())
    assert torch.equal(twin(x), network(x))
    assert torch.equal(copy.deepcopy(network)(x), network(x))


def test_an_lstm_computes_its_weights_once_a_batch():
    network = standardize_weights(recurrent())
    calls = []
    for name in ("weight_x", "weight_h"):
        network.lstm.parametrizations[name][0].register_forward_hook(
            lambda *_, name=name: calls.append(name)
        )
    network(torch.randn(5, 1, 8, 8))
    assert sorted(calls) == ["weight_h", "weight_x"]


@pytest.mark.parametrize("norm", NORMS)
def test_what_it_cannot_reach_is_named(norm):
    network = nn.Sequential(
        nn.Embedding(5, 4),
        nn.LSTM(4, 4),
        Upwards(groups=2),
        nn.Linear(3, 4),
        nn.Linear(4, 3),
    )
    names = ["0.weight", "1.weight_ih_l0", "1.weight_hh_l0", "2.up.weight"]
    assert weights_without_norm(norm(network)) == names


@pytest.mark.parametrize("norm", NORMS)
def test_a_network_without_weights_for_it_is_refused(norm):
    with pytest.raises(ValueError, match="the network has none; use another norm"):
        norm(nn.Sequential(nn.LSTM(4, 4)), skip_output=False)
    with pytest.raises(
        ValueError, match=r"the network has none; set reparametrize\.skip_output=false"
    ):
        norm(nn.Sequential(nn.Linear(4, 3)), skip_output=True)


def test_weights_of_zeros_have_no_direction():
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))
    nn.init.zeros_(network[1].weight[1])
    message = (
        r"1\.weight starts with an output of zeros; set reparametrize\.skip_output"
    )
    with pytest.raises(ValueError, match=message):
        normalize_weights(network)
    assert (
        normalize_weights(network, skip_output=True)(torch.randn(2, 4)).isfinite().all()
    )


def test_a_pixel_is_one_input_too_few_to_standardize():
    network = RecurrentNetwork((1, 8, 8), 3, GroupNorm, hidden=8, read="pixels")
    with pytest.raises(
        ValueError,
        match=r"at least 2 inputs, lstm\.weight_x has 1 per output; use another norm",
    ):
        standardize_weights(network)


@pytest.mark.parametrize("normalize", NORMS)
def test_frozen_weights_stay_as_they_are(normalize):
    network = AlexNet(
        (3, 64, 64), 3, no_norm, hidden=[5], norm_at=["head"], freeze="features"
    )
    before = copy.deepcopy(network.features.state_dict())
    normalize(network, skip_output=True)
    assert {
        name: value.tolist() for name, value in network.features.state_dict().items()
    } == {name: value.tolist() for name, value in before.items()}
    assert parametrize.is_parametrized(network.head.hidden1.linear, "weight")
    assert weights_without_norm(network) == []


def test_a_network_that_is_frozen_but_for_its_output_is_refused():
    network = nn.Sequential(nn.Linear(4, 4).requires_grad_(False), nn.Linear(4, 2))
    with pytest.raises(ValueError, match="needs weights in front of the output layer"):
        standardize_weights(network)
