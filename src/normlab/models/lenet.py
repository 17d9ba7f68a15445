"""LeNet-5 (LeCun, Bottou, Bengio and Haffner, 1998), with the parts that later versions changed as options."""

from collections import OrderedDict
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from normlab.models.blocks import block, hidden_layers, image_shape, pooling, widths


class LeNet5(nn.Module):
    """Two convolutions with pooling, two hidden linear layers, one output layer; a norm after each but the last.

        conv - norm - activation - pool - conv - norm - activation - pool - (linear - norm - activation) x 2 - linear

    The original uses sigmoids and average pooling; ReLU and max pooling are what is common today. Inputs
    ``(N, C, H, W)``, outputs ``(N, num_outputs)``; images of 28 pixels give 256 features after pooling, of 32 give 400.

    Args:
        input_shape: ``(C, H, W)``.
        num_outputs: classes, or numbers to predict.
        norm: called as ``norm(num_features, 2)`` after convolutions and ``norm(num_features, 1)`` after linear layers.
        channels: of the two convolutions.
        hidden: widths of the linear layers.
        kernel_size: of the convolutions, which do not pad.
        activation: name of the activation.
        pooling: max or avg, over 2 x 2 windows.
        dropout: after the activation of each linear layer.
        bias: of all layers that a norm follows.

    Raises:
        ValueError: no images or too small ones, two channel numbers not given, unknown activation or pooling.
    """

    min_image_size = 28

    def __init__(
        self,
        input_shape: Sequence[int],
        num_outputs: int,
        norm: Callable[[int, int], nn.Module],
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
    norm: Callable[[int, int], nn.Module],
) -> nn.Sequential:
    """The convolutional part: conv1, pool1, conv2, pool2."""
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
    """Pixels a side after two convolutions without padding, each followed by 2 x 2 pooling.

    Raises:
        ValueError: nothing is left.
    """
    left = ((size - kernel_size + 1) // 2 - kernel_size + 1) // 2
    if left < 1:
        raise ValueError(
            f"model.kernel_size={kernel_size} leaves nothing of {size} pixels; use a smaller kernel"
        )
    return left
