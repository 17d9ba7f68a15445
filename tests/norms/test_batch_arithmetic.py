import pytest
import torch

from normlab.norms.batch_arithmetic import batch_moments, gradient_sums, in_dtype
from norms.helpers import channels, draw, over_channels

SHAPES = [(6, 4), (6, 4, 5), (3, 4, 5, 6), (3, 4, 2, 3, 2)]


@pytest.mark.parametrize("shape", SHAPES)
def test_sums_of_the_two_passes(shape):
    x = draw(*shape)
    dy = draw(*shape, seed=1)
    workspace, mean, var = batch_moments(x)
    assert workspace.shape == x.shape
    torch.testing.assert_close(channels(mean, x), over_channels(torch.mean, x))

    inverse_std = 1 / var.sqrt()
    xhat = (x - channels(mean, x)) * channels(inverse_std, x)
    workspace, sum_dy, sum_dy_xhat = gradient_sums(dy, x, mean, inverse_std)
    assert workspace.shape == x.shape
    torch.testing.assert_close(channels(sum_dy, x), over_channels(torch.sum, dy))
    expected = over_channels(torch.sum, dy * xhat)
    torch.testing.assert_close(channels(sum_dy_xhat, x), expected)


def test_a_tensor_of_the_right_type_is_not_copied():
    x = torch.ones(3)
    assert in_dtype(x, torch.float32) is x
    assert in_dtype(x, torch.float64).dtype == torch.float64
