"""Scale and shift learn from samples without classes."""

import math
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from normlab.config.targets import build
from normlab.data.blocks import Block
from normlab.evaluation.entropy import (
    EntropyMinimizer,
    mean_entropy,
    scales_and_shifts,
)
from normlab.evaluation.statistics import batch_statistics_where_kept, restored
from normlab.norms import BatchNorm, DynamicTanh, GroupNorm, LayerNorm
from normlab.training.recalibration import recalibrate

LR = 0.01
CONF = Path(__file__).resolve().parents[2] / "conf" / "norm"
FILES = {path.stem: OmegaConf.load(path) for path in CONF.glob("*.yaml")}
# Norms on weights have the layers of another file.
NAMES = sorted(name for name in FILES if "reparametrize" not in FILES[name])
# Norms whose scales and shifts are others than `weight` and `bias`.
LEARNED = {
    "batch_channel": ["weight", "bias", "group_weight", "group_bias"],
    "instance_batch": [
        *("instance.weight", "instance.bias", "batch.weight", "batch.bias"),
    ],
    **{name: ["weight"] for name in ("bounded_tanh", "rms", "seednorm")},
    "scale": ["length"],
}
NOTHING_LEARNED = ("none", "frozen", "local_response")
RUNNING = (
    *("custom", "torch", "ghost", "batch_renorm", "noisy_batch", "evonorm_b0"),
    *("switchable", "iterative_whitening", "batch_channel", "instance_batch"),
    "moving_average",
)


@pytest.fixture
def network(request):
    """A convolution, the norm of a file in conf/norm/, and a classifier."""
    torch.manual_seed(0)
    norm = build(OmegaConf.to_container(FILES[request.param]))(16, 2)
    convolution, head = nn.Conv2d(3, 16, 3), nn.Linear(16 * 4, 3)
    return nn.Sequential(convolution, norm, nn.Flatten(), head)


def images():
    generator = torch.Generator().manual_seed(1)
    return 2 * torch.randn(8, 3, 4, 4, generator=generator) + 1


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


@pytest.mark.parametrize(
    "network", sorted(set(NAMES) - set(NOTHING_LEARNED)), indirect=True
)
def test_every_norm_of_the_project_learns_its_scale_and_shift(network, request):
    norm, inputs = network[1], images()
    parameters = scales_and_shifts(network, {"1": norm})
    found = {id(parameter) for parameter in parameters}
    names = [name for name, value in norm.named_parameters() if id(value) in found]
    assert names == LEARNED.get(request.node.callspec.id, ["weight", "bias"])

    before = network.eval()(inputs)
    first = [parameter.detach().clone() for parameter in parameters]
    with restored(network), batch_statistics_where_kept(network):
        minimizer = EntropyMinimizer(network, parameters, LR)
        torch.manual_seed(0)
        entropies = [mean_entropy(minimizer(inputs)).item() for _ in range(20)]
        moved = [
            not value.equal(old) for value, old in zip(parameters, first, strict=True)
        ]
        assert all(moved)
        assert entropies[-1] < entropies[0]
    assert network(inputs).equal(before)


@pytest.mark.parametrize("network", NOTHING_LEARNED, indirect=True)
def test_norms_that_learn_nothing_are_refused(network):
    with pytest.raises(ValueError, match="norm of this run has no scale and no shift"):
        scales_and_shifts(network, {"1": network[1]})


@pytest.mark.parametrize("network", RUNNING, indirect=True)
def test_every_norm_with_averages_adapts_to_the_scored_data(network):
    inputs = images()
    before = network.eval()(inputs)
    with restored(network):
        recalibrate(network, [Block(inputs, torch.zeros(8), 8)])
        adapted = network(inputs)
        recalibrate(network, [Block(inputs, torch.zeros(8), 8)])
        torch.testing.assert_close(network(inputs), adapted)
    assert not torch.allclose(adapted, before, atol=1e-2)
    assert network(inputs).equal(before)


@pytest.mark.parametrize("network", sorted(set(NAMES) - set(RUNNING)), indirect=True)
def test_norms_without_averages_say_so(network):
    with pytest.raises(ValueError, match="statistics must be running, since the norm"):
        recalibrate(network, [Block(images(), torch.zeros(8), 8)])
