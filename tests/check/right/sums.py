"""Sums, counts and einsum in place of mean and var."""

import torch
from torch import nn


class BatchNormalization(nn.Module):
    """For images, with statistics of shape (1, C, 1, 1)."""

    def __init__(self, num_channels, eps=1e-5, momentum=0.1):
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        size = (1, num_channels, 1, 1)
        self.gamma = nn.Parameter(torch.ones(size))
        self.beta = nn.Parameter(torch.zeros(size))
        self.register_buffer("running_mean", torch.zeros(size))
        self.register_buffer("running_std2_var", torch.ones(size))

    def forward(self, x):
        if x.dim() != 4:
            raise ValueError("images only")
        if self.training:
            b, _, h, w = x.shape
            m = b * h * w
            if m < 2:
                raise ValueError("more values are needed")
            y = x.to(torch.float32) if x.dtype == torch.float16 else x
            mean = torch.einsum("bchw->c", y)[None, :, None, None] / m
            centered = y - mean
            squares = torch.einsum("bchw,bchw->c", centered, centered)
            squares = squares[None, :, None, None]
            var = squares / m
            if self.momentum:
                self._update(mean.detach(), squares.detach() / (m - 1))
        else:
            mean, var = self.running_mean, self.running_std2_var
            centered = x - mean
        x_hat = centered * torch.pow(var + self.eps, -0.5)
        return (self.gamma * x_hat + self.beta).to(x.dtype)

    def _update(self, mean, var):
        self.running_mean = torch.lerp(self.running_mean, mean, self.momentum)
        self.running_std2_var = torch.lerp(self.running_std2_var, var, self.momentum)
