import pytest
import timm
import torch

from normlab.norms import EvoNormB0, EvoNormS0
from norms.helpers import assert_same, channels, draw, over_channels, randomized


def by_instance(x):
    """Biased variance over the positions of every sample and channel, written out."""
    if x.ndim == 2:
        return torch.zeros_like(x)
    var = torch.empty_like(x)
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            var[n, c] = x[n, c].var(correction=0)
    return var


def test_evonorms_are_timms():
    x = draw(5, 8, 4, 3)
    ours, theirs = EvoNormS0(8, 2, num_groups=4), timm.layers.EvoNorm2dS0(8, groups=4)
    randomized(ours)
    theirs.double().load_state_dict(ours.state_dict())
    assert_same(ours, theirs, x)
    ours, theirs = EvoNormB0(8, 2, eps=1e-3), timm.layers.EvoNorm2dB0(8, eps=1e-3)
    # In float32, which is what timm computes variances in.
    randomized(ours).float()
    theirs.load_state_dict(ours.state_dict())
    for training in (True, False):
        ours.train(training)
        theirs.train(training)
        assert_same(ours, theirs, x.float(), tolerance=1e-5)
        torch.testing.assert_close(ours.state_dict(), theirs.state_dict())


def test_evonorm_b0_by_head():
    layer = EvoNormB0(1, 1, eps=0.0, momentum=0.5)
    with torch.no_grad():
        layer.v.fill_(3.0)
        layer.weight.fill_(10.0)
        layer.bias.fill_(1.0)
    # A standard deviation of 2; v * x is 6 and -6.
    y = layer(torch.tensor([[2.0], [-2.0]]))
    torch.testing.assert_close(y, torch.tensor([[10 / 3 + 1], [-9.0]]))
    assert layer.running_var.item() == 0.5 * 1 + 0.5 * 8  # the unbiased variance
    y = layer.eval()(torch.tensor([[-9.0]]))
    torch.testing.assert_close(y, torch.tensor([[-90 / 4.5**0.5 + 1]]))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("dim", "shape"), [(1, (6, 4)), (2, (3, 4, 5, 2))])
def test_evonorm_b0_by_its_formula_with_random_state(dim, shape, training):
    layer = randomized(EvoNormB0(4, dim, eps=0.3, momentum=0.25)).train(training)
    running = layer.running_var.clone()
    x = draw(*shape)
    var = channels(running, x)
    if training:
        var = over_channels(lambda values: values.var(correction=0), x)
    v, weight, bias = (channels(p, x) for p in (layer.v, layer.weight, layer.bias))
    instance = v * x + (by_instance(x) + 0.3).sqrt()
    batch = (var + 0.3).sqrt()
    y = x / torch.maximum(batch, instance) * weight + bias
    assert (instance > batch).any()
    assert (instance < batch).any()
    torch.testing.assert_close(layer(x), y)
    if training:
        unbiased = x.transpose(0, 1).flatten(1).var(1)
        running = 0.75 * running + 0.25 * unbiased
    torch.testing.assert_close(layer.running_var, running)


def test_one_value_per_channel_is_refused_in_training():
    layer = EvoNormB0(4, 1)
    with pytest.raises(ValueError, match=r"one value per channel .* shape \(1, 4\)"):
        layer(torch.randn(1, 4))
    assert layer.eval()(torch.randn(1, 4)).shape == (1, 4)


def test_evonorm_s0_by_head():
    layer = EvoNormS0(2, 1, num_groups=1, eps=0.0)
    with torch.no_grad():
        layer.v.copy_(torch.tensor([0.0, 100.0]))
        layer.weight.fill_(10.0)
        layer.bias.fill_(1.0)
    # A standard deviation of 2 around 5; the gates are 1 / 2 and 1.
    y = layer(torch.tensor([[3.0, 7.0]]))
    torch.testing.assert_close(y, torch.tensor([[3 / 4 * 10 + 1, 7 / 2 * 10 + 1]]))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("dim", "shape"), [(1, (6, 4)), (2, (3, 4, 5, 2))])
def test_evonorm_s0_by_its_formula_with_random_state(dim, shape, training):
    layer = randomized(EvoNormS0(4, dim, num_groups=2, eps=0.3)).train(training)
    x = draw(*shape)
    std = torch.empty_like(x)
    for n in range(shape[0]):
        for group in (slice(0, 2), slice(2, 4)):
            std[n, group] = (x[n, group].var(correction=0) + 0.3).sqrt()
    v, weight, bias = (channels(p, x) for p in (layer.v, layer.weight, layer.bias))
    y = x * torch.sigmoid(v * x) / std * weight + bias
    torch.testing.assert_close(layer(x), y)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_evonorm_b0_in_half_precision_rounds_once_in_evaluation(dtype):
    layer = randomized(EvoNormB0(4, 2)).to(dtype).eval()
    exact = EvoNormB0(4, 2).double().eval()
    exact.load_state_dict(layer.state_dict())
    x = draw(16, 4, 7, 7, dtype=dtype)
    expected = exact(x.double())
    unit = torch.finfo(dtype).eps
    error = (layer(x).double() - expected).abs()
    assert (error <= 0.51 * unit * expected.abs() + unit**2).all()
