"""A name that forward does not find."""

import torch
from torch import nn


class MyBatchNorm1d(nn.Module):
    def __init__(self, num_features, eps=1e-5):
        super().__init__()
        self.eps = eps
        self.gamma = nn.Parameter(torch.ones(num_features))
        self.beta = nn.Parameter(torch.zeros(num_features))

    def forward(self, x):
        mean = x.mean(0)
        var = x.var(0, unbiased=False)
        x_hat = (x - mean) / torch.sqrt(var + self.epsilon)  # wrong: call_fails
        return self.gamma * x_hat + self.beta
