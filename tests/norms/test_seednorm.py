from math import sqrt, tanh

import pytest
import torch

from normlab.norms import RMSNorm, SeeDNorm
from norms.helpers import channels, draw, randomized


def test_seednorm_by_head():
    layer = SeeDNorm(2, 1, eps=0.0)
    with torch.no_grad():
        layer.direction.copy_(torch.tensor([1.0, -1.0]))
        layer.alpha.copy_(torch.tensor([2.0, 3.0]))
        layer.weight.copy_(torch.tensor([5.0, 7.0]))
    # The direction reads 1 - 7 = -6, and the mean square is 25.
    expected = [[(2 * tanh(-6) + 5) / 5, (3 * tanh(-6) + 7) * 7 / 5]]
    torch.testing.assert_close(
        layer(torch.tensor([[1.0, 7.0]])), torch.tensor(expected)
    )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("dim", "shape"), [(1, (6, 4)), (2, (3, 4, 5, 2))])
def test_seednorm_by_its_formula(dim, shape, training):
    layer = randomized(SeeDNorm(4, dim, eps=0.1)).train(training)
    x = draw(*shape)
    reading = sum(layer.direction[c] * x[:, c] for c in range(4)).unsqueeze(1)
    scale = reading.tanh() * channels(layer.alpha, x) + channels(layer.weight, x)
    mean_square = sum(x[:, c] ** 2 for c in range(4)).unsqueeze(1) / 4
    torch.testing.assert_close(layer(x), scale * x / (mean_square + 0.1).sqrt())


def test_it_begins_as_root_mean_square_norm():
    x = draw(6, 4)
    torch.testing.assert_close(SeeDNorm(4, 1).double()(x), RMSNorm(4, 1).double()(x))


def test_the_length_of_the_input_is_not_lost():
    layer = SeeDNorm(2, 1, eps=0.0)
    with torch.no_grad():
        layer.direction.fill_(0.1)
    short = layer(torch.tensor([[1.0, 1.0]]))
    long = layer(torch.tensor([[3.0, 3.0]]))
    torch.testing.assert_close(short, torch.full((1, 2), 1 + tanh(0.2)))
    torch.testing.assert_close(long, torch.full((1, 2), 1 + tanh(0.6)))


def test_the_direction_is_learned_from_the_start():
    layer = SeeDNorm(2, 1, eps=0.0)
    layer(torch.tensor([[1.0, 1.0]])).sum().backward()
    # tanh has slope 1 at 0; both channels are 1 after normalization.
    assert layer.direction.grad.tolist() == pytest.approx([2.0, 2.0])
    assert layer.alpha.grad.tolist() == [0.0, 0.0]


def test_one_channel_is_refused():
    with pytest.raises(ValueError, match="needs at least 2 channels, got 1"):
        SeeDNorm(1, 1)


def test_a_large_input_saturates_the_scale_only():
    layer = SeeDNorm(2, 1)
    with torch.no_grad():
        layer.direction.fill_(1.0)
    y = layer(torch.tensor([[3e4, 4e4]]))
    norm = sqrt((9 + 16) / 2)
    torch.testing.assert_close(y, torch.tensor([[2 * 3 / norm, 2 * 4 / norm]]))
