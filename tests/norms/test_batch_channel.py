import pytest
import torch
from torch.nn import functional

from normlab.norms import BatchChannelNorm
from norms.helpers import channels, draw, randomized


def groups_normalized(layer, z):
    """Group norm by PyTorch, then scale and shift of every group."""
    z = functional.group_norm(z, layer.num_groups, eps=layer.eps)
    size = z.shape[1] // layer.num_groups
    weight = layer.group_weight.repeat_interleave(size)
    bias = layer.group_bias.repeat_interleave(size)
    return z * channels(weight, z) + channels(bias, z)


def by_averages(layer, x, mean, var):
    z = functional.batch_norm(x, mean, var, layer.weight, layer.bias, eps=layer.eps)
    return groups_normalized(layer, z)


def moved(average, statistic):
    return 0.9 * average + 0.1 * statistic.detach()


@pytest.mark.parametrize(("dim", "shape"), [(1, (6, 4)), (2, (3, 4, 5, 2))])
def test_output_and_gradients_are_those_of_two_norms_of_torch(dim, shape):
    layer = randomized(BatchChannelNorm(4, dim, num_groups=2))
    x, dy = draw(*shape).requires_grad_(), draw(*shape, seed=1)
    values = x.transpose(0, 1).flatten(1)
    mean = moved(layer.running_mean, values.mean(1))
    var = moved(layer.running_var, values.var(1, correction=0))
    expected = by_averages(layer, x, mean, var)
    parameters = [x, *layer.parameters()]
    theirs = torch.autograd.grad((expected * dy).sum(), parameters)
    y = layer(x)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(layer.running_mean, mean)
    torch.testing.assert_close(layer.running_var, var)
    ours = torch.autograd.grad((y * dy).sum(), parameters)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(layer.eval()(x), by_averages(layer, x, mean, var))


@pytest.mark.parametrize(("dim", "shape"), [(1, (6, 4)), (2, (3, 4, 5, 2))])
def test_without_estimates_it_is_batch_norm_and_group_norm(dim, shape):
    layer = randomized(BatchChannelNorm(4, dim, num_groups=2, estimated=False))
    x, dy = draw(*shape).requires_grad_(), draw(*shape, seed=1)
    z = functional.batch_norm(x, None, None, layer.weight, layer.bias, training=True)
    parameters = [x, *layer.parameters()]
    expected = groups_normalized(layer, z)
    theirs = torch.autograd.grad((expected * dy).sum(), parameters)
    y = layer(x)
    torch.testing.assert_close(y, expected)
    ours = torch.autograd.grad((y * dy).sum(), parameters)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("updates", [1, 10, 100])
def test_running_averages_follow_the_closed_form(updates):
    # Means 5 and 0, biased variances 4 and 1.
    x = torch.tensor([[3.0, 1.0], [7.0, -1.0]], dtype=torch.float64)
    layer = BatchChannelNorm(2, 1, num_groups=1).double()
    for _ in range(updates):
        layer(x)
    kept = 0.9**updates
    mean = torch.tensor([5 * (1 - kept), 0.0], dtype=x.dtype)
    var = torch.tensor([kept + 4 * (1 - kept), 1.0], dtype=x.dtype)
    torch.testing.assert_close(layer.running_mean, mean)
    torch.testing.assert_close(layer.running_var, var)
    torch.testing.assert_close(layer.eval()(x), by_averages(layer, x, mean, var))


def test_two_batches_may_come_before_their_backward_passes():
    layer = randomized(BatchChannelNorm(4, 1, num_groups=2))
    y = layer(draw(6, 4)).sum() + layer(draw(6, 4, seed=1)).sum()
    y.backward()
    assert layer.weight.grad.isfinite().all()


def test_one_sample_of_vectors_is_enough_for_estimates_only():
    x = torch.tensor([[1.0, 3.0]])
    assert BatchChannelNorm(2, 1, num_groups=1)(x).isfinite().all()
    with pytest.raises(ValueError, match="one value per channel when training"):
        BatchChannelNorm(2, 1, num_groups=1, estimated=False)(x)
