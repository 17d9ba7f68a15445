"""Outputs in evaluation, and whether two of them agree."""

import pytest
import torch
from torch import nn

from normlab.training.outputs import agree, evaluated, largest_difference


class Noise(nn.Module):
    def forward(self, x):
        return x.mul_(0).add_(torch.rand_like(x)) + self.training


def test_modes_inputs_and_random_numbers_are_left_as_they_were():
    layer = Noise()
    inputs = torch.ones(3)
    state = torch.get_rng_state()
    first, again, other = (evaluated(layer, inputs, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.max() < 1  # evaluation mode
    assert layer.training
    assert torch.equal(inputs, torch.ones(3))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("change", "expected"), [(0.9e-3, True), (3e-3, False)])
def test_outputs_agree_up_to_a_share_of_the_largest(change, expected):
    first = torch.tensor([1.0, 0.0])
    second = first + torch.tensor([0.0, change])
    assert agree(first, second, tolerance=1e-3) is expected
    assert largest_difference(first, second) == pytest.approx(change)


def test_missing_values_agree_with_each_other():
    value = torch.tensor([float("nan"), 1.0])
    assert agree(value.nan_to_num(2.0), value.nan_to_num(2.0), 1e-5)
