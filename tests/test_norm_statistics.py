import pytest
import torch
from torch import nn

from normlab.norm_statistics import probe, statistics_of
from normlab.norms import BatchNorm1d
from normlab.tasks import Classification


@pytest.fixture
def task():
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(2, 2), BatchNorm1d(2), nn.ReLU(), nn.Dropout(0.1), nn.Linear(2, 2))
    with torch.no_grad():
        network[0].weight.copy_(torch.eye(2))
        network[0].bias.zero_()
    return Classification(network, lambda network: torch.optim.SGD(network.parameters(), lr=0.1))


INPUTS, TARGETS = torch.tensor([[1.0, 10.0], [3.0, 10.0]]), torch.tensor([0, 1])


def statistics(task, layer=1):
    layers = {"norm": task.network[layer]}
    rows = statistics_of(layers, probe(task, layers, INPUTS, TARGETS))
    return {row["statistic"]: row["value"] for row in rows}


def test_values_worked_by_head(task):
    found = statistics(task)
    assert (found["weight_mean"], found["weight_std"], found["bias_mean"]) == (1.0, 0.0, 0.0)
    assert (found["running_mean_mean"], found["running_var_mean"]) == (0.0, 1.0)
    assert found["mean_drift"] == pytest.approx(((2**2 + 10**2) / 2) ** 0.5)
    assert found["activation_q50"] == pytest.approx(0.0)
    assert found["dead_fraction"] == 0.5  # the second channel is constant, so never above 0
    assert found["gradient_norm"] > 0


def test_the_probe_leaves_no_trace(task):
    task.network(INPUTS).sum().backward()
    state = {name: value.clone() for name, value in task.network.state_dict().items()}
    gradients = [parameter.grad.clone() for parameter in task.network.parameters()]
    random_state = torch.get_rng_state()
    statistics(task)
    assert all(torch.equal(state[name], value) for name, value in task.network.state_dict().items())
    assert all(torch.equal(a, b.grad) for a, b in zip(gradients, task.network.parameters(), strict=True))
    assert torch.equal(random_state, torch.get_rng_state())
    assert not any(layer._forward_hooks for layer in task.network.modules())


def test_an_arm_without_norm_is_watched_at_the_same_place(task):
    task.network[1] = nn.Identity()
    found = statistics(task)
    assert found["activation_q50"] == pytest.approx(6.5)  # of 1, 3, 10, 10
    assert "running_mean_mean" not in found
