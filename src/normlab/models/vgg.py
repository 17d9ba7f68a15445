"""VGG for small images: the convolutions of the original and a small head."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from normlab.models.blocks import (
    Norm,
    block,
    he_initialization,
    hidden_layers,
    image_shape,
    positive_integer,
    widths,
)

# Number of convolutions in each of the five stages, by depth. 2 x 2 max pooling follows
# each stage.
STAGES = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
MULTIPLES = (1, 2, 4, 8, 8)  # channels of the stages, in multiples of the width


class VGG(nn.Module):
    """Five stages of 3 x 3 convolutions, the mean over the last map, and a head.

        features: ((conv - norm - activation) x n - max pool) x 5
        head: mean - (linear - norm - activation - dropout) per hidden layer - linear

    Simonyan and Zisserman (2015), arXiv 1409.1556. The original has a head of 4096 and
    4096 features for images of 224 pixels; ``hidden=[4096, 4096]`` brings its widths
    back. The weights of convolutions start as He et al. (2015) draw them, as in
    torchvision: with PyTorch's default, sixteen layers without a norm do not train.

    Inputs are ``(N, C, H, W)``, outputs ``(N, num_outputs)``.

    Args:
        input_shape: ``(C, H, W)``.
        num_outputs: number of classes, or of numbers to predict.
        norm: called as ``norm(num_features, 2)`` after convolutions and as
            ``norm(num_features, 1)`` in the head.
        depth: 11, 13, 16 or 19, the number of layers with weights in the original.
        width: channels of the first stage, 64 in the original.
        hidden: widths of the head's hidden layers.
        activation: name of the activation.
        dropout: probability of zeroing a feature after each hidden layer of the head.
        bias: whether the layers before a norm have biases.

    Raises:
        ValueError: the samples are no images or too small, or the depth or activation
            is unknown.
    """

    min_image_size = 32

    def __init__(
        self,
        input_shape: Sequence[int],
        num_outputs: int,
        norm: Norm,
        depth: int = 11,
        width: int = 32,
        hidden: Sequence[int] = (),
        activation: str = "relu",
        dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        in_channels, _, _ = image_shape(type(self), input_shape)
        if depth not in STAGES:
            known = ", ".join(map(str, STAGES))
            raise ValueError(
                f"model.depth must be one of {known} for VGG, got {depth!r}"
            )
        width = positive_integer("model.width", width)

        self.features = features(in_channels, depth, width, norm, activation, bias)
        sizes = [width * MULTIPLES[-1], *widths("model.hidden", hidden)]
        self.hidden = hidden_layers(sizes, norm, activation, dropout, bias)
        self.output = nn.Linear(sizes[-1], num_outputs)
        he_initialization(self.features)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.hidden(self.features(x).mean((2, 3))))


def features(
    in_channels: int, depth: int, width: int, norm: Norm, activation: str, bias: bool
) -> nn.Sequential:
    """Build the convolutions conv1_1, conv1_2, ... and the poolings pool1 to pool5."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    stages = zip(STAGES[depth], MULTIPLES, strict=True)
    for stage, (count, multiple) in enumerate(stages, start=1):
        channels = width * multiple
        for number in range(1, count + 1):
            conv = nn.Conv2d(in_channels, channels, 3, padding=1, bias=bias)
            parts[f"conv{stage}_{number}"] = block(conv, norm(channels, 2), activation)
            in_channels = channels
        parts[f"pool{stage}"] = nn.MaxPool2d(2)
    return nn.Sequential(parts)
