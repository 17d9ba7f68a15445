import pytest
import torch

from normlab.norms import IterativeWhitening
from norms.helpers import channels, draw, randomized


def correlated(*shape, seed=0):
    """Values whose channels are mixtures of each other."""
    x = draw(*shape, seed=seed)
    mixing = draw(shape[1], shape[1], seed=99)
    return torch.einsum("cd,nd...->nc...", mixing, x)


def values(x):
    """The values of every channel, ``(C, n)``."""
    return x.transpose(0, 1).flatten(1)


def by_eigenvalues(x, steps, eps):
    """Newton's steps, which change every eigenvalue by itself."""
    centred = values(x) - values(x).mean(1, keepdim=True)
    covariance = centred @ centred.T / centred.shape[1]
    eigenvalues, vectors = torch.linalg.eigh(covariance + eps * torch.eye(len(centred)))
    scaled = eigenvalues / eigenvalues.sum()
    root = torch.ones_like(scaled)
    for _ in range(steps):
        root = (3 * root - root**3 * scaled) / 2
    whitening = vectors * (root / eigenvalues.sum().sqrt()) @ vectors.T
    y = (whitening @ centred).view(x.transpose(0, 1).shape).transpose(0, 1)
    return y, whitening


def test_iterative_whitening_by_head():
    layer = IterativeWhitening(2, 1, eps=0.0, steps=1).double()
    # Variances 1 and 4, no correlation; the trace is 5.
    x = torch.tensor([[1, 2], [1, -2], [-1, 2], [-1, -2]], dtype=torch.float64)
    whitening = torch.tensor([1.5 - 0.5 / 5, 1.5 - 0.5 * 4 / 5], dtype=x.dtype) / 5**0.5
    torch.testing.assert_close(layer(x), x * whitening)
    expected = 0.9 * torch.eye(2, dtype=x.dtype) + 0.1 * whitening.diag()
    torch.testing.assert_close(layer.running_whitening[0], expected)
    torch.testing.assert_close(layer.eval()(x), x @ expected)


@pytest.mark.parametrize("steps", [1, 5, 9])
@pytest.mark.parametrize(("dim", "shape"), [(1, (9, 4)), (2, (3, 4, 5, 2))])
def test_output_and_gradients_are_those_of_eigenvalues(dim, shape, steps):
    layer = randomized(IterativeWhitening(4, dim, steps=steps, eps=1e-3))
    x = correlated(*shape).requires_grad_()
    xhat, _ = by_eigenvalues(x, steps, 1e-3)
    expected = xhat * channels(layer.weight, x) + channels(layer.bias, x)
    dy = draw(*shape, seed=1)
    parameters = [x, *layer.parameters()]
    theirs = torch.autograd.grad((expected * dy).sum(), parameters)
    y = layer(x)
    torch.testing.assert_close(y, expected)
    ours = torch.autograd.grad((y * dy).sum(), parameters)
    torch.testing.assert_close(ours, theirs)


def test_enough_steps_leave_no_correlation():
    x = draw(200, 4)
    x[:, 0] += x[:, 1] / 2
    y = IterativeWhitening(4, 1, steps=10, eps=0.0).double()(x)
    covariance = torch.cov(values(y), correction=0)
    torch.testing.assert_close(covariance, torch.eye(4, dtype=x.dtype))


def test_groups_are_whitened_separately():
    x = correlated(9, 6)
    layer = IterativeWhitening(6, 1, group_size=4).double()  # groups of 3
    halves = [IterativeWhitening(3, 1).double()(half) for half in x.split(3, 1)]
    torch.testing.assert_close(layer(x), torch.cat(halves, 1))
    assert layer.running_whitening.shape == (2, 3, 3)


@pytest.mark.parametrize("updates", [1, 10, 100])
def test_averages_after_updates_follow_the_closed_form(updates):
    layer, x = IterativeWhitening(4, 1).double(), correlated(9, 4)
    for _ in range(updates):
        layer(x)
    kept = 0.9**updates
    _, whitening = by_eigenvalues(x, 5, 1e-5)
    average = kept * torch.eye(4, dtype=x.dtype) + (1 - kept) * whitening
    torch.testing.assert_close(layer.running_whitening[0], average)
    mean = (1 - kept) * x.mean(0)
    torch.testing.assert_close(layer.running_mean, mean)
    torch.testing.assert_close(layer.eval()(x), (x - mean) @ average)


def test_autocast_does_not_multiply_in_half_precision():
    layer, x = IterativeWhitening(4, 1), correlated(9, 4).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)
    assert torch.equal(y, IterativeWhitening(4, 1)(x))


@pytest.mark.parametrize("options", [{"steps": 0}, {"group_size": 0}])
def test_options_below_one_are_refused(options):
    with pytest.raises(ValueError, match="group_size and steps must be at least 1"):
        IterativeWhitening(4, 1, **options)
