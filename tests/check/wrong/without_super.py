"""A constructor that does not call that of the module."""

import torch
from torch import nn


class MyBatchNorm1d(nn.Module):
    def __init__(self, num_features):
        self.weight = nn.Parameter(torch.ones(num_features))  # wrong: cannot_be_built

    def forward(self, x):
        return x * self.weight
