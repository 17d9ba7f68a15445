"""Adaptive clipping, by head and against timm's."""

import torch
from timm.utils import agc
from torch import nn

from normlab.training.clipping import clip_adaptively


def with_gradients(network, weights, gradients):
    for parameter, weight, gradient in zip(
        network.parameters(), weights, gradients, strict=True
    ):
        parameter.data = torch.tensor(weight)
        parameter.grad = torch.tensor(gradient)
    return network


def test_adaptive_clipping_by_head():
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1, bias=False))
    with_gradients(
        network,
        [[[3.0, 4.0], [3.0, 4.0], [0.0, 0.0]], [0.0, 3.0, 4.0], [[1.0, 1.0, 1.0]]],
        [[[6.0, 8.0], [0.3, 0.4], [0.0, 1.0]], [0.0, 10.0, 0.0], [[9.0, 9.0, 9.0]]],
    )
    clip_adaptively(network, 0.5)
    # Half of the weights' norm of 5; short enough; half of the smallest norm of 1e-3.
    expected = torch.tensor([[1.5, 2.0], [0.3, 0.4], [0.0, 0.0005]])
    torch.testing.assert_close(network[0].weight.grad, expected)
    torch.testing.assert_close(network[0].bias.grad, torch.tensor([0.0, 2.5, 0.0]))
    # The layer that makes the predictions is left alone.
    assert network[1].weight.grad.tolist() == [[9.0, 9.0, 9.0]]


def test_adaptive_clipping_is_timms():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(36, 2)]
    networks = []
    for _ in range(2):
        network = nn.Sequential(*layers).double()
        torch.manual_seed(1)
        for parameter in network.parameters():
            scales = 10 ** torch.linspace(-3, 3, len(parameter), dtype=torch.float64)
            scales = scales.view(-1, *[1] * (parameter.ndim - 1))
            parameter.grad = torch.randn_like(parameter) * scales
        networks.append([parameter.grad for parameter in network.parameters()])
        if len(networks) == 1:
            clip_adaptively(network, 0.01)
        else:
            agc.adaptive_clip_grad(network[:-1].parameters(), 0.01)
    ours, theirs = networks
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)


def test_parameters_without_gradient_stay_without():
    network = nn.Sequential(nn.Conv1d(1, 1, 1))
    clip_adaptively(network, 0.01)
    assert network[0].weight.grad is None
