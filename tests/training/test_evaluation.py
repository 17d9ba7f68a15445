"""How a part of the data is scored; the tests of fit.py train with tasks."""

import pytest
import torch
from torch import nn

from normlab.data.blocks import Block
from normlab.training.classification import Classification
from normlab.training.evaluation import evaluate


def test_evaluation_counts_samples_once_and_changes_nothing():
    network = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(0.5)).train()
    task = Classification(network, torch.optim.SGD)
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
