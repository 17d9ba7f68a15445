"""The internal covariate shift of a linear network, worked out by hand."""

import math

import pytest
import torch
from torch import nn

from normlab.evaluation.batch_loss import BatchLoss
from normlab.evaluation.weight_layers import WeightLayer, weight_layers
from normlab.why.covariate_shift import covariate_shift, spread_out


def half_square(predictions, targets):
    return 0.5 * (predictions - targets).square().sum()


def product_network():
    """y = b a x with x = 2 and target 1, as two layers without biases."""
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    batch_loss = BatchLoss(
        network, half_square, torch.tensor([[2.0]]), torch.tensor([[1.0]])
    )
    return network, batch_loss


def values(a, b):
    return {"0.weight": torch.tensor([[a]]), "1.weight": torch.tensor([[b]])}


def test_the_shift_of_the_second_of_two_layers():
    # dL/db = (2 a b - 1) 2 a: 2 at a = 1, b = 1; 0 at a = 1/2; -1/2 at a = 1/4... the
    # update of b itself must not matter.
    network, batch_loss = product_network()
    layers = weight_layers(network, batch_loss.inputs)[1:]
    for new_a, difference in ((0.5, 2.0), (0.25, 2.25), (1.5, 4.0)):
        (shift,) = covariate_shift(
            batch_loss, layers, values(1.0, 1.0), values(new_a, 9.0)
        )
        assert shift.layer == "1"
        assert shift.gradient_norm == pytest.approx(2.0)
        assert shift.difference == pytest.approx(difference)


def test_the_cosine_tells_whether_the_gradient_turned():
    network, batch_loss = product_network()
    layers = weight_layers(network, batch_loss.inputs)[1:]
    cosines = []
    for new_a in (1.5, 0.25, 0.5):
        (shift,) = covariate_shift(
            batch_loss, layers, values(1.0, 1.0), values(new_a, 1.0)
        )
        cosines.append(shift.cosine)
    assert cosines[:2] == pytest.approx([1.0, -1.0])
    assert math.isnan(cosines[2])  # the new gradient vanishes


def test_a_layer_that_nothing_precedes_has_no_shift():
    network, batch_loss = product_network()
    layers = weight_layers(network, batch_loss.inputs)
    first, _ = covariate_shift(batch_loss, layers, values(1.0, 1.0), values(3.0, 3.0))
    assert (first.difference, first.cosine) == pytest.approx((0.0, 1.0))


def test_a_norm_before_a_layer_belongs_to_what_is_updated():
    network = nn.Sequential(
        nn.Linear(1, 1, bias=False), nn.LayerNorm(1), nn.Linear(1, 1, bias=False)
    )
    # Over one feature layer norm gives its shift: y = c s, dL/dc = (c s - 1) s.
    batch_loss = BatchLoss(
        network, half_square, torch.tensor([[2.0]]), torch.tensor([[1.0]])
    )
    before = {
        "0.weight": torch.ones(1, 1),
        "1.weight": torch.ones(1),
        "1.bias": torch.tensor([2.0]),
        "2.weight": torch.ones(1, 1),
    }
    after = before | {"1.bias": torch.tensor([3.0])}
    layers = weight_layers(network, batch_loss.inputs)[1:]
    (shift,) = covariate_shift(batch_loss, layers, before, after)
    assert shift.gradient_norm == pytest.approx(2.0)
    assert shift.difference == pytest.approx(4.0)  # from 2 to 6


def test_layers_are_spread_over_the_depth():
    layers = [WeightLayer(str(i), (), (), ("x",) if i else ()) for i in range(9)]
    assert [layer.name for layer in spread_out(layers, 4)] == ["1", "3", "6", "8"]
    assert [layer.name for layer in spread_out(layers[:3], 4)] == ["1", "2"]
