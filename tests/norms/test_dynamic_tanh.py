from math import tanh

import pytest
import torch

from normlab.norms import DynamicTanh
from norms.helpers import channels, draw, randomized


def test_dynamic_tanh_by_head():
    layer = DynamicTanh(2, 1, alpha=2.0)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([3.0, 5.0]))
        layer.bias.copy_(torch.tensor([1.0, -1.0]))
    expected = [[3 * tanh(1) + 1, -5 * tanh(1) - 1]]
    torch.testing.assert_close(
        layer(torch.tensor([[0.5, -0.5]])), torch.tensor(expected)
    )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("dim", "shape"), [(1, (6, 4)), (2, (3, 4, 5, 2))])
def test_dynamic_tanh_by_its_formula(dim, shape, training):
    layer = randomized(DynamicTanh(4, dim)).train(training)
    x = draw(*shape)
    y = (layer.alpha.item() * x).tanh() * channels(layer.weight, x)
    torch.testing.assert_close(layer(x), y + channels(layer.bias, x))


def test_alpha_starts_at_its_option_and_is_learned():
    assert DynamicTanh(2, 1, alpha=1).alpha.tolist() == [1.0]
    layer = DynamicTanh(2, 1, alpha=0.25)
    assert layer.alpha.tolist() == [0.25]
    layer(torch.ones(3, 2)).sum().backward()
    assert layer.alpha.grad.item() == pytest.approx(6 * (1 - tanh(0.25) ** 2))
