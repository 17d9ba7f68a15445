"""Loss and metrics of classification, against numbers worked out by hand."""

import math

import pytest
import torch
from torch import nn

from normlab.training.classification import Classification


def make(**options):
    return Classification(nn.Identity(), torch.optim.SGD, **options)


def test_scores_by_hand():
    task = make()
    logits = torch.tensor([[0.0, 0.0], [0.0, math.log(3)]])
    sums = task.score(logits, torch.tensor([0, 0]))
    metrics = task.metrics_from(sums.tolist())
    assert metrics["loss"] == pytest.approx((math.log(2) + math.log(4)) / 2)
    assert metrics["accuracy"] == 0.5


def test_softmax_before_the_loss_has_a_floor():
    task = make(softmax_before_loss=True)
    perfect = torch.tensor([[1000.0] + [0.0] * 9])
    floor = math.log(math.e + 9) - 1  # 1.461
    assert task.loss(perfect, torch.tensor([0])).item() == pytest.approx(floor)
