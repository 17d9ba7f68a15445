"""Losses and metrics of regression, against numbers worked out by hand."""

import math

import pytest
import torch
from torch import nn

from normlab.training.regression import Regression


def make(**options):
    return Regression(nn.Identity(), torch.optim.SGD, **options)


def scored(task, predictions, targets):
    sums = task.score(torch.tensor(predictions), torch.tensor(targets))
    return task.metrics_from(sums.tolist())


def test_scores_are_in_the_units_of_the_targets():
    task = make(target_mean=10.0, target_std=2.0)
    metrics = scored(task, [[-1.0], [0.0]], [8.0, 14.0])  # predictions 8 and 10
    assert metrics["rmse"] == pytest.approx(math.sqrt(16 / 2))
    assert metrics["mae"] == pytest.approx(4 / 2)
    assert metrics["r2"] == pytest.approx(1 - 16 / 18)
    assert metrics["loss"] == pytest.approx((0 + 4) / 2)


@pytest.mark.parametrize(
    ("transform", "inverse", "forward"),
    [("log", math.exp, math.log), ("log1p", math.expm1, math.log1p)],
)
def test_transformed_targets_are_scored_in_their_own_units(transform, inverse, forward):
    task = make(target_mean=3.0, target_std=0.5, target_transform=transform)
    outputs, targets = [[-1.0], [2.0]], [20.0, 40.0]
    predicted = [inverse(3 - 0.5), inverse(3 + 1.0)]
    errors = [predicted[0] - 20, predicted[1] - 40]
    metrics = scored(task, outputs, targets)
    assert metrics["rmse"] == pytest.approx(math.hypot(*errors) / math.sqrt(2))
    assert metrics["mae"] == pytest.approx(sum(map(abs, errors)) / 2)
    assert metrics["r2"] == pytest.approx(1 - sum(e**2 for e in errors) / 200, rel=1e-4)
    learned = [(forward(target) - 3) / 0.5 for target in targets]
    loss = ((learned[0] + 1) ** 2 + (learned[1] - 2) ** 2) / 2
    assert metrics["loss"] == pytest.approx(loss)
    assert task.loss(torch.tensor(outputs), torch.tensor(targets)).item() == (
        pytest.approx(loss)
    )
    values = task.predictions_from(torch.tensor(outputs))
    assert values.tolist() == pytest.approx(predicted)


@pytest.mark.parametrize("targets", [[11.3], [11.3] * 2, [-30.7] * 7])
def test_equal_targets_have_no_r2(targets):
    task = make(target_mean=10.0, target_std=0.3)
    metrics = scored(task, [[0.5]] * len(targets), targets)
    assert math.isnan(metrics["r2"])
    assert metrics["mae"] == pytest.approx(abs(targets[0] - 10.15))


def test_r2_is_exact_for_targets_that_hardly_differ():
    targets = [1000.0, 1000.125, 1000.25]
    metrics = scored(make(), [[1000.0], [1000.0], [1000.25]], targets)
    assert metrics["r2"] == pytest.approx(1 - 0.125**2 / (2 * 0.125**2))


@pytest.mark.parametrize(("name", "loss"), [("mse", 4.0), ("mae", 2.0), ("huber", 1.5)])
def test_losses(name, loss):
    task = make(loss_name=name)
    assert task.loss(torch.tensor([[3.0]]), torch.tensor([1.0])).item() == loss


def test_an_unknown_loss_is_refused():
    with pytest.raises(
        ValueError, match="must be one of mse, mae, huber for regression, got 'rmse'"
    ):
        make(loss_name="rmse")
