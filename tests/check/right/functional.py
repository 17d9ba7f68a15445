"""PyTorch's function with parameters and buffers of one's own."""

import torch
from torch import nn
from torch.nn import functional


class BatchNorm(nn.Module):
    def __init__(self, channels, eps=1e-5, momentum=0.1):
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def forward(self, x):
        return functional.batch_norm(
            x,
            self.mean,
            self.variance,
            self.scale,
            self.shift,
            self.training,
            self.momentum,
            self.eps,
        )
