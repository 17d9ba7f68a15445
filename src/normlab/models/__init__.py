"""Networks that take their norm from outside; each is built as `Model(input_shape, num_outputs, norm, **options)`."""

from normlab.models.alexnet import AlexNet
from normlab.models.lenet import LeNet5
from normlab.models.mlp import MLP

__all__ = ["MLP", "AlexNet", "LeNet5"]
