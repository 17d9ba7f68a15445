"""Residual networks in the depths of their CIFAR and ImageNet experiments."""

from collections import OrderedDict
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
from normlab.models.no_norm import (
    check_initialization,
    initialize_without_norms,
    is_without_norms,
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
PLACES = ("post", "pre", "peri")
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

    This is `norm_place="post"`: every norm stands behind a convolution. The others are

    - pre: every norm stands before a convolution of a block,
      ``y = conv(... activation(norm(conv(activation(norm(x)))))) + shortcut(x)``, as in
      He, Zhang, Ren and Sun (2016), arXiv 1603.05027. A shortcut with parameters is a
      convolution of ``activation(norm(x))``. The stem has no norm and no activation,
      and both follow the last block.
    - peri: as pre, with a further norm behind the last convolution of each block and
      before the addition, as in Han, Kim and Kim (2017), arXiv 1610.02915.

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
        norm_place: post, pre or peri.
        no_norm_init: fixup, skipinit or rezero, see `normlab.models.no_norm`: what a
            network gets whose `norm` is the identity. None for nothing, and networks
            with norms get nothing.

    Raises:
        ValueError: the samples are no images or too small, or the depth, stem,
            activation, place of the norms or initialization does not exist.
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
        norm_place: str = "post",
        no_norm_init: str | None = None,
    ) -> None:
        super().__init__()
        in_channels, _, _ = image_shape(type(self), input_shape)
        shape = architecture(depth)
        kind = choose("model.stem", stem or shape.stem, ["cifar", "imagenet"])
        place = choose("model.norm_place", norm_place, PLACES)
        check_initialization(no_norm_init, place)

        stem_norm = norm if place == "post" else nn.Identity
        stem_activation = activation if place == "post" else "none"
        self.stem = build_stem(
            in_channels, shape.width, kind, stem_norm, stem_activation, bias
        )
        self.stages = residual_stages(shape, norm, activation, bias, place)
        num_stages = len(shape.num_blocks)
        channels = shape.width * 2 ** (num_stages - 1)
        if shape.bottleneck:
            channels *= EXPANSION
        self.last: nn.Module = nn.Identity()
        if place != "post":
            self.last = activated_norm(norm, channels, activation)
        self.output = nn.Linear(channels, num_outputs)
        he_initialization(self)
        if no_norm_init is not None and is_without_norms(self):
            initialize_without_norms(self, no_norm_init)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.last(self.stages(self.stem(x))).mean((2, 3)))


def residual_stages(
    shape: Architecture, norm: Norm, activation: str, bias: bool, place: str
) -> nn.Sequential:
    """Build the stages of a residual network, whose input has `shape.width` channels.

    Args:
        shape: number and width of the blocks.
        norm: called as ``norm(num_features, 2)``.
        activation: name of the activation.
        bias: whether the convolutions have biases.
        place: where the norms stand, see `ResNet`.
    """
    stages = nn.Sequential()
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
                place=place,
            )
            channels = residual_block.out_channels
            blocks.append(residual_block)
        stages.append(blocks)
    return stages


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
        place: where the norms stand, see `ResNet`.
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
        place: str = "post",
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
        convolutions = _convolutions(in_channels, settings, bias)

        self.before: nn.Module = nn.Identity()
        self.activation: nn.Module = nn.Identity()
        if place == "post":
            self.layers = layers_before_norms(convolutions, norm, activation)
            last_norm = self.layers[-1].get_submodule("norm")
            self.activation = activation_after(last_norm, activation)
        else:
            self.before = activated_norm(norm, in_channels, activation)
            self.layers = layers_behind_norms(convolutions, norm, activation)
        if place == "peri":
            self.layers.append(norm(self.out_channels, 2))

        self.shortcut: nn.Module
        self.shares_input = False
        if stride == 1 and in_channels == self.out_channels:
            self.shortcut = nn.Identity()
        elif project:
            conv = nn.Conv2d(in_channels, self.out_channels, 1, stride, bias=bias)
            shortcut_norm = norm if place == "post" else nn.Identity
            self.shortcut = block(conv, shortcut_norm(self.out_channels, 2), "none")
            self.shares_input = place != "post"
        else:
            self.shortcut = PaddedShortcut(stride, self.out_channels - in_channels)

    def forward(self, x: Tensor) -> Tensor:
        inputs = self.before(x)
        kept = inputs if self.shares_input else x
        return self.activation(self.layers(inputs) + self.shortcut(kept))


def _convolutions(
    num_inputs: int, settings: list[tuple[int, int, int]], bias: bool
) -> list[nn.Conv2d]:
    """Convolutions one after the other, which keep the size of images but for strides.

    Args:
        num_inputs: channels of the input.
        settings: output channels, kernel size and stride of each.
        bias: whether they have biases.
    """
    convolutions = []
    for outputs, kernel, stride in settings:
        padding = kernel // 2
        conv = nn.Conv2d(num_inputs, outputs, kernel, stride, padding, bias=bias)
        convolutions.append(conv)
        num_inputs = outputs
    return convolutions


def layers_before_norms(
    convolutions: list[nn.Conv2d], norm: Norm, activation: str
) -> nn.Sequential:
    """Put a norm behind every convolution, and an activation behind all but one."""
    layers = nn.Sequential()
    for number, conv in enumerate(convolutions, start=1):
        is_last = number == len(convolutions)
        own_norm = norm(conv.out_channels, 2)
        layers.append(block(conv, own_norm, "none" if is_last else activation))
    return layers


def layers_behind_norms(
    convolutions: list[nn.Conv2d], norm: Norm, activation: str
) -> nn.Sequential:
    """Put norm and activation before every convolution but the first."""
    first, *others = convolutions
    layers = nn.Sequential(first)
    for conv in others:
        layers.append(activated_norm(norm, conv.in_channels, activation))
        layers.append(conv)
    return layers


def activated_norm(norm: Norm, channels: int, activation: str) -> nn.Sequential:
    """Build a norm for images with its activation."""
    own_norm = norm(channels, 2)
    parts = {"norm": own_norm, "activation": activation_after(own_norm, activation)}
    return nn.Sequential(OrderedDict(parts))


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
