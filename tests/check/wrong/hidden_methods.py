"""An attribute with the name of a method that every module has."""

from torch import nn


class HidesTrain(nn.Module):
    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        self.norm = nn.BatchNorm1d(num_features, eps=eps, momentum=momentum)
        self.train = True  # wrong: cannot_be_built

    def forward(self, x):
        return self.norm(x)
