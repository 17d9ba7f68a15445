import pytest
import torch
from torch import nn

from normlab.stacked.network import stack_networks
from normlab.stacked.optimizers import KINDS, clip, why_not

SETTINGS = {
    "plain": (torch.optim.SGD, [{"lr": 0.1}, {"lr": 0.02}]),
    "momentum": (
        torch.optim.SGD,
        [{"lr": 0.1, "momentum": 0.9}, {"lr": 0.02, "weight_decay": 0.1}],
    ),
    "nesterov": (
        torch.optim.SGD,
        [{"lr": rate, "momentum": 0.5, "nesterov": True} for rate in (0.1, 0.03)],
    ),
    "adam": (
        torch.optim.Adam,
        [{"lr": 0.01, "betas": (0.8, 0.99)}, {"lr": 0.02, "weight_decay": 0.1}],
    ),
    "adamw": (
        torch.optim.AdamW,
        [{"lr": 0.01, "eps": 1e-3}, {"lr": 0.02, "weight_decay": 0.2}],
    ),
}


def networks_and_optimizers(kind, settings):
    torch.manual_seed(0)
    networks = [nn.Linear(3, 2).double() for _ in settings]
    optimizers = []
    for network, options in zip(networks, settings, strict=True):
        options = dict(options)
        decay = options.pop("weight_decay", 0.0)
        groups = [
            {"params": [network.weight], "weight_decay": decay},
            {"params": [network.bias], "weight_decay": 0.0},
        ]
        optimizers.append(kind(groups, **options))
    return networks, optimizers


def gradients_of(steps, count):
    generator = torch.Generator().manual_seed(1)
    shape = (steps, count, 8)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def train_alone(networks, optimizers, gradients):
    for step in gradients:
        for network, optimizer, row in zip(networks, optimizers, step, strict=True):
            network.weight.grad = row[:6].view(2, 3).clone()
            network.bias.grad = row[6:].clone()
            optimizer.step()


def stacked(networks, optimizers):
    stack = stack_networks(networks)
    parameters = [list(network.parameters()) for network in networks]
    kind = KINDS[type(optimizers[0])]
    return stack, kind(optimizers, parameters, stack.weights)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_thousand_steps_are_those_of_torch(name):
    gradients = gradients_of(1000, 2)
    alone = networks_and_optimizers(*SETTINGS[name])
    train_alone(*alone, gradients)
    networks, optimizers = networks_and_optimizers(*SETTINGS[name])
    stack, optimizer = stacked(networks, optimizers)
    for step in gradients:
        optimizer.step(stack.weights, step.clone())
    for one, two in zip(networks, alone[0], strict=True):
        torch.testing.assert_close(one.weight, two.weight, rtol=1e-11, atol=1e-12)
        torch.testing.assert_close(one.bias, two.bias, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_steps_alone_and_in_a_stack_follow_each_other(name):
    gradients = gradients_of(30, 2)
    alone = networks_and_optimizers(*SETTINGS[name])
    train_alone(*alone, gradients)
    networks, optimizers = networks_and_optimizers(*SETTINGS[name])
    train_alone(networks, optimizers, gradients[:10])
    stack, optimizer = stacked(networks, optimizers)
    for step in gradients[10:20]:
        optimizer.step(stack.weights, step.clone())
    train_alone(networks, optimizers, gradients[20:])
    for one, two in zip(networks, alone[0], strict=True):
        torch.testing.assert_close(one.weight, two.weight, rtol=1e-11, atol=1e-12)


def test_a_rate_that_a_schedule_has_changed_holds_after_refresh():
    networks, optimizers = networks_and_optimizers(*SETTINGS["plain"])
    stack, optimizer = stacked(networks, optimizers)
    before = stack.weights.clone()
    for group in optimizers[1].param_groups:
        group["lr"] = 0.5
    optimizer.refresh()
    optimizer.step(stack.weights, torch.ones_like(before))
    moved = before - stack.weights
    wanted = torch.tensor([[0.1], [0.5]], dtype=torch.float64).expand_as(moved)
    torch.testing.assert_close(moved, wanted)


def test_some_networks_of_a_stack_can_make_a_step():
    networks, optimizers = networks_and_optimizers(*SETTINGS["momentum"])
    stack, optimizer = stacked(networks, optimizers)
    chosen = torch.tensor([1])
    before = stack.weights.clone()
    part = optimizer.take(chosen)
    weights = stack.weights.index_select(0, chosen)
    part.step(weights, torch.ones_like(weights))
    optimizer.put(chosen, part)
    torch.testing.assert_close(stack.weights, before)
    averages = optimizer.state["momentum_buffer"]
    assert averages[0].tolist() == [0.0] * 8
    assert averages[1].ne(0.0).all()


def test_rates_that_all_share_stay_plain_numbers():
    _, optimizer = stacked(*networks_and_optimizers(*SETTINGS["nesterov"]))
    assert optimizer.rate["momentum"] == 0.5
    assert optimizer.rate["lr"].tolist() == [[0.1], [0.03]]


def test_decay_of_some_parameters_has_a_number_for_every_weight():
    _, optimizer = stacked(*networks_and_optimizers(*SETTINGS["momentum"]))
    first, second = optimizer.rate["weight_decay"].tolist()
    assert first == [0.0] * 8
    assert second == [0.1] * 6 + [0.0] * 2


def test_gradients_are_clipped_as_by_torch():
    gradients = gradients_of(1, 3)[0]
    shortened = clip(gradients, [0.5, None, 100.0])
    parameter = nn.Parameter(torch.zeros(8, dtype=torch.float64))
    parameter.grad = gradients[0].clone()
    nn.utils.clip_grad_norm_([parameter], 0.5)
    torch.testing.assert_close(shortened[0], parameter.grad)
    assert torch.equal(shortened[1:], gradients[1:])


def test_an_infinite_gradient_stays_one_where_nothing_is_clipped():
    gradients = torch.tensor([[torch.inf, 1.0], [3.0, 4.0]])
    assert clip(gradients, [None, 1.0])[0].tolist() == [torch.inf, 1.0]


@pytest.mark.parametrize(
    ("optimizer", "reason"),
    [
        (lambda values: torch.optim.Adagrad(values), "the optimizer Adagrad has no"),
        (
            lambda values: torch.optim.SGD(values, momentum=0.9, dampening=0.1),
            "optimizer.dampening must be 0, got 0.1",
        ),
        (
            lambda values: torch.optim.Adam(values, amsgrad=True),
            "optimizer.amsgrad must be False, got True",
        ),
        (lambda values: torch.optim.SGD(values), None),
    ],
)
def test_optimizers_without_a_stacked_form_are_named(optimizer, reason):
    found = why_not([optimizer([nn.Parameter(torch.zeros(1))])])
    assert found is None if reason is None else found.startswith(reason)
