"""VGG for small images (Simonyan and Zisserman, 2015, arXiv 1409.1556): its convolutions, and one linear layer."""

from collections import OrderedDict
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from normlab.models.blocks import (
    block,
    he_initialization,
    hidden_layers,
    image_shape,
    widths,
)

# Convolutions of each stage, whose channels are 1, 2, 4, 8, 8 times the width; 2 x 2 max pooling follows a stage.
STAGES = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
MULTIPLES = (1, 2, 4, 8, 8)


class VGG(nn.Module):
    """Stages of 3 x 3 convolutions, each with norm and activation, then the mean over the map and a linear layer.

    The original's head of 4096-4096 features is for 224 pixels; `hidden=[4096,4096]` brings its widths back. Weights
    of convolutions start as He et al. (2015) draw them, as the authors' follow-ups and torchvision do: with PyTorch's
    default, sixteen layers without a norm do not train. Inputs ``(N, C, H, W)``, outputs ``(N, num_outputs)``.

    Args:
        input_shape: ``(C, H, W)``.
        num_outputs: classes, or numbers to predict.
        norm: called as ``norm(num_features, 2)``, and as ``norm(num_features, 1)`` in the head.
        depth: 11, 13, 16 or 19 layers in the original.
        width: channels of the first stage, 64 in the original.
        hidden: widths of hidden layers in the head.
        activation: name of the activation.
        dropout: after each hidden layer of the head.
        bias: of all layers that a norm follows.

    Raises:
        ValueError: no images or too small ones, unknown depth or activation.
    """

    min_image_size = 32

    def __init__(
        self,
        input_shape: Sequence[int],
        num_outputs: int,
        norm: Callable[[int, int], nn.Module],
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
            raise ValueError(
                f"model.depth must be one of {', '.join(map(str, STAGES))} for VGG, got {depth!r}"
            )
        (width,) = widths("model.width", [width])
        parts = OrderedDict()
        for stage, (count, multiple) in enumerate(
            zip(STAGES[depth], MULTIPLES, strict=True), start=1
        ):
            for number in range(1, count + 1):
                conv = nn.Conv2d(in_channels, width * multiple, 3, padding=1, bias=bias)
                parts[f"conv{stage}_{number}"] = block(
                    conv, norm(width * multiple, 2), activation
                )
                in_channels = width * multiple
            parts[f"pool{stage}"] = nn.MaxPool2d(2)
        self.features = nn.Sequential(parts)
        sizes = [in_channels, *widths("model.hidden", hidden)]
        self.hidden = hidden_layers(sizes, norm, activation, dropout, bias)
        self.output = nn.Linear(sizes[-1], num_outputs)
        he_initialization(self.features)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.hidden(self.features(x).mean((2, 3))))
