import pytest
import torch
from timm.layers import grn

from normlab.norms import GlobalResponseNorm
from norms.helpers import assert_same, channels, draw, randomized


def test_global_response_norm_by_head():
    layer = GlobalResponseNorm(2, 1, eps=0.0)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([2.0, 3.0]))
        layer.bias.copy_(torch.tensor([10.0, 20.0]))
    # Positions (3, 4) have length 5 and (0, -15) have 15; their mean is 10.
    x = torch.tensor([[[3.0, 4.0], [0.0, -15.0]]])
    expected = [[[3 + 3.0 + 10, 4 + 4.0 + 10], [20.0, -15 - 15 * 1.5 * 3 + 20]]]
    torch.testing.assert_close(layer(x), torch.tensor(expected))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("dim", "shape"), [(1, (6, 4)), (2, (3, 4, 5, 2))])
def test_global_response_norm_by_its_formula(dim, shape, training):
    layer = randomized(GlobalResponseNorm(4, dim, eps=0.1)).train(training)
    x = draw(*shape)
    response = torch.empty_like(x)
    for n in range(shape[0]):
        lengths = [x[n, c].pow(2).sum().sqrt() for c in range(4)]
        for c in range(4):
            response[n, c] = lengths[c] / (sum(lengths) / 4 + 0.1)
    y = x + x * response * channels(layer.weight, x) + channels(layer.bias, x)
    torch.testing.assert_close(layer(x), y)


def test_it_begins_as_the_identity():
    x = draw(3, 4, 5, 2)
    assert torch.equal(GlobalResponseNorm(4, 2)(x), x)


def test_it_is_timms():
    ours = randomized(GlobalResponseNorm(8, 2))
    theirs = grn.GlobalResponseNorm(8, channels_last=False).double()
    theirs.load_state_dict(ours.state_dict())
    assert_same(ours, theirs, draw(5, 8, 4, 3))


def test_a_sample_of_zeros_gives_the_shift():
    layer = randomized(GlobalResponseNorm(2, 2))
    x = torch.zeros(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    torch.testing.assert_close(y, channels(layer.bias, x))
    assert x.grad.isfinite().all()
