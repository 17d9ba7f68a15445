"""A layer that is told the rank of its input and refuses images."""

from torch import nn


class VectorsOnly(nn.Module):
    def __init__(self, num_features, dim, eps=1e-5, momentum=0.1):
        super().__init__()
        if dim != 1:
            raise ValueError("dim must be 1")  # wrong: call_fails
        self.norm = nn.BatchNorm1d(num_features, eps=eps, momentum=momentum)

    def forward(self, x):
        return self.norm(x)
