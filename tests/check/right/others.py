"""Norms of other kinds, as they are written for transformers and for style transfer."""

import torch
from torch import nn


class RMSNorm(nn.Module):
    def __init__(self, dim: int, eps: float = 1e-6):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def _norm(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)

    def forward(self, x):
        output = self._norm(x.float()).type_as(x)
        return output * self.weight


class LayerNorm(nn.Module):
    def __init__(self, features, eps=1e-5):
        super().__init__()
        self.a_2 = nn.Parameter(torch.ones(features))
        self.b_2 = nn.Parameter(torch.zeros(features))
        self.eps = eps

    def forward(self, x):
        wide = x.float() if x.dtype == torch.float16 else x
        mean = wide.mean(-1, keepdim=True)
        var = (wide - mean).pow(2).mean(-1, keepdim=True)
        normalized = (wide - mean) / torch.sqrt(var + self.eps)
        return (self.a_2 * normalized + self.b_2).to(x.dtype)


class LayerNorm2d(nn.Module):
    def __init__(self, num_channels, eps=1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.eps = eps

    def forward(self, x):
        if x.dim() != 4:
            raise ValueError("images only")
        wide = x.float() if x.dtype == torch.float16 else x
        u = wide.mean(1, keepdim=True)
        s = (wide - u).pow(2).mean(1, keepdim=True)
        y = ((wide - u) / torch.sqrt(s + self.eps)).to(x.dtype)
        return self.weight[:, None, None] * y + self.bias[:, None, None]


class GroupNorm(nn.Module):
    def __init__(self, num_channels, num_groups=2, eps=1e-5):
        super().__init__()
        self.num_groups = num_groups
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))

    def forward(self, x):
        rows = x.reshape(len(x), self.num_groups, -1)
        rows = rows.float() if rows.dtype == torch.float16 else rows
        mean = rows.mean(-1, keepdim=True)
        var = rows.var(-1, keepdim=True, unbiased=False)
        y = ((rows - mean) / torch.sqrt(var + self.eps)).to(x.dtype).view(x.shape)
        shape = (1, -1, *[1] * (x.ndim - 2))
        return y * self.weight.view(shape) + self.bias.view(shape)


class InstanceNorm(nn.Module):
    def forward(self, x):
        if x.ndim < 3:
            raise ValueError("positions are needed")
        wide = x.float() if x.dtype == torch.float16 else x
        axes = tuple(range(2, x.ndim))
        mean = wide.mean(axes, keepdim=True)
        var = wide.var(axes, keepdim=True, unbiased=False)
        return ((wide - mean) / (var + 1e-5).sqrt()).to(x.dtype)


def standardize(x, eps=1e-5):
    """A function of a tensor: layer norm without scale and shift."""
    axes = tuple(range(1, x.ndim))
    wide = x.float() if x.dtype == torch.float16 else x
    var, mean = torch.var_mean(wide, axes, correction=0, keepdim=True)
    return ((wide - mean) * torch.rsqrt(var + eps)).to(x.dtype)
