"""Layers for images and volumes whose constructors refuse vectors and sequences."""

from torch import nn


class ImageNorm(nn.Module):
    def __init__(self, num_features, dim, eps=1e-5):
        super().__init__()
        if dim == 1:
            raise ValueError("dim must be 2 or 3")
        layers = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
        self.norm = layers[dim](num_features, eps=eps)

    def forward(self, x):
        return self.norm(x)


class VolumeNorm(ImageNorm):
    def __init__(self, num_features, dim, eps=1e-5):
        if dim != 3:
            raise ValueError("dim must be 3")
        super().__init__(num_features, dim, eps)
