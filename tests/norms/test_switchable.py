import pytest
import torch

from normlab.norms import SwitchableNorm
from normlab.norms.switchable import pooled_moments
from norms.helpers import channels, draw, over_channels, randomized


def test_switchable_norm_by_head():
    layer = SwitchableNorm(2, 2, eps=0.0).double()
    with torch.no_grad():
        layer.mean_logits.copy_(torch.tensor([2.0, 1.0, 1.0]).log())  # 1/2, 1/4, 1/4
        layer.var_logits.copy_(torch.tensor([1.0, 2.0, 1.0]).log())  # 1/4, 1/2, 1/4
    # Two samples with two channels of two positions each.
    x = torch.tensor([[[[1, 3]], [[5, 7]]], [[[9, 11]], [[1, 3]]]], dtype=torch.float64)
    # Of the first channel of the first sample: instance 2 and 1, layer 4 and 5,
    # batch 6 and 17.
    mean = 2 / 2 + 4 / 4 + 6 / 4
    std = (1 / 4 + 5 / 2 + 17 / 4) ** 0.5
    expected = torch.tensor([[(1 - mean) / std, (3 - mean) / std]], dtype=torch.float64)
    torch.testing.assert_close(layer(x)[0, 0], expected)


def test_moments_of_parts_together_by_head():
    means, variances = torch.tensor([[2.0], [6.0]]), torch.tensor([[1.0], [3.0]])
    mean, var = pooled_moments(means, variances, axis=0)
    # The means have variance 4, and the variances have mean 2.
    assert (mean.tolist(), var.tolist()) == ([[4.0]], [[6.0]])
    one = means[:1], variances[:1]
    assert pooled_moments(*one, axis=0) == one


def by_loops(layer, x, batch_mean, batch_var):
    """The formula with statistics of every sample and channel by themselves."""
    y = torch.empty_like(x)
    first = 0 if x.ndim > 2 else 1
    w = layer.mean_logits[first:].exp() / layer.mean_logits[first:].exp().sum()
    v = layer.var_logits[first:].exp() / layer.var_logits[first:].exp().sum()
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            parts = [x[n, c], x[n]][first:]
            means = torch.stack([*(one.mean() for one in parts), batch_mean[n, c]])
            variances = [one.var(correction=0) for one in parts]
            variances = torch.stack([*variances, batch_var[n, c]])
            centred = x[n, c] - (w * means).sum()
            xhat = centred / ((v * variances).sum() + layer.eps).sqrt()
            y[n, c] = xhat * layer.weight[c] + layer.bias[c]
    return y


def first_of_positions(values):
    return values.flatten(2)[:, :, 0] if values.ndim > 2 else values


@pytest.mark.parametrize(
    ("dim", "shape"), [(1, (6, 4)), (1, (6, 4, 3)), (2, (3, 4, 5, 2))]
)
def test_output_and_gradients_are_those_of_the_formula(dim, shape):
    layer = randomized(SwitchableNorm(4, dim))
    x = draw(*shape).requires_grad_()
    mean = first_of_positions(over_channels(torch.mean, x))
    var = first_of_positions(over_channels(lambda one: one.var(correction=0), x))
    expected = by_loops(layer, x, mean, var)
    dy = draw(*shape, seed=1)
    parameters = [x, *layer.parameters()]
    theirs = torch.autograd.grad((expected * dy).sum(), parameters)
    y = layer(x)
    torch.testing.assert_close(y, expected)
    ours = torch.autograd.grad((y * dy).sum(), parameters)
    torch.testing.assert_close(ours, theirs)

    layer.eval()
    mean = first_of_positions(channels(layer.running_mean, x))
    var = first_of_positions(channels(layer.running_var, x))
    torch.testing.assert_close(layer(x), by_loops(layer, x, mean, var))


@pytest.mark.parametrize("updates", [1, 10, 100])
def test_running_averages_follow_the_closed_form(updates):
    x = torch.tensor([[3.0], [7.0]], dtype=torch.float64)  # mean 5, unbiased variance 8
    layer = SwitchableNorm(1, 1).double()
    for _ in range(updates):
        layer(x)
    kept = 0.9**updates
    averages = torch.cat([layer.running_mean, layer.running_var])
    expected = torch.tensor([5 * (1 - kept), kept + 8 * (1 - kept)], dtype=x.dtype)
    torch.testing.assert_close(averages, expected)


def test_an_image_of_one_pixel_has_no_instance_statistics():
    layer = randomized(SwitchableNorm(4, 2))
    x = draw(6, 4, 1, 1)
    vectors = SwitchableNorm(4, 1).double()
    vectors.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(x).flatten(1), vectors(x.flatten(1)))


def test_one_value_per_channel_is_refused_in_training_only():
    layer = SwitchableNorm(4, 1)
    with pytest.raises(ValueError, match=r"one value per channel .* shape \(1, 4\)"):
        layer(torch.ones(1, 4))
    assert layer.eval()(torch.ones(1, 4)).isfinite().all()
