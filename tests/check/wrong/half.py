"""Statistics in 16 bits."""

import torch
from torch import nn


class Overflows(nn.Module):
    """Squares values in float16."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, x):
        shape = (1, -1, *[1] * (x.ndim - 2))
        if self.training:
            axes = (0, *range(2, x.ndim))
            n = x.numel() // x.shape[1]
            if n == 1:
                raise ValueError("one value per channel has no variance")
            mean = x.mean(axes)
            var = (x - mean.view(shape)).square().mean(axes)
            with torch.no_grad():
                self.running_mean.mul_(1 - self.momentum)
                self.running_mean.add_(self.momentum * mean)
                self.running_var.mul_(1 - self.momentum)
                self.running_var.add_(self.momentum * var * n / (n - 1))
        else:
            mean = self.running_mean
            var = self.running_var
        y = (x - mean.view(shape)) / torch.sqrt(var.view(shape) + self.eps)
        return y * self.weight.view(shape) + self.bias.view(shape)


class AsksForValues(nn.Module):
    """Decides by the values of a tensor."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, x):
        shape = (1, -1, *[1] * (x.ndim - 2))
        if self.training:
            axes = (0, *range(2, x.ndim))
            n = x.numel() // x.shape[1]
            if n == 1:
                raise ValueError("one value per channel has no variance")
            mean = x.mean(axes)
            var = x.float().var(axes, correction=0).to(x.dtype)
            if var.min().item() < 0:
                raise ValueError("a variance is never negative")
            with torch.no_grad():
                self.running_mean.mul_(1 - self.momentum)
                self.running_mean.add_(self.momentum * mean)
                self.running_var.mul_(1 - self.momentum)
                self.running_var.add_(self.momentum * var * n / (n - 1))
        else:
            mean = self.running_mean
            var = self.running_var
        y = (x - mean.view(shape)) / torch.sqrt(var.view(shape) + self.eps)
        return y * self.weight.view(shape) + self.bias.view(shape)
