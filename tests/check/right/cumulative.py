"""All batches weigh the same."""

import torch
from torch import nn


class CustomBatchNorm(nn.Module):
    def __init__(self, num_features, epsilon=1e-3):
        super().__init__()
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x):
        shape = [1, -1] + [1] * (x.dim() - 2)
        dims = [d for d in range(x.dim()) if d != 1]
        if self.training:
            n = x.numel() / x.size(1)
            assert n > 1, "one value per channel"
            wide = x.float() if x.dtype == torch.half else x
            var, mean = torch.var_mean(wide, dims, correction=0)
            self.num_batches_tracked.add_(1)
            rate = 1 / self.num_batches_tracked
            with torch.no_grad():
                self.running_mean.mul_(1 - rate).add_(rate * mean)
                self.running_var.mul_(1 - rate).add_(rate * var * n / (n - 1))
        else:
            mean, var = self.running_mean, self.running_var
        scale = self.weight * torch.rsqrt(var + self.epsilon)
        shift = self.bias - mean * scale
        return (x * scale.view(shape) + shift.view(shape)).type_as(x)
