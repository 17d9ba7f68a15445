import pytest
import timm
import torch
from torch import nn

from normlab.norms import LayerNorm, LayerNormPerPixel, RMSNorm
from norms.helpers import assert_same, channels, draw, from_x_transformers, randomized

SHAPES = [(1, (6, 4)), (1, (6, 4, 5)), (2, (3, 4, 5, 2)), (3, (3, 4, 2, 3, 2))]


def test_layer_norm_per_pixel_is_timms():
    ours, theirs = LayerNormPerPixel(8, 2), timm.layers.LayerNorm2d(8)
    randomized(theirs)
    ours.double().load_state_dict(theirs.state_dict())
    assert_same(ours, theirs, draw(5, 8, 4, 3))


def test_layer_norm_per_pixel_of_vectors_is_layer_norm():
    ours, theirs = LayerNormPerPixel(8, 1), randomized(LayerNorm(8, 1, eps=1e-6))
    ours.double().load_state_dict(theirs.state_dict())
    assert_same(ours, theirs, draw(5, 8))


def test_layer_norm_per_pixel_by_head():
    layer = LayerNormPerPixel(2, 1, eps=0.0)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([10.0, 20.0]))
        layer.bias.copy_(torch.tensor([1.0, 2.0]))
    # Two positions, of mean 2 and deviation 1, and of mean 15 and deviation 5.
    y = layer(torch.tensor([[[1.0, 20.0], [3.0, 10.0]]]))
    assert y.tolist() == [[[-9.0, 11.0], [22.0, -18.0]]]


@pytest.mark.parametrize(("dim", "shape"), SHAPES)
def test_layer_norm_per_pixel_by_its_formula(dim, shape):
    layer = randomized(LayerNormPerPixel(4, dim, eps=0.3))
    x = draw(*shape)
    mean = sum(x[:, c] for c in range(4)).unsqueeze(1) / 4
    var = sum((x - mean)[:, c].square() for c in range(4)).unsqueeze(1) / 4
    y = (x - mean) / (var + 0.3).sqrt()
    expected = y * channels(layer.weight, x) + channels(layer.bias, x)
    torch.testing.assert_close(layer(x), expected)
    plain = LayerNormPerPixel(4, dim, eps=0.3, affine=False)
    torch.testing.assert_close(plain(x), y)


def test_rms_norm_is_torchs():
    ours, theirs = RMSNorm(8, 1, eps=1e-6), nn.RMSNorm(8, eps=1e-6)
    randomized(theirs)
    ours.double().load_state_dict(theirs.state_dict())
    assert_same(ours, theirs, draw(5, 8))


def test_rms_norm_without_scale_is_that_of_others():
    ours = RMSNorm(8, 1, eps=0.0, affine=False)
    assert list(ours.parameters()) == []
    for theirs in (
        from_x_transformers("SimpleRMSNorm", 8),
        nn.RMSNorm(8, eps=0.0, elementwise_affine=False),
    ):
        assert_same(ours, theirs, draw(5, 8), 1e-12)


def test_rms_norm_by_head():
    assert RMSNorm(2, 1, eps=0.0)(torch.tensor([[3.0, 4.0]])).tolist() == [
        [pytest.approx(3 / 12.5**0.5), pytest.approx(4 / 12.5**0.5)]
    ]


@pytest.mark.parametrize(("dim", "shape"), SHAPES)
def test_rms_norm_by_its_formula(dim, shape):
    layer = randomized(RMSNorm(4, dim, eps=0.3))
    x = draw(*shape)
    mean_square = sum(x[:, c].square() for c in range(4)).unsqueeze(1) / 4
    y = x / (mean_square + 0.3).sqrt()
    torch.testing.assert_close(layer(x), y * channels(layer.weight, x))
    torch.testing.assert_close(RMSNorm(4, dim, eps=0.3, affine=False)(x), y)


def test_one_channel_is_refused():
    with pytest.raises(
        ValueError, match="root mean square norm needs at least 2 channels, got 1"
    ):
        RMSNorm(1, 2)
    with pytest.raises(
        ValueError, match="layer norm per pixel needs at least 2 channels, got 1"
    ):
        LayerNormPerPixel(1, 2)
