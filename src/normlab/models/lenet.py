"""LeNet-5, with the parts that later versions changed as options."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from normlab.models.blocks import (
    Norm,
    block,
    hidden_layers,
    image_shape,
    pooling,
    widths,
)


class LeNet5(nn.Module):
    """Two convolutions with pooling, two hidden linear layers and an output layer.

        (conv - norm - activation - pool) x 2
        (linear - norm - activation - dropout) x 2 - linear

    LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document
    recognition" (1998). The original uses sigmoids and average pooling; ReLU and max
    pooling are common today.

    Inputs are ``(N, C, H, W)``, outputs ``(N, num_outputs)``. With the default options,
    images of 28 x 28 pixels give 256 features after the second pooling and images of
    32 x 32 pixels give 400.

    Args:
        input_shape: ``(C, H, W)``.
        num_outputs: number of classes, or of numbers to predict.
        norm: called as ``norm(num_features, 2)`` after convolutions and as
            ``norm(num_features, 1)`` after hidden linear layers.
        channels: output channels of the two convolutions.
        hidden: widths of the hidden linear layers.
        kernel_size: height and width of the kernels. The convolutions do not pad.
        activation: name of the activation.
        pooling: max or avg, over 2 x 2 windows.
        dropout: probability of zeroing a feature after each hidden linear layer.
        bias: whether the layers before a norm have biases.

    Raises:
        ValueError: the samples are no images or too small, there are not two channel
            numbers, or an activation or pooling is unknown.
    """

    min_image_size = 28

    def __init__(
        self,
        input_shape: Sequence[int],
        num_outputs: int,
        norm: Norm,
        channels: Sequence[int] = (6, 16),
        hidden: Sequence[int] = (120, 84),
        kernel_size: int = 5,
        activation: str = "relu",
        pooling: str = "max",
        dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        in_channels, height, width = image_shape(type(self), input_shape)
        self.features = features(
            in_channels, channels, kernel_size, activation, pooling, bias, norm
        )
        area = pooled_size(height, kernel_size) * pooled_size(width, kernel_size)
        sizes = [channels[-1] * area, *widths("model.hidden", hidden)]
        self.hidden = hidden_layers(sizes, norm, activation, dropout, bias)
        self.output = nn.Linear(sizes[-1], num_outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.hidden(self.features(x).flatten(1)))


def features(
    in_channels: int,
    channels: Sequence[int],
    kernel_size: int,
    activation: str,
    pool: str,
    bias: bool,
    norm: Norm,
) -> nn.Sequential:
    """Build the convolutional part: conv1, pool1, conv2, pool2."""
    first, second = widths("model.channels", channels, count=2)
    conv1 = nn.Conv2d(in_channels, first, kernel_size, bias=bias)
    conv2 = nn.Conv2d(first, second, kernel_size, bias=bias)
    return nn.Sequential(
        OrderedDict(
            conv1=block(conv1, norm(first, 2), activation),
            pool1=pooling(pool, 2),
            conv2=block(conv2, norm(second, 2), activation),
            pool2=pooling(pool, 2),
        )
    )


def pooled_size(size: int, kernel_size: int) -> int:
    """Height or width after two unpadded convolutions, each with 2 x 2 pooling.

    Args:
        size: height or width of the image, in pixels.
        kernel_size: height or width of the kernels.

    Raises:
        ValueError: no pixel is left.
    """
    after_first = (size - kernel_size + 1) // 2
    after_second = (after_first - kernel_size + 1) // 2
    if after_second < 1:
        raise ValueError(
            f"model.kernel_size={kernel_size} leaves nothing of {size} pixels; "
            "use a smaller kernel"
        )
    return after_second
