"""Residual networks in the depths of their CIFAR and ImageNet experiments."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from normlab.models.blocks import (
    Norm,
    activation_after,
    block,
    choose,
    he_initialization,
    image_shape,
)


@dataclass(frozen=True)
class Architecture:
    """The shape of a residual network.

    Attributes:
        num_blocks: number of residual blocks in each stage.
        width: channels of the first stage; each later stage has twice as many.
        bottleneck: whether the blocks are bottlenecks.
        project: whether a shortcut that changes the shape is a 1 x 1 convolution with
            norm. Otherwise it has no parameters.
        stem: the usual stem, cifar or imagenet.
    """

    num_blocks: tuple[int, ...]
    width: int
    bottleneck: bool
    project: bool
    stem: str


def _imagenet(*num_blocks: int, bottleneck: bool) -> Architecture:
    return Architecture(num_blocks, 64, bottleneck, project=True, stem="imagenet")


IMAGENET = {
    18: _imagenet(2, 2, 2, 2, bottleneck=False),
    34: _imagenet(3, 4, 6, 3, bottleneck=False),
    50: _imagenet(3, 4, 6, 3, bottleneck=True),
    101: _imagenet(3, 4, 23, 3, bottleneck=True),
}
EXPANSION = 4  # output channels of a bottleneck per channel of its 3 x 3 convolution


class ResNet(nn.Module):
    """A stem, stages of residual blocks, the mean over the last map and a linear layer.

        y = activation(norm(conv(... activation(norm(conv(x))))) + shortcut(x))

    He, Zhang, Ren and Sun (2016), arXiv 1512.03385. Depths 18, 34, 50 and 101 are the
    ImageNet networks: a stem of a 7 x 7 convolution and max pooling, four stages of 64
    to 512 channels, and 1 x 1 convolutions as shortcuts between the stages. All other
    depths of the form 6 n + 2 (20, 32, 44, 56, 110) are the CIFAR networks: a stem of
    one 3 x 3 convolution, three stages of 16 to 64 channels, and shortcuts without
    parameters.

    A norm that contains its activation also acts before the addition, and no activation
    follows the addition. The weights of convolutions start as He et al. (2015) draw
    them. Inputs are ``(N, C, H, W)``, outputs ``(N, num_outputs)``.

    Args:
        input_shape: ``(C, H, W)``.
        num_outputs: number of classes, or of numbers to predict.
        norm: called as ``norm(num_features, 2)``.
        depth: number of layers with weights on the longest path.
        stem: cifar or imagenet; null for the usual stem of the depth. cifar suits small
            images at any depth.
        activation: name of the activation.
        bias: whether the convolutions, all of which have a norm, have biases. Those of
            the paper have none.

    Raises:
        ValueError: the samples are no images or too small, or the depth, stem or
            activation does not exist.
    """

    min_image_size = 8

    def __init__(
        self,
        input_shape: Sequence[int],
        num_outputs: int,
        norm: Norm,
        depth: int = 20,
        stem: str | None = None,
        activation: str = "relu",
        bias: bool = False,
    ) -> None:
        super().__init__()
        in_channels, _, _ = image_shape(type(self), input_shape)
        shape = architecture(depth)
        kind = choose("model.stem", stem or shape.stem, ["cifar", "imagenet"])

        self.stem = build_stem(in_channels, shape.width, kind, norm, activation, bias)
        self.stages = nn.Sequential()
        channels = shape.width
        for stage, num_blocks in enumerate(shape.num_blocks):
            blocks = nn.Sequential()
            for number in range(num_blocks):
                residual_block = ResidualBlock(
                    channels,
                    shape.width * 2**stage,
                    shape.bottleneck,
                    norm,
                    stride=2 if stage > 0 and number == 0 else 1,
                    activation=activation,
                    bias=bias,
                    project=shape.project,
                )
                channels = residual_block.out_channels
                blocks.append(residual_block)
            self.stages.append(blocks)
        self.output = nn.Linear(channels, num_outputs)
        he_initialization(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.stages(self.stem(x)).mean((2, 3)))


class ResidualBlock(nn.Module):
    """Two or three convolutions, added to a shortcut, and an activation.

    Either two 3 x 3 convolutions, or a bottleneck of 1 x 1, 3 x 3 and 1 x 1. Input
    ``(N, in_channels, H, W)``, output ``(N, out_channels, H / stride, W / stride)``.

    Args:
        in_channels: channels of the input.
        channels: output channels of the convolutions, except that the last one of a
            bottleneck has four times as many.
        bottleneck: whether the block is a bottleneck.
        norm: called as ``norm(num_features, 2)``.
        stride: stride of the first 3 x 3 convolution and of the shortcut.
        activation: name of the activation.
        bias: whether the convolutions have biases.
        project: whether a shortcut that changes the shape is a 1 x 1 convolution with
            norm. Otherwise it has no parameters, see `PaddedShortcut`.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        bottleneck: bool,
        norm: Norm,
        stride: int,
        activation: str,
        bias: bool,
        project: bool,
    ) -> None:
        super().__init__()
        # Output channels, kernel size and stride of each convolution.
        if bottleneck:
            self.out_channels = channels * EXPANSION
            settings = [(channels, 1, 1), (channels, 3, stride)]
            settings.append((self.out_channels, 1, 1))
        else:
            self.out_channels = channels
            settings = [(channels, 3, stride), (channels, 3, 1)]

        layers = []
        num_inputs = in_channels
        for number, (outputs, kernel, step) in enumerate(settings, start=1):
            conv = nn.Conv2d(
                num_inputs, outputs, kernel, step, padding=kernel // 2, bias=bias
            )
            last_norm = norm(outputs, 2)
            is_last = number == len(settings)
            layers.append(block(conv, last_norm, "none" if is_last else activation))
            num_inputs = outputs
        self.layers = nn.Sequential(*layers)

        self.shortcut: nn.Module
        if stride == 1 and in_channels == self.out_channels:
            self.shortcut = nn.Identity()
        elif project:
            conv = nn.Conv2d(in_channels, self.out_channels, 1, stride, bias=bias)
            self.shortcut = block(conv, norm(self.out_channels, 2), "none")
        else:
            self.shortcut = PaddedShortcut(stride, self.out_channels - in_channels)
        self.activation = activation_after(last_norm, activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.layers(x) + self.shortcut(x))


class PaddedShortcut(nn.Module):
    """Every `stride`-th pixel, followed by channels of zeros: option A of the paper.

    Input ``(N, C, H, W)``, output ``(N, C + added_channels, H / stride, W / stride)``.

    Args:
        stride: distance between the pixels that are kept.
        added_channels: number of channels of zeros.
    """

    def __init__(self, stride: int, added_channels: int) -> None:
        super().__init__()
        self.stride = stride
        self.added_channels = added_channels

    def forward(self, x: Tensor) -> Tensor:
        kept = x[:, :, :: self.stride, :: self.stride]
        return functional.pad(kept, (0, 0, 0, 0, 0, self.added_channels))


def architecture(depth: int) -> Architecture:
    """Return the architecture of the network with this depth.

    Raises:
        ValueError: no network has this depth.
    """
    if depth in IMAGENET:
        return IMAGENET[depth]
    if type(depth) is not int or depth < 8 or (depth - 2) % 6:
        known = ", ".join(map(str, IMAGENET))
        raise ValueError(
            f"model.depth must be {known} or 6 n + 2 (20, 56, 110), got {depth!r}"
        )
    num_blocks = ((depth - 2) // 6,) * 3
    return Architecture(num_blocks, 16, bottleneck=False, project=False, stem="cifar")


def build_stem(
    channels: int, width: int, kind: str, norm: Norm, activation: str, bias: bool
) -> nn.Sequential:
    """Build the first convolution with its norm and activation.

    Args:
        channels: channels of the images.
        width: output channels.
        kind: cifar for a 3 x 3 convolution that keeps the resolution; imagenet for a
            7 x 7 convolution with stride 2 and max pooling with stride 2.
        norm: called as ``norm(width, 2)``.
        activation: name of the activation.
        bias: whether the convolution has a bias.
    """
    if kind == "cifar":
        conv = nn.Conv2d(channels, width, 3, padding=1, bias=bias)
        return block(conv, norm(width, 2), activation)
    conv = nn.Conv2d(channels, width, 7, 2, padding=3, bias=bias)
    stem = block(conv, norm(width, 2), activation)
    stem.add_module("pool", nn.MaxPool2d(3, 2, padding=1))
    return stem
