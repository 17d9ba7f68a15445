"""Batch norm as a course notebook on AlexNet has it."""

import torch
from torch import nn


class MyBatchNorm1d(nn.Module):
    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.gamma = nn.Parameter(torch.ones(num_features))
        self.beta = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, x):  # wrong: one_value_silent
        if self.training:
            mean = x.mean(dim=0)  # wrong: silent_shape
            var = x.var(dim=0, unbiased=False)
            m = self.momentum
            # wrong: graph_kept
            self.running_mean = (1 - m) * self.running_mean + m * mean
            # wrong: biased_variance
            self.running_var = (1 - m) * self.running_var + m * var
        else:
            mean = self.running_mean
            var = self.running_var
        x_hat = (x - mean) / torch.sqrt(var + self.eps)
        return self.gamma * x_hat + self.beta
