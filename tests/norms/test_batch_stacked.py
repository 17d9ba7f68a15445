"""Batch normalization of many networks is that of each by itself."""

import pytest
import torch
from torch.autograd import forward_ad

from normlab.norms import batch_statistics
from normlab.norms.batch_stacked import normalize_batch
from norms.helpers import draw

K, C = 3, 4
SHAPES = [(6, C), (5, C, 7), (5, C, 2, 3)]


def alone(x, weight, bias):
    """One network after the other."""
    found = []
    for i in range(K):
        scale = None if weight is None else weight[i]
        shift = None if bias is None else bias[i]
        found.append(batch_statistics.normalize_batch(x[i], scale, shift, 0.3))
    return [torch.stack(values) for values in zip(*found, strict=True)]


def together(x, weight, bias):
    """All networks at once."""

    def function(x, weight, bias):
        return normalize_batch(x, weight, bias, 0.3)

    axes = (0, None if weight is None else 0, None if bias is None else 0)
    return list(torch.vmap(function, in_dims=axes)(x, weight, bias))


def outcome(function, shape, affine, dtype=torch.float64):
    x = draw(K, *shape).to(dtype).requires_grad_()
    weight = draw(K, C, seed=1).requires_grad_() if "scale" in affine else None
    bias = draw(K, C, seed=2).requires_grad_() if "shift" in affine else None
    y, mean, var = function(x, weight, bias)
    assert not mean.requires_grad
    assert not var.requires_grad
    leaves = [leaf for leaf in (x, weight, bias) if leaf is not None]
    dy = draw(K, *shape, seed=3).to(dtype)
    gradients = torch.autograd.grad(y, leaves, dy, create_graph=True)
    total = sum((gradient**2).sum() for gradient in gradients)
    second = torch.autograd.grad(total, leaves, allow_unused=True)
    once = torch.autograd.grad(function(x, weight, bias)[0], leaves, dy)
    return [y, mean, var, *gradients, *once, *second]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("affine", ["scale and shift", "scale", "shift", "neither"])
def test_values_and_derivatives_are_those_of_every_network_alone(shape, affine):
    torch.testing.assert_close(
        outcome(together, shape, affine),
        outcome(alone, shape, affine),
        rtol=1e-12,
        atol=1e-12,
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_half_precision_is_rounded_once(shape):
    x = draw(K, *shape).bfloat16().requires_grad_()
    found = together(x, None, None)
    wanted = alone(x, None, None)
    assert found[0].dtype == torch.bfloat16
    assert found[1].dtype == torch.float32
    torch.testing.assert_close(found, wanted)
    (gradient,) = torch.autograd.grad(found[0].sum(), x)
    assert gradient.dtype == torch.bfloat16


@pytest.mark.parametrize("shape", SHAPES)
def test_what_all_networks_share_has_no_axis(shape):
    x = draw(*shape)
    weights = draw(K, C, seed=1)

    def function(weight):
        return normalize_batch(x, weight, weight, 0.3)

    found = torch.vmap(function)(weights)
    wanted = alone(x.expand(K, *shape), weights, weights)
    torch.testing.assert_close(list(found), wanted)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_networks_may_lie_along_any_axis(axis):
    x = draw(K, 6, C)

    def function(x):
        return normalize_batch(x, None, None, 0.3)

    moved = torch.vmap(function, in_dims=axis)(x.movedim(0, axis))
    torch.testing.assert_close(list(moved), alone(x, None, None))


@pytest.mark.parametrize("shape", SHAPES)
def test_other_transforms_go_on_around_it(shape):
    x = draw(2, K, *shape)
    weight = draw(K, C, seed=1)

    def function(x, weight):
        return normalize_batch(x, weight, None, 0.3)[0]

    inner = torch.vmap(function)
    nested = torch.vmap(inner, in_dims=(0, None))(x, weight)
    wanted = [alone(part, weight, None)[0] for part in x]
    torch.testing.assert_close(nested, torch.stack(wanted))

    def total(x, weight):
        return (inner(x, weight) ** 3).sum()

    leaf = x[0].clone().requires_grad_()
    (wanted,) = torch.autograd.grad(total(leaf, weight), leaf)
    torch.testing.assert_close(torch.func.grad(total)(x[0], weight), wanted)

    def of_one(x, weight):
        return (function(x, weight) ** 3).sum()

    by_network = torch.vmap(torch.func.grad(of_one))(x[0], weight)
    torch.testing.assert_close(by_network, wanted)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_all_networks_share_altogether_has_gradients(shape):
    x = draw(*shape).requires_grad_()
    weight = draw(C, seed=1).requires_grad_()
    factors = draw(K, seed=2)

    def total(x, weight):
        def of_one(factor):
            return (normalize_batch(x, weight, None, 0.3)[0] ** 3).sum() * factor

        return torch.vmap(of_one)(factors).sum()

    once = (batch_statistics.normalize_batch(x, weight, None, 0.3)[0] ** 3).sum()
    wanted = torch.autograd.grad(once * factors.sum(), (x, weight))
    found = torch.autograd.grad(total(x, weight), (x, weight))
    torch.testing.assert_close(found, wanted)
    found = torch.func.grad(total, argnums=(0, 1))(x, weight)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("shape", SHAPES)
def test_many_gradients_at_once(shape):
    x = draw(K, *shape).requires_grad_()
    y = together(x, None, None)[0]
    gradients = draw(2, K, *shape, seed=1)
    (found,) = torch.autograd.grad(
        y, x, gradients, is_grads_batched=True, retain_graph=True
    )
    wanted = [torch.autograd.grad(y, x, dy, retain_graph=True)[0] for dy in gradients]
    torch.testing.assert_close(found, torch.stack(wanted))


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:FutureWarning")
@pytest.mark.parametrize("shape", SHAPES)
def test_forward_derivatives(shape):
    x = draw(K, *shape)
    tangent = draw(K, *shape, seed=1)
    _, found = torch.func.jvp(lambda x: together(x, None, None)[0], (x,), (tangent,))
    _, wanted = torch.func.jvp(lambda x: alone(x, None, None)[0], (x,), (tangent,))
    torch.testing.assert_close(found, wanted)
    with forward_ad.dual_level():
        y = together(forward_ad.make_dual(x, tangent), None, None)[0]
        torch.testing.assert_close(forward_ad.unpack_dual(y).tangent, wanted)


@pytest.mark.parametrize("shape", SHAPES)
def test_deviations_whose_cube_leaves_the_range_have_the_same_gradients(shape):
    x = (draw(K, *shape) * 1e17).float().requires_grad_()
    dy = (draw(K, *shape, seed=1) * 1e17).float()
    gradients = []
    for function in (together, alone):
        y = function(x, None, None)[0]
        gradients += torch.autograd.grad(y, x, dy)
    assert gradients[1].abs().max() > 0.1
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)
