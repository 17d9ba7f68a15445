"""Scale and shift learn from samples without classes."""

import math

import pytest
import torch
from torch import nn

from normlab.evaluation.entropy import (
    EntropyMinimizer,
    mean_entropy,
    scales_and_shifts,
)
from normlab.norms import BatchNorm, DynamicTanh, GroupNorm, LayerNorm

LR = 0.01


def test_the_entropy_of_two_equal_classes_is_ln_2():
    logits = torch.tensor([[0.0, 0.0], [100.0, 0.0]])
    assert mean_entropy(logits).item() == pytest.approx(math.log(2) / 2)


def test_one_step_of_adam_moves_scale_and_shift_by_the_learning_rate():
    torch.manual_seed(0)
    norm = LayerNorm(4, 1)
    network = nn.Sequential(nn.Linear(3, 4), norm, nn.Linear(4, 2)).eval()
    inputs = torch.randn(8, 3)
    expected = network(inputs)
    weights = network[0].weight.clone()
    minimizer = EntropyMinimizer(network, [norm.weight, norm.bias], LR)
    with torch.no_grad():
        outputs = minimizer(inputs)
    torch.testing.assert_close(outputs, expected.detach())
    assert not outputs.requires_grad
    steps = torch.cat([norm.weight - 1, norm.bias])
    assert steps.abs().tolist() == pytest.approx([LR] * 8, rel=1e-3)
    assert network[0].weight.equal(weights)
    assert mean_entropy(network(inputs)) < mean_entropy(expected)


@pytest.mark.parametrize(
    ("norm", "count"),
    [
        (BatchNorm(4, 1), 2),
        (nn.BatchNorm1d(4), 2),
        (GroupNorm(4, 1, num_groups=2), 2),
        (DynamicTanh(4, 1), 2),
        (nn.RMSNorm(4), 1),
    ],
)
def test_every_norm_with_scale_or_shift_learns(norm, count):
    network = nn.Sequential(nn.Linear(4, 4), norm)
    found = scales_and_shifts(network, {"1": norm})
    assert len(found) == count
    assert found[0] is norm.weight


def test_batch_norms_that_a_model_keeps_learn_too():
    kept = nn.BatchNorm1d(4)
    assert len(scales_and_shifts(nn.Sequential(kept), {})) == 2


def test_a_network_without_scale_and_shift_is_refused():
    network = nn.Sequential(nn.Linear(4, 4), nn.Identity())
    with pytest.raises(ValueError, match="statistics must not be tent, since"):
        scales_and_shifts(network, {"1": network[1]})
