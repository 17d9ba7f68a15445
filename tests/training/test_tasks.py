"""Losses and metrics of the two tasks, against numbers worked out by hand."""

import math

import pytest
import torch
from torch import nn

from normlab.data.blocks import Block
from normlab.training.tasks import Classification, Regression, evaluate


def make(task, network, **options):
    return task(
        network,
        lambda network: torch.optim.SGD(network.parameters(), lr=0.1),
        **options,
    )


def scored(task, predictions, targets):
    return task.metrics_from(
        task.score(torch.tensor(predictions), torch.tensor(targets)).tolist()
    )


def test_classification_scores_by_hand():
    metrics = scored(
        make(Classification, nn.Identity()), [[0.0, 0.0], [0.0, math.log(3)]], [0, 0]
    )
    assert metrics["loss"] == pytest.approx((math.log(2) + math.log(4)) / 2)
    assert metrics["accuracy"] == 0.5


def test_softmax_before_the_loss_has_a_floor():
    task = make(Classification, nn.Identity(), softmax_before_loss=True)
    perfect = torch.tensor([[1000.0] + [0.0] * 9])
    assert task.loss(perfect, torch.tensor([0])).item() == pytest.approx(
        math.log(math.e + 9) - 1
    )  # 1.461


def test_regression_scores_are_in_the_targets_units():
    task = make(Regression, nn.Identity(), target_mean=10.0, target_std=2.0)
    metrics = scored(task, [[-1.0], [0.0]], [8.0, 14.0])  # predictions 8 and 10
    assert metrics["rmse"] == pytest.approx(math.sqrt(16 / 2))
    assert metrics["mae"] == pytest.approx(4 / 2)
    assert metrics["r2"] == pytest.approx(1 - 16 / 18)
    assert metrics["loss"] == pytest.approx((0 + 4) / 2)


@pytest.mark.parametrize("targets", [[11.3], [11.3] * 2, [-30.7] * 7])
def test_equal_targets_have_no_r2(targets):
    task = make(Regression, nn.Identity(), target_mean=10.0, target_std=0.3)
    metrics = scored(task, [[0.5]] * len(targets), targets)
    assert math.isnan(metrics["r2"])
    assert metrics["mae"] == pytest.approx(abs(targets[0] - 10.15))


def test_r2_is_exact_for_targets_that_hardly_differ():
    task = make(Regression, nn.Identity())
    metrics = scored(task, [[1000.0], [1000.0], [1000.25]], [1000.0, 1000.125, 1000.25])
    assert metrics["r2"] == pytest.approx(1 - 0.125**2 / (2 * 0.125**2))


@pytest.mark.parametrize(("name", "loss"), [("mse", 4.0), ("mae", 2.0), ("huber", 1.5)])
def test_regression_losses(name, loss):
    task = make(Regression, nn.Identity(), loss_name=name)
    assert task.loss(torch.tensor([[3.0]]), torch.tensor([1.0])).item() == loss


def test_an_unknown_loss_is_refused():
    with pytest.raises(
        ValueError, match="must be one of mse, mae, huber for regression, got 'rmse'"
    ):
        make(Regression, nn.Identity(), loss_name="rmse")


def test_evaluation_counts_samples_once_and_changes_nothing():
    network = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(0.5)).train()
    task = make(Classification, network)
    blocks = [
        Block(torch.eye(2), torch.tensor([0, 1]), 2),
        Block(torch.eye(2)[:1], torch.tensor([1]), 2),
    ]
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert evaluate(task, blocks)["accuracy"] == pytest.approx(2 / 3)
    assert all(
        torch.equal(before[key], value) for key, value in network.state_dict().items()
    )
    assert network.training
