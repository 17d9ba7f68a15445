"""Networks whose norm is an argument: `Model(input_shape, num_outputs, norm, ...)`."""

from normlab.models.alexnet import AlexNet
from normlab.models.efficientnet import EfficientNetLite0
from normlab.models.lenet import LeNet5
from normlab.models.library import TimmModel, TorchvisionModel
from normlab.models.mlp import MLP
from normlab.models.recurrent import RecurrentNetwork
from normlab.models.resnet import ResNet
from normlab.models.swap import Swap, insert_norms, replace_norms
from normlab.models.vgg import VGG
from normlab.models.vit import VisionTransformer

__all__ = [
    "MLP",
    "VGG",
    "AlexNet",
    "EfficientNetLite0",
    "LeNet5",
    "RecurrentNetwork",
    "ResNet",
    "Swap",
    "TimmModel",
    "TorchvisionModel",
    "VisionTransformer",
    "insert_norms",
    "replace_norms",
]
