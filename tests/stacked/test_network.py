import torch
from torch import nn
from torch.nn import functional

from normlab.norms.batch import BatchNorm
from normlab.stacked.network import stack_networks, structure


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), BatchNorm(4, 1), nn.Linear(4, 2))


def test_gradients_and_running_averages_are_those_of_each_network():
    networks = [network(0), network(1)]
    stacked = stack_networks(networks)
    inputs = torch.randn(2, 5, 3)
    classes = torch.tensor([[0, 1, 0, 1, 1], [1, 0, 0, 0, 1]])
    gradients, losses, predictions = stacked.gradients(
        functional.cross_entropy, inputs, classes
    )
    for number in range(2):
        alone = network(number)
        output = alone(inputs[number])
        loss = functional.cross_entropy(output, classes[number])
        loss.backward()
        wanted = torch.cat([value.grad.flatten() for value in alone.parameters()])
        torch.testing.assert_close(gradients[number], wanted)
        torch.testing.assert_close(losses[number], loss.detach())
        torch.testing.assert_close(predictions[number], output.detach())
        torch.testing.assert_close(
            networks[number][1].running_mean, alone[1].running_mean
        )
        assert int(networks[number][1].num_batches_tracked) == 1


def test_networks_stay_views_of_the_stack():
    networks = [network(0), network(1)]
    before = [each[0].weight.clone() for each in networks]
    stacked = stack_networks(networks)
    assert all(
        torch.equal(one, two[0].weight)
        for one, two in zip(before, networks, strict=True)
    )
    stacked.weights[1] = 0.5
    assert torch.equal(networks[0][0].weight, before[0])
    assert networks[1][0].weight.eq(0.5).all()
    assert networks[1][2].bias.eq(0.5).all()


def test_parameters_that_are_not_trained_stay_as_they_are():
    networks = [network(0), network(1)]
    for each in networks:
        each[0].weight.requires_grad_(False)
    stacked = stack_networks(networks)
    assert stacked.names == ("0.bias", "1.weight", "1.bias", "2.weight", "2.bias")
    assert list(stacked.constants) == ["0.weight"]
    assert stacked.weights.shape == (2, 4 + 4 + 4 + 8 + 2)


def test_some_networks_can_be_taken_and_put_back():
    networks = [network(0), network(1), network(2)]
    stacked = stack_networks(networks)
    chosen = torch.tensor([2, 0])
    part = stacked.take(chosen)
    part.weights.fill_(1.0)
    part.buffers["1.running_var"].fill_(3.0)
    assert not networks[0][0].weight.eq(1.0).any()
    stacked.put(chosen, part)
    assert networks[0][0].weight.eq(1.0).all()
    assert networks[2][1].running_var.eq(3.0).all()
    assert networks[1][1].running_var.eq(1.0).all()
    assert not networks[1][0].weight.eq(1.0).any()


def test_parameters_that_are_not_trained_are_put_back_too():
    networks = [network(0), network(1)]
    for each in networks:
        each[0].bias.requires_grad_(False)
    stacked = stack_networks(networks)
    chosen = torch.tensor([1])
    part = stacked.take(chosen)
    part.constants["0.bias"].fill_(2.0)
    stacked.put(chosen, part)
    assert networks[1][0].bias.eq(2.0).all()
    assert not networks[0][0].bias.eq(2.0).any()


def test_structure_names_shapes_and_types():
    assert structure(network(0)) == structure(network(1))
    assert structure(network(0)) != structure(network(0).double())
    assert structure(nn.Linear(2, 3)) != structure(nn.Linear(3, 2))
