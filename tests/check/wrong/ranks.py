"""Layers that are told the rank of their input and refuse vectors or images."""

from torch import nn


class VectorsOnly(nn.Module):
    def __init__(self, num_features, dim, eps=1e-5, momentum=0.1):
        super().__init__()
        if dim != 1:
            raise ValueError("dim must be 1")  # wrong: call_fails
        self.norm = nn.BatchNorm1d(num_features, eps=eps, momentum=momentum)

    def forward(self, x):
        return self.norm(x)


class ImagesOnly(nn.Module):
    def __init__(self, num_features, dim, eps=1e-5, momentum=0.1):
        super().__init__()
        if dim != 2:
            raise ValueError("dim must be 2")  # wrong: call_fails
        self.norm = nn.BatchNorm2d(num_features, eps=eps, momentum=momentum)

    def forward(self, x):
        return self.norm(x)


class NoRank(nn.Module):
    def __init__(self, num_features, dim):
        super().__init__()
        raise ValueError(f"dim {dim} is unknown")  # wrong: cannot_be_built

    def forward(self, x):
        return x
