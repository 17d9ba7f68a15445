"""AlexNet as torchvision builds it, with a head and norms of one's choice."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor, nn

from normlab.models.blocks import Norm, block, choose, image_shape, widths
from normlab.models.weights import (
    check_architecture,
    download_weights,
    shared_input,
    weights_from_file,
)

# out_channels, kernel_size, stride, padding, and whether 3 x 3 max pooling with
# stride 2 follows
CONVOLUTIONS = (
    (64, 11, 4, 2, True),
    (192, 5, 1, 2, True),
    (384, 3, 1, 1, False),
    (256, 3, 1, 1, False),
    (256, 3, 1, 1, True),
)
MAP_SIZE = 6  # height and width of the map that the head reads
NAME = "torchvision's AlexNet"
PLACES = ("features", "head")
# Positions of the convolutions in torchvision's `features`, and of the linear layers
# in its `classifier`.
TORCHVISION_FEATURES = (0, 3, 6, 8, 10)
TORCHVISION_HEAD = (1, 4, 6)


class AlexNet(nn.Module):
    """Five convolutions, average pooling to 6 x 6, and a head of linear layers.

        features: (conv - norm - ReLU [- max pool]) x 5
        head: (dropout - linear - norm - ReLU) per hidden layer, then linear

    The one-column variant of Krizhevsky (2014), arXiv 1404.5997, as torchvision builds
    it: ``hidden=[4096, 4096]``, ``dropout=0.5`` and ``norm_at=[]`` give torchvision's
    network.

    Inputs are ``(N, C, H, W)``, outputs ``(N, num_outputs)``. The network also takes
    features ``(N, 9216)`` in place of images, see `extract`. Below 223 pixels the last
    feature map is smaller than 6 x 6, and the pooling repeats its values.

    Args:
        input_shape: ``(C, H, W)``.
        num_outputs: number of classes, or of numbers to predict.
        norm: called as ``norm(num_features, 2)`` after convolutions and as
            ``norm(num_features, 1)`` in the head.
        hidden: widths of the head's hidden layers.
        dropout: probability of zeroing an input of each hidden layer of the head,
            0.5 in the original.
        norm_at: the parts that get norms: features, head, both or none.
        bias: whether the layers before a norm have biases.
        pretrained: true for torchvision's ImageNet weights, or the path of a file with
            the same keys. All convolutions take their weights from it, and so do the
            first layers of the head for as long as the shapes agree. If the images do
            not have three channels, the weights of the first convolution are summed
            over its inputs and divided among the channels.
        freeze: features, or null. Frozen convolutions are not trained and stay in
            evaluation mode while the head trains, so their outputs can be computed
            once and stored.

    Raises:
        ValueError: the samples are no images or too small, an option has an unknown
            value, or the weights are not AlexNet's.
    """

    # 63 pixels would survive the poolings; 64 is Tiny-ImageNet's size and a multiple
    # of 8, the size of the digits.
    min_image_size = 64

    def __init__(
        self,
        input_shape: Sequence[int],
        num_outputs: int,
        norm: Norm,
        hidden: Sequence[int] = (1024, 1024, 512),
        dropout: float = 0.0,
        norm_at: Sequence[str] = ("features", "head"),
        bias: bool = True,
        pretrained: bool | str = False,
        freeze: str | None = None,
    ) -> None:
        super().__init__()
        channels, _, _ = image_shape(type(self), input_shape)
        places = [choose("model.norm_at", place, PLACES) for place in norm_at]
        if freeze is not None:
            choose("model.freeze", freeze, ["features"])
        self.frozen = freeze is not None
        if self.frozen and "features" in places:
            raise ValueError(
                "model.freeze=features keeps the convolutions as they are: "
                "set model.norm_at=[head]"
            )
        if pretrained and not bias:
            raise ValueError("model.pretrained brings biases: set model.bias=true")

        features_norm = norm if "features" in places else no_norm
        head_norm = norm if "head" in places else no_norm
        num_features = CONVOLUTIONS[-1][0] * MAP_SIZE**2
        self.features = features(channels, features_norm, bias)
        self.pool = nn.AdaptiveAvgPool2d((MAP_SIZE, MAP_SIZE))
        self.head = head(num_features, num_outputs, head_norm, hidden, dropout, bias)

        if pretrained:
            load_torchvision(self, torchvision_weights(pretrained), pretrained)
        self.features.requires_grad_(not self.frozen)

    def extract(self, x: Tensor) -> Tensor:
        """Compute the head's inputs ``(N, 9216)`` from images ``(N, C, H, W)``."""
        return self.pool(self.features(x)).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x if x.ndim == 2 else self.extract(x))

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.frozen:
            self.features.eval()
        return self


def no_norm(num_features: int, dim: int) -> nn.Module:
    """Leave the place of a norm empty."""
    return nn.Identity()


def features(in_channels: int, norm: Norm, bias: bool) -> nn.Sequential:
    """Build the convolutions conv1 to conv5 and the poolings pool1, pool2, pool5."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for number, settings in enumerate(CONVOLUTIONS, start=1):
        channels, kernel_size, stride, padding, pooled = settings
        conv = nn.Conv2d(in_channels, channels, kernel_size, stride, padding, bias=bias)
        parts[f"conv{number}"] = block(conv, norm(channels, 2), "relu")
        if pooled:
            parts[f"pool{number}"] = nn.MaxPool2d(3, 2)
        in_channels = channels
    return nn.Sequential(parts)


def head(
    num_features: int,
    num_outputs: int,
    norm: Norm,
    hidden: Sequence[int],
    dropout: float,
    bias: bool,
) -> nn.Sequential:
    """Build dropout, linear, norm and ReLU for each width, then the output layer."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    sizes = [num_features, *widths("model.hidden", hidden)]
    for number, (num_inputs, width) in enumerate(pairwise(sizes), start=1):
        if dropout:
            parts[f"dropout{number}"] = nn.Dropout(dropout)
        linear = nn.Linear(num_inputs, width, bias=bias)
        parts[f"hidden{number}"] = block(linear, norm(width, 1), "relu")
    parts["output"] = nn.Linear(sizes[-1], num_outputs)
    return nn.Sequential(parts)


def torchvision_weights(pretrained: bool | str) -> Mapping[str, Tensor]:
    """Return torchvision's ImageNet weights, or those in a file.

    Args:
        pretrained: true to take them from torchvision's cache or download them, or the
            path of a file.

    Raises:
        ValueError: the download failed, or the file holds no weights.
    """
    if pretrained is not True:
        return weights_from_file(pretrained)

    from torchvision.models import AlexNet_Weights

    weights = AlexNet_Weights.IMAGENET1K_V1
    return download_weights(
        lambda: weights.get_state_dict(progress=False, check_hash=True)
    )


@torch.no_grad()
def load_torchvision(
    network: AlexNet, stored: Mapping[str, Tensor], pretrained: bool | str
) -> None:
    """Copy torchvision's weights into a network.

    All convolutions get their weights, and so do the first linear layers of the head
    for as long as the shapes agree.

    Args:
        network: the network to fill.
        stored: a state dict with torchvision's keys.
        pretrained: the option that named the weights, for messages.

    Raises:
        ValueError: the weights are of another architecture, or the bias of a layer of
            the head is missing or has another shape.
    """
    _load_features(network, stored, pretrained)
    linears = [
        layer for layer in network.head.modules() if isinstance(layer, nn.Linear)
    ]
    for position, linear in zip(TORCHVISION_HEAD, linears, strict=False):
        weight = stored.get(f"classifier.{position}.weight")
        if weight is None or weight.shape != linear.weight.shape:
            break
        key = f"classifier.{position}.bias"
        found = {key: stored[key]} if key in stored else {}
        check_architecture(found, {key: linear.bias}, NAME, pretrained)
        _copy(linear, weight, stored[key])


def _load_features(
    network: AlexNet, stored: Mapping[str, Tensor], pretrained: bool | str
) -> None:
    keys = [f"features.{position}" for position in TORCHVISION_FEATURES]
    with torch.device("meta"):
        originals = _convolutions(features(3, no_norm, bias=True))
    expected = {}
    for key, conv in zip(keys, originals, strict=True):
        for name, tensor in conv.state_dict().items():
            expected[f"{key}.{name}"] = tensor
    check_architecture(stored, expected, NAME, pretrained)

    for key, conv in zip(keys, _convolutions(network.features), strict=True):
        weight = shared_input(stored[f"{key}.weight"], conv.in_channels)
        _copy(conv, weight, stored[f"{key}.bias"])


def _convolutions(parts: nn.Sequential) -> list[nn.Conv2d]:
    """The five convolutions, in order."""
    blocks = [part for part in parts if isinstance(part, nn.Sequential)]
    return [layer for part in blocks for layer in part if isinstance(layer, nn.Conv2d)]


def _copy(layer: nn.Conv2d | nn.Linear, weight: Tensor, bias: Tensor) -> None:
    assert layer.bias is not None  # model.pretrained demands model.bias=true
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)
