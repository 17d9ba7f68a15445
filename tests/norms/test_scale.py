import pytest
import torch

from normlab.norms import ScaleNorm
from norms.helpers import draw, from_x_transformers, randomized


def test_scale_norm_by_head():
    layer = ScaleNorm(2, 1)
    with torch.no_grad():
        layer.length.fill_(10)
    x = torch.tensor([[3.0, 4.0], [0.0, -2.0]])
    torch.testing.assert_close(layer(x), torch.tensor([[6.0, 8.0], [0.0, -10.0]]))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("dim", "shape"), [(1, (6, 4)), (2, (3, 4, 5, 2))])
def test_every_position_has_the_learned_length(dim, shape, training):
    layer = randomized(ScaleNorm(4, dim)).train(training)
    x = draw(*shape)
    y = layer(x)
    length = layer.length.abs().expand(shape[0], *shape[2:])
    torch.testing.assert_close(y.square().sum(1).sqrt(), length)
    ratios = y / x
    torch.testing.assert_close(ratios, ratios[:, :1].expand(shape))


def test_it_begins_as_root_mean_square_norm():
    x = draw(6, 4)
    y = ScaleNorm(4, 1).double()(x)
    torch.testing.assert_close(y.square().mean(1), torch.ones(6, dtype=x.dtype))


def test_a_position_of_zeros_stays_and_has_a_gradient():
    x = torch.zeros(2, 3, requires_grad=True)
    y = ScaleNorm(3, 1)(x)
    y.sum().backward()
    assert y.tolist() == [[0.0] * 3] * 2
    assert x.grad.isfinite().all()


def test_one_channel_is_refused():
    with pytest.raises(ValueError, match="scale norm needs at least 2 channels, got 1"):
        ScaleNorm(1, 1)


def test_scale_norm_is_that_of_x_transformers():
    theirs = from_x_transformers("ScaleNorm", 4)
    ours, x = randomized(ScaleNorm(4, 1)), draw(6, 4)
    with torch.no_grad():
        theirs.g.copy_(ours.length / 2)  # theirs multiplies by the root of 4
    torch.testing.assert_close(ours(x), theirs(x))
