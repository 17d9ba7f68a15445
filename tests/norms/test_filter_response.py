import pytest
import timm
import torch

from normlab.norms import FilterResponseNorm
from norms.helpers import assert_same, channels, draw, randomized


def test_filter_response_norm_is_timms():
    ours = FilterResponseNorm(8, 2, eps=1e-5)
    theirs = timm.layers.FilterResponseNormTlu2d(8, eps=1e-5)
    randomized(ours)
    theirs.double().load_state_dict(
        {
            name: ours.get_parameter(own).detach()
            for name, own in (
                ("weight", "weight"),
                ("bias", "bias"),
                ("tau", "threshold"),
            )
        }
    )
    assert_same(ours, theirs, draw(5, 8, 4, 3))


def test_filter_response_norm_by_head():
    layer = FilterResponseNorm(1, 1, eps=0.0)
    with torch.no_grad():
        layer.weight.fill_(10.0)
        layer.bias.fill_(1.0)
        layer.threshold.fill_(-5.0)
    # A mean square of 25, hence 10 * x / 5 + 1, and -13 is below the threshold.
    y = layer(torch.tensor([[[1.0, 7.0]], [[1.0, -7.0]]]))
    torch.testing.assert_close(y, torch.tensor([[[3.0, 15.0]], [[3.0, -5.0]]]))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("dim", "shape"), [(1, (6, 4, 5)), (3, (3, 4, 2, 3, 2))])
def test_filter_response_norm_by_its_formula(dim, shape, training):
    layer = randomized(FilterResponseNorm(4, dim, eps=0.3)).train(training)
    x = draw(*shape)
    y = torch.empty_like(x)
    for n in range(shape[0]):
        for c in range(4):
            root = (x[n, c].square().mean() + 0.3).sqrt()
            y[n, c] = x[n, c] / root * layer.weight[c] + layer.bias[c]
    y = torch.maximum(y, channels(layer.threshold, x))
    torch.testing.assert_close(layer(x), y)
    assert (y == channels(layer.threshold, x)).any()


def test_filter_response_norm_of_a_vector_by_head():
    layer = FilterResponseNorm(2, 1, eps=0.0)
    y = layer(torch.tensor([[1.0, 7.0]]))
    torch.testing.assert_close(y, torch.tensor([[0.2, 1.4]]))  # / sqrt(25)
    assert layer(torch.tensor([[1.0, -7.0]]))[0, 1].item() == 0.0


@pytest.mark.parametrize("axes", [(), (1,), (1, 1), (1, 1, 1)])
def test_filter_response_norm_takes_one_position_as_a_vector(axes):
    layer = FilterResponseNorm(2, max(1, len(axes)), eps=0.0)
    torch.testing.assert_close(
        layer(torch.tensor([[1.0, 7.0]]).view(1, 2, *axes)).flatten(),
        torch.tensor([0.2, 1.4]),
    )
    one = FilterResponseNorm(1, max(1, len(axes)))
    with pytest.raises(
        ValueError, match=r"expected more than one value to normalize over, got shape"
    ):
        one(torch.ones(4, 1, *axes))


def test_the_sign_of_eps_does_not_matter():
    x = draw(3, 4, 5, dtype=torch.float32)
    assert torch.equal(
        FilterResponseNorm(4, 1, eps=-0.3)(x), FilterResponseNorm(4, 1, eps=0.3)(x)
    )
