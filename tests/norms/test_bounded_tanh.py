from math import sqrt, tanh

import pytest
import torch

from normlab.norms import BoundedTanh
from norms.helpers import channels, draw, randomized


def test_bounded_tanh_by_head():
    layer = BoundedTanh(2, 1, slope=2.0, eps=0.0)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([3.0, 5.0]))
    root = sqrt(25 / 2)  # of the mean square of 3 and 4
    expected = [[3 * tanh(2 * 3 / root), -5 * tanh(2 * 4 / root)]]
    torch.testing.assert_close(
        layer(torch.tensor([[3.0, -4.0]])), torch.tensor(expected)
    )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("dim", "shape"), [(1, (6, 4)), (2, (3, 4, 5, 2))])
def test_bounded_tanh_by_its_formula(dim, shape, training):
    layer = randomized(BoundedTanh(4, dim, slope=0.7, eps=0.1)).train(training)
    x = draw(*shape)
    mean_square = sum(x[:, c] ** 2 for c in range(4)).unsqueeze(1) / 4
    y = (0.7 * x / (mean_square + 0.1).sqrt()).tanh()
    torch.testing.assert_close(layer(x), y * channels(layer.weight, x))


def test_no_value_exceeds_its_scale_whatever_the_input():
    layer = BoundedTanh(3, 1)
    y = layer(torch.tensor([[1e6, 1.0, -1.0], [0.0, 0.0, 0.0]]))
    assert y.abs().max() <= 1
    assert y[0, 0].item() == pytest.approx(tanh(2 * sqrt(3)))
    assert y[1].tolist() == [0.0] * 3


def test_one_channel_is_refused():
    with pytest.raises(ValueError, match="bounded tanh needs at least 2 channels"):
        BoundedTanh(1, 1)
