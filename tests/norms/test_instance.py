"""Instance norm on what has positions, on what has one, and on vectors."""

import pytest
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from normlab.norms import InstanceNorm, LocalResponseNorm
from normlab.norms.instance import passes_vectors_through
from norms.helpers import assert_same, channels, draw, randomized

X = draw(5, 8, 4, 3, dtype=torch.float32)


def test_instance_norm_is_torchs():
    ours, theirs = InstanceNorm(8, 2), nn.InstanceNorm2d(8, affine=True)
    randomized(theirs)
    ours.double().load_state_dict(theirs.state_dict())
    assert_same(ours, theirs, X.double(), 1e-12)
    assert_same(InstanceNorm(8, 2, affine=False), nn.InstanceNorm2d(8), X)


def test_instance_norm_by_head():
    layer = InstanceNorm(2, 1, eps=0.0)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([10.0, 20.0]))
        layer.bias.copy_(torch.tensor([1.0, 2.0]))
    # Two channels, of mean 2 and deviation 1, and of mean 15 and deviation 5.
    y = layer(torch.tensor([[[1.0, 3.0], [20.0, 10.0]]]))
    assert y.tolist() == [[[-9.0, 11.0], [22.0, -18.0]]]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("dim", "shape"), [(1, (3, 4, 5)), (3, (3, 4, 2, 3, 2))])
def test_instance_norm_by_its_formula(dim, shape, training):
    layer = randomized(InstanceNorm(4, dim, eps=0.3)).train(training)
    x = draw(*shape)
    y = torch.empty_like(x)
    for n in range(3):
        for c in range(4):
            deviation = (x[n, c].var(correction=0) + 0.3).sqrt()
            y[n, c] = (x[n, c] - x[n, c].mean()) / deviation
    expected = y * channels(layer.weight, x) + channels(layer.bias, x)
    torch.testing.assert_close(layer(x), expected)


def test_vectors_pass_through_or_are_refused():
    vectors = X[:, :, 0, 0]
    assert torch.equal(InstanceNorm(8, 1)(vectors), vectors)
    assert torch.equal(LocalResponseNorm(8, 1)(vectors), vectors)
    with pytest.raises(ValueError, match="instance norm needs positions"):
        InstanceNorm(8, 1, vectors="error")(vectors)
    with pytest.raises(ValueError, match="local response norm needs positions"):
        LocalResponseNorm(8, 1, vectors="error")(vectors)
    with pytest.raises(ValueError, match="must be one of identity, error, got 'no'"):
        InstanceNorm(8, 1, vectors="no")


def test_only_vectors_pass_through_only_such_norms():
    vectors = X[:, :, 0, 0]
    assert passes_vectors_through(InstanceNorm(8, 1), vectors)
    assert not passes_vectors_through(InstanceNorm(8, 1, vectors="error"), vectors)
    assert not passes_vectors_through(InstanceNorm(8, 2), X)
    assert not passes_vectors_through(nn.Linear(8, 8), vectors)


def test_local_response_norm_is_torchs():
    assert_same(LocalResponseNorm(8, 2), nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0), X)
    ours = LocalResponseNorm(8, 2, size=3, alpha=0.6, beta=0.5, k=1.5)
    assert_same(ours, nn.LocalResponseNorm(3, 0.6, 0.5, 1.5), X)


def test_local_response_norm_by_head():
    layer = LocalResponseNorm(3, 1, size=3, alpha=3.0, beta=0.5, k=2.0)
    # Squares 1, 4 and 9 in windows of 1 + 4, 1 + 4 + 9 and 4 + 9.
    y = layer(torch.tensor([[[1.0], [2.0], [3.0]]]))
    expected = torch.tensor([1 / 7**0.5, 2 / 16**0.5, 3 / 15**0.5])
    torch.testing.assert_close(y.flatten(), expected)


@pytest.mark.parametrize("affine", [True, False])
def test_vectors_pass_through_bit_for_bit(affine):
    layer, x = InstanceNorm(3, 1, affine=affine), torch.randn(5, 3)
    assert torch.equal(layer(x), x)
    assert torch.equal(layer.eval()(x), x)
    assert torch.equal(layer(x.bfloat16()), x.bfloat16())
    with torch.no_grad():
        assert torch.equal(layer(x), x)


def test_scale_and_shift_of_vectors_have_a_gradient_of_zero():
    layer, x = InstanceNorm(3, 1), torch.randn(5, 3, requires_grad=True)
    layer(x).square().sum().backward()
    assert layer.weight.grad.tolist() == layer.bias.grad.tolist() == [0, 0, 0]
    assert torch.equal(x.grad, 2 * x)


def test_distributed_training_on_vectors_misses_no_gradient(tmp_path):
    """The reducer refuses the second batch if a parameter had no part in the first."""
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    try:
        network = DistributedDataParallel(
            nn.Sequential(nn.Linear(2, 3), InstanceNorm(3, 1), nn.Linear(3, 1))
        )
        for _ in range(2):
            network(torch.randn(4, 2)).sum().backward()
    finally:
        distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("dim", "shape"),
    [(1, (5, 3, 1)), (2, (5, 3, 1, 1)), (2, (0, 3, 1, 1)), (3, (5, 3, 1, 1, 1))],
)
def test_one_position_is_refused(dim, shape):
    with pytest.raises(
        ValueError,
        match=r"more than one position per channel, got shape .*; use larger images",
    ):
        InstanceNorm(3, dim)(torch.randn(shape))
