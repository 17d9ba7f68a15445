"""Architectures, one a file: plain modules that take `input_shape`, `num_outputs` and `norm`."""

from normlab.models.alexnet import AlexNet
from normlab.models.lenet5 import LeNet5
from normlab.models.mlp import MLP

__all__ = ["MLP", "AlexNet", "LeNet5"]
