"""What the probe sees, against numbers worked out by hand; it leaves no trace."""

import math

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.tensorboard import SummaryWriter

from normlab.norms import BatchNorm1d
from normlab.norms.parameters import mark_norm
from normlab.training.classification import Classification
from normlab.training.norm_statistics import (
    MIN_STEPS_BETWEEN_RECORDS,
    SAMPLED_VALUES,
    add_histogram,
    is_due,
    probe,
    sample,
    statistics_rows,
    weights,
)


@pytest.fixture
def task():
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Linear(2, 2), BatchNorm1d(2), nn.ReLU(), nn.Dropout(0.1), nn.Linear(2, 2)
    )
    with torch.no_grad():
        network[0].weight.copy_(torch.eye(2))
        network[0].bias.zero_()
    return Classification(
        network, lambda network: torch.optim.SGD(network.parameters(), lr=0.1)
    )


INPUTS, TARGETS = torch.tensor([[1.0, 10.0], [3.0, 10.0]]), torch.tensor([0, 1])


def statistics(task, layer=1):
    layers = {"norm": task.network[layer]}
    rows = statistics_rows(layers, probe(task, layers, INPUTS, TARGETS))
    return {row["statistic"]: row["value"] for row in rows if row["layer"] == "norm"}


def test_statistics_by_hand(task):
    found = statistics(task)
    assert (found["weight_mean"], found["weight_std"], found["bias_mean"]) == (
        1.0,
        0.0,
        0.0,
    )
    assert (found["running_mean_mean"], found["running_var_mean"]) == (0.0, 1.0)
    assert (found["batch_mean_mean"], found["batch_var_mean"]) == (
        6.0,
        1.0,
    )  # means 2 and 10, variances 2 and 0
    assert found["mean_drift"] == pytest.approx(((2**2 + 10**2) / 2) ** 0.5)
    assert found["activation_q50"] == pytest.approx(0.0)
    assert (
        found["dead_fraction"] == 0.5
    )  # the second channel is constant, so never above 0
    assert found["gradient_norm"] > 0


def test_the_probe_leaves_no_trace(task):
    task.network(INPUTS).sum().backward()
    state = {name: value.clone() for name, value in task.network.state_dict().items()}
    gradients = [parameter.grad.clone() for parameter in task.network.parameters()]
    random_state = torch.get_rng_state()
    statistics(task)
    assert all(
        torch.equal(state[name], value)
        for name, value in task.network.state_dict().items()
    )
    assert all(
        torch.equal(a, b.grad)
        for a, b in zip(gradients, task.network.parameters(), strict=True)
    )
    assert torch.equal(random_state, torch.get_rng_state())
    assert not any(layer._forward_hooks for layer in task.network.modules())


def test_an_arm_without_norm_is_probed_at_the_same_place(task):
    task.network[1] = nn.Identity()
    found = statistics(task)
    assert found["activation_q50"] == pytest.approx(6.5)  # of 1, 3, 10, 10
    assert "running_mean_mean" not in found


def test_gradient_norms_of_the_weights_by_depth(task):
    layers = {"norm": task.network[1]}
    task.network[3].p = 0.0
    rows = statistics_rows(layers, probe(task, layers, INPUTS, TARGETS))
    nn.functional.cross_entropy(task.network(INPUTS), TARGETS).backward()
    expected = {
        name: task.network[int(name)].weight.grad.norm().item() for name in ("0", "4")
    }
    found = {
        row["layer"]: row["value"]
        for row in rows
        if row["statistic"] == "weights_gradient_norm"
    }
    assert found == pytest.approx(expected)
    assert all(value > 0 for value in found.values())


class Own(nn.Module):
    """A norm with a scale of rank 2."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, 2))

    def forward(self, x):
        return self.weight * x


def test_scales_of_rank_two_are_no_weights(task):
    task.network[1] = mark_norm(Own())
    gradients = probe(task, {}, INPUTS, TARGETS).weight_gradients
    assert list(gradients) == ["0", "4"]


def test_weights_by_the_name_of_their_layer():
    network = nn.ModuleDict(
        {
            "first": weight_norm(nn.Linear(2, 3)),
            "norm": nn.BatchNorm1d(3),
            "recurrent": nn.LSTM(3, 2),
        }
    )
    network.register_parameter("position", nn.Parameter(torch.zeros(1, 4, 2)))
    assert list(weights(dict(network.named_parameters()))) == [
        "first",
        "recurrent.weight_ih_l0",
        "recurrent.weight_hh_l0",
    ]


@pytest.mark.parametrize(
    ("steps_per_epoch", "every_n_epochs", "recorded"),
    [
        (750, 1, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        (750, 4, [1, 4, 8, 10]),
        (72, 1, [1, 6, 10]),  # 400 steps are over in the sixth epoch
        (72, 4, [1, 8, 10]),  # a multiple of 4
        (18, 1, [1, 10]),
        (1, 1, [1, 10]),
        (750, 0, []),
    ],
)
def test_records_are_at_least_400_steps_apart(
    steps_per_epoch, every_n_epochs, recorded
):
    assert MIN_STEPS_BETWEEN_RECORDS == 400
    due = [
        n
        for n in range(1, 11)
        if is_due(n, n * steps_per_epoch, every_n_epochs, last=n == 10)
    ]
    assert due == recorded


def test_a_sample_has_every_channel_equally_often():
    channels = torch.arange(128.0).expand(
        1024, 128
    )  # 131072 values; every 16th would be of 8 channels only
    found, counts = sample(channels).unique(return_counts=True)
    assert found.tolist() == list(range(128))
    assert counts.max() - counts.min() <= 1
    assert SAMPLED_VALUES / 2 < counts.sum() <= SAMPLED_VALUES
    assert sample(torch.arange(5.0)).tolist() == [0, 1, 2, 3, 4]


def test_histograms_in_tensorboard(tmp_path):
    writer = SummaryWriter(tmp_path)
    add_histogram(writer, "values", torch.arange(60.0), 1)
    add_histogram(writer, "constant", torch.ones(8), 1)
    add_histogram(writer, "lost", torch.tensor([1.0, math.nan]), 1)
    writer.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert events.Tags()["histograms"] == ["values", "constant"]
    found = events.Histograms("values")[0].histogram_value
    assert (found.min, found.max, found.num, found.sum) == (0, 59, 60, 1770)
    assert found.sum_squares == sum(value**2 for value in range(60))
    assert found.bucket == [2.0] * 30
    assert found.bucket_limit == pytest.approx(np.linspace(0, 59, 31)[1:])
    assert sum(events.Histograms("constant")[0].histogram_value.bucket) == 8
