from math import erf, exp, pi, sqrt

import pytest
import torch

from normlab.norms import DynamicErf
from norms.helpers import channels, draw, from_x_transformers, randomized


def test_dynamic_erf_by_head():
    layer = DynamicErf(2, 1, alpha=2.0, shift=1.0)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([3.0, 5.0]))
        layer.bias.copy_(torch.tensor([1.0, -1.0]))
    expected = [[3 * erf(2) + 1, 5 * erf(0) - 1]]
    torch.testing.assert_close(
        layer(torch.tensor([[0.5, -0.5]])), torch.tensor(expected)
    )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("dim", "shape"), [(1, (6, 4)), (2, (3, 4, 5, 2))])
def test_dynamic_erf_by_its_formula(dim, shape, training):
    layer = randomized(DynamicErf(4, dim)).train(training)
    x = draw(*shape)
    y = (layer.alpha.item() * x + layer.shift.item()).erf() * channels(layer.weight, x)
    torch.testing.assert_close(layer(x), y + channels(layer.bias, x))


def test_slope_and_shift_start_at_their_options_and_are_learned():
    whole = DynamicErf(2, 1, alpha=1, shift=0)
    assert (whole.alpha.tolist(), whole.shift.tolist()) == ([1.0], [0.0])
    layer = DynamicErf(2, 1, alpha=0.25, shift=0.5)
    assert (layer.alpha.tolist(), layer.shift.tolist()) == ([0.25], [0.5])
    layer(torch.full((3, 2), 2.0)).sum().backward()
    slope = 2 / sqrt(pi) * exp(-1)  # of the error function at 0.25 * 2 + 0.5
    assert layer.shift.grad.item() == pytest.approx(6 * slope)
    assert layer.alpha.grad.item() == pytest.approx(12 * slope)


def test_dynamic_erf_is_that_of_x_transformers():
    theirs = from_x_transformers("Derf", 4)
    ours, x = randomized(DynamicErf(4, 1)), draw(6, 4)
    names = {"alpha": "alpha", "shift": "s", "weight": "gamma", "bias": "beta"}
    with torch.no_grad():
        for name, other in names.items():
            parameter = theirs.get_parameter(other)
            parameter.copy_(ours.get_parameter(name).view_as(parameter))
    torch.testing.assert_close(ours(x), theirs(x))
