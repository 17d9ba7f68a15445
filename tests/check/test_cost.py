"""Time and memory of a layer beside PyTorch's."""

import torch
from torch import Tensor, nn

from normlab.check.cost import kept_bytes, measure_cost


class Squares(nn.Module):
    """Keeps its input and one tensor of the same size for the backward pass."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * x).sin()


def test_memory_is_what_autograd_keeps_beside_the_input():
    x = torch.randn(8, 4)
    assert kept_bytes(nn.Identity(), x) == 0
    assert kept_bytes(Squares(), x) == 8 * 4 * 4  # the squares, in 4 bytes each


def test_a_layer_is_measured_beside_that_of_its_kind():
    cost = measure_cost(nn.BatchNorm1d, {}, "batch", "(N, C)")
    assert cost.shape == (256, 64)
    assert cost.reference == "BatchNorm1d"
    assert cost.bytes == cost.reference_bytes
    assert min(cost.seconds, cost.reference_seconds) > 0


def test_what_cannot_be_measured_is_left_out():
    assert measure_cost(nn.RMSNorm, {}, "rms", "(N, C)") is None
    assert measure_cost(nn.BatchNorm1d, {}, "batch", "(N, L, C)") is None
    assert measure_cost(nn.BatchNorm1d, {"nothing": 1}, "batch", "(N, C)") is None
