import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from normlab.stacked.dropout import dropout_layers, noise_like, own_noise

INPUTS = torch.arange(1.0, 31.0).view(3, 5, 2)


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def dropped_alone(inputs, seed, probability):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return functional.dropout(inputs, probability)


@pytest.mark.parametrize("probability", [0.2, 0.5, 0.9])
def test_noise_is_what_torch_draws_for_each_run(probability):
    noise = noise_like(INPUTS, probability, generators(4, 5, 6))
    for row, inputs, seed in zip(noise, INPUTS, (4, 5, 6), strict=True):
        assert torch.equal(row * inputs, dropped_alone(inputs, seed, probability))


def test_draws_follow_one_another():
    own = generators(7)
    first = noise_like(INPUTS[:1], 0.5, own)
    second = noise_like(INPUTS[:1], 0.5, own)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        wanted = [functional.dropout(torch.ones(5, 2), 0.5) for _ in range(2)]
    assert torch.equal(torch.cat([first, second]), torch.stack(wanted))


class Halves(nn.Dropout):
    """Another class of dropout, which may draw otherwise."""


def test_only_layers_of_torch_that_draw_are_taken_over():
    layers = [nn.Dropout(0.5), nn.Dropout(0.0), nn.Dropout(1.0), Halves(0.5)]
    network = nn.Sequential(*layers, nn.Dropout2d(0.5))
    assert dropout_layers(network) == [layers[0]]


def in_vmap(network, inputs, own, randomness="error"):
    def call(one):
        return functional_call(network, {}, (one,))

    with own_noise(network, own):
        return torch.vmap(call, randomness=randomness)(inputs)


def test_a_stack_drops_what_each_run_drops_alone():
    network = nn.Sequential(nn.Dropout(0.4))
    inputs = INPUTS.clone().requires_grad_()
    found = in_vmap(network, inputs, generators(1, 2, 3))
    alone = INPUTS.clone().requires_grad_()
    wanted = [
        dropped_alone(one, seed, 0.4)
        for one, seed in zip(alone, (1, 2, 3), strict=True)
    ]
    assert torch.equal(found, torch.stack(wanted))
    found.square().sum().backward()
    torch.stack(wanted).square().sum().backward()
    assert torch.equal(inputs.grad, alone.grad)


def test_inputs_that_all_runs_share_are_not_dropped_alike():
    layer = nn.Dropout(0.5)

    def call(one):
        return one + layer(torch.ones(5, 2))

    with (
        own_noise(layer, generators(1, 2, 3)),
        pytest.raises(RuntimeError, match="random operation"),
    ):
        torch.vmap(call)(torch.zeros(3, 5, 2))


def test_layers_are_left_as_they_were():
    network = nn.Sequential(nn.Dropout(0.4))
    with own_noise(network, generators(1)):
        assert "forward" in vars(network[0])
    assert "forward" not in vars(network[0])
    network.eval()
    assert torch.equal(in_vmap(network, INPUTS, generators(1, 2, 3)), INPUTS)


def test_without_generators_vmap_decides():
    with pytest.raises(RuntimeError, match="random operation"):
        in_vmap(nn.Dropout(0.5), INPUTS, None)
