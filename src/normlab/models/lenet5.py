"""LeNet-5 (LeCun et al., 1998) in the variants that are taught."""

from collections.abc import Sequence

from torch import Tensor, nn

from normlab.models.blocks import Norm, make_pooling, norm_and_activation, require_images

KERNEL = 5


class LeNet5(nn.Module):
    """Two 5 x 5 convolutions with pooling and two hidden linear layers; a norm before each of the four activations.

    Args:
        input_shape: ``(C, H, W)``, at least 16 pixels a side.
        num_outputs: classes.
        norm: called as ``norm(channels, 2)`` and ``norm(width, 1)``.
        activation: `sigmoid` as in 1998, `relu` as today.
        pooling: `avg` as in 1998, `max` as today.
        dropout: probability, after each hidden linear layer.
        channels: of the two convolutions.
        hidden: widths of the two hidden linear layers.
        bias: of the weights before a norm; the same for every norm.

    Raises:
        ValueError: inputs that are no images, or too small for two convolutions with pooling.
    """

    min_image_size = 28

    def __init__(
        self,
        input_shape: Sequence[int],
        num_outputs: int,
        norm: Norm,
        activation: str = "relu",
        pooling: str = "max",
        dropout: float = 0.0,
        channels: Sequence[int] = (6, 16),
        hidden: Sequence[int] = (120, 84),
        bias: bool = True,
    ) -> None:
        super().__init__()
        previous, height, width = require_images("LeNet5", input_shape, 16)
        layers: list[nn.Module] = []
        for count in channels:
            layers += [nn.Conv2d(previous, count, KERNEL, bias=bias), *norm_and_activation(norm, count, 2, activation)]
            layers.append(make_pooling(pooling, 2))
            previous, height, width = count, (height - KERNEL + 1) // 2, (width - KERNEL + 1) // 2
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(*_head(previous * height * width, hidden, norm, activation, dropout, bias))
        self.output = nn.Linear(hidden[-1], num_outputs)

    def forward(self, images: Tensor) -> Tensor:
        """``(N, C, H, W)`` to logits ``(N, num_outputs)``."""
        return self.output(self.classifier(self.features(images).flatten(1)))


def _head(
    width: int, hidden: Sequence[int], norm: Norm, activation: str, dropout: float, bias: bool
) -> list[nn.Module]:
    layers = []
    for next_width in hidden:
        layers += [nn.Linear(width, next_width, bias), *norm_and_activation(norm, next_width, 1, activation)]
        if dropout:
            layers.append(nn.Dropout(dropout))
        width = next_width
    return layers
