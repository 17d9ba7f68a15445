"""Constructors that do not call that of the module."""

import torch
from torch import nn


class MyBatchNorm1d(nn.Module):
    def __init__(self, num_features):
        self.weight = nn.Parameter(torch.ones(num_features))  # wrong: cannot_be_built

    def forward(self, x):
        return x * self.weight


class OnlyTensors(nn.Module):
    """Nothing that it stores needs the module, wrong without a line: cannot_be_built"""

    def __init__(self, num_features):
        self.gamma = torch.ones(num_features)

    def forward(self, x):
        return x * self.gamma
