"""Instance norm on what has positions, on what has one, and on vectors."""

import pytest
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from normlab.norms import InstanceNorm


@pytest.mark.parametrize("affine", [True, False])
def test_vectors_pass_through_bit_for_bit(affine):
    layer, x = InstanceNorm(3, 1, affine=affine), torch.randn(5, 3)
    assert torch.equal(layer(x), x)
    assert torch.equal(layer.eval()(x), x)
    assert torch.equal(layer(x.bfloat16()), x.bfloat16())
    with torch.no_grad():
        assert layer(x) is x


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
