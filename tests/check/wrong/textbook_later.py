"""The same textbook after it let go of the graph, and before its last corrections."""

import torch
from torch import nn


class BatchNorm(nn.Module):
    def __init__(self, num_features, num_dims, momentum=0.9):
        super().__init__()
        shape = (1, num_features) if num_dims == 2 else (1, num_features, 1, 1)
        self.momentum = momentum
        self.gamma = nn.Parameter(torch.ones(shape))
        self.beta = nn.Parameter(torch.zeros(shape))
        self.moving_mean = torch.zeros(shape)  # wrong: state_attribute
        self.moving_var = torch.zeros(shape)  # wrong: averages_start

    def forward(self, X):  # wrong: one_value_silent
        if self.training:
            assert len(X.shape) in (2, 4)
            axes = (0,) if len(X.shape) == 2 else (0, 2, 3)
            mean = X.mean(axes, keepdim=True)
            var = ((X - mean) ** 2).mean(axes, keepdim=True)
            old, new = self.momentum, 1.0 - self.momentum
            self.moving_mean = old * self.moving_mean + new * mean.data
            # wrong: biased_variance
            self.moving_var = old * self.moving_var + new * var.data
        else:
            mean, var = self.moving_mean, self.moving_var
        X_hat = (X - mean) / torch.sqrt(var + 1e-5)
        return self.gamma * X_hat + self.beta
