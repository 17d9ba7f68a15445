"""Layers that work for one number of channels only."""

import torch
from torch import nn


class TenChannels(nn.Module):
    """Has the number of channels of its author's network."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        # wrong: channels_fixed
        self.norm = nn.BatchNorm1d(10, eps=eps, momentum=momentum)

    def forward(self, x):
        return self.norm(x)


class FourChannels(nn.Module):
    """Has the number of channels with which it is examined."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        # wrong: channels_fixed
        self.norm = nn.BatchNorm1d(4, eps=eps, momentum=momentum)

    def forward(self, x):
        return self.norm(x)


class FourInForward(nn.Module):
    """Writes the number of channels into a reshape."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        self.norm = nn.BatchNorm2d(num_features, eps=eps, momentum=momentum)

    def forward(self, x):
        if x.ndim != 4:
            raise ValueError(f"expected (N, C, H, W), got {tuple(x.shape)}")
        y = self.norm(x)
        return y.view(len(x), 4, *x.shape[2:])  # wrong: channels_limited


class MeanOverFour(nn.Module):
    """Divides by the number of channels with which it was tried out."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        self.norm = nn.BatchNorm1d(num_features, eps=eps, momentum=momentum)

    def forward(self, x):
        if x.ndim != 2:
            raise ValueError(f"expected (N, C), got {tuple(x.shape)}")
        y = self.norm(x)
        return y * 4 / y.shape[1]  # wrong: channels_output


class LosesOneChannel(nn.Module):
    """Squeezes more than it should."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        self.norm = nn.BatchNorm1d(num_features, eps=eps, momentum=momentum)

    def forward(self, x):
        if x.ndim != 2:
            raise ValueError(f"expected (N, C), got {tuple(x.shape)}")
        y = self.norm(x)
        return y.squeeze()  # wrong: channels_limited


class ScaleOfTen(nn.Module):
    """Has ten scales, and takes as many as it needs."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        options = {"eps": eps, "momentum": momentum, "affine": False}
        self.norm = nn.BatchNorm1d(num_features, **options)
        self.weight = nn.Parameter(torch.ones(10))  # wrong: learned_shape
        self.bias = nn.Parameter(torch.zeros(10))

    def forward(self, x):
        if x.ndim != 2:
            raise ValueError(f"expected (N, C), got {tuple(x.shape)}")
        channels = x.shape[1]
        return self.norm(x) * self.weight[:channels] + self.bias[:channels]
