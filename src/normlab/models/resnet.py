"""Residual networks (He et al., 2016, arXiv 1512.03385), in the depths of its CIFAR and of its ImageNet experiments."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn import functional

from normlab.models.blocks import (
    activation_after,
    block,
    choose,
    he_initialization,
    image_shape,
)

# Blocks of each stage, and whether they are bottlenecks.
IMAGENET = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
}
EXPANSION = 4  # of a bottleneck's last convolution

Norm = Callable[[int, int], nn.Module]


class ResNet(nn.Module):
    """A stem, stages of residual blocks, the mean over the map and a linear layer.

        y = activation(norm(conv(... activation(norm(conv(x))))) + shortcut(x))

    Depths 18, 34, 50 and 101 are the ImageNet networks: four stages of 64 to 512 channels, 1 x 1 convolutions as
    shortcuts where the shape changes, and a stem of a 7 x 7 convolution and max pooling. Any other depth of the form
    6 n + 2 (20, 32, 44, 56, 110) is a CIFAR network: three stages of 16 to 64 channels, shortcuts without parameters
    that leave out every second pixel and fill up with zeros, and a stem of one 3 x 3 convolution. A norm that contains
    its activation also acts before the addition, and nothing acts after it. Weights of convolutions start as He et
    al. (2015) draw them. Inputs ``(N, C, H, W)``, outputs ``(N, num_outputs)``.

    Args:
        input_shape: ``(C, H, W)``.
        num_outputs: classes, or numbers to predict.
        norm: called as ``norm(num_features, 2)``.
        depth: number of layers with weights on the longest path.
        stem: cifar or imagenet; null for the one that belongs to the depth. `cifar` suits small images at any depth.
        activation: name of the activation.
        bias: of the convolutions, all of which a norm follows; the paper has none.

    Raises:
        ValueError: no images or too small ones, a depth that does not exist, unknown stem or activation.
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
        channels, _, _ = image_shape(type(self), input_shape)
        counts, bottleneck, width = architecture(depth)
        stem = choose(
            "model.stem",
            stem or ("imagenet" if depth in IMAGENET else "cifar"),
            ["cifar", "imagenet"],
        )
        self.stem = build_stem(channels, width, stem, norm, activation, bias)
        in_channels, stages = width, []
        for stage, count in enumerate(counts):
            blocks = []
            for number in range(count):
                stride = 2 if stage > 0 and number == 0 else 1
                options = {
                    "stride": stride,
                    "activation": activation,
                    "bias": bias,
                    "project": depth in IMAGENET,
                }
                blocks.append(
                    ResidualBlock(
                        in_channels, width * 2**stage, bottleneck, norm, **options
                    )
                )
                in_channels = blocks[-1].out_channels
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.output = nn.Linear(in_channels, num_outputs)
        he_initialization(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.stages(self.stem(x)).mean((2, 3)))


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions, or a bottleneck of 1 x 1, 3 x 3 and 1 x 1, added to what came in.

    Args:
        in_channels: of the input.
        channels: of the 3 x 3 convolutions.
        bottleneck: three convolutions, the last with four times the channels.
        norm: called as ``norm(num_features, 2)``.
        stride: of the first 3 x 3 convolution and of the shortcut.
        activation: name of the activation.
        bias: of the convolutions.
        project: a shortcut that changes the shape is a 1 x 1 convolution with norm; otherwise it has no parameters.
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
        self.out_channels = channels * (EXPANSION if bottleneck else 1)
        sizes = [(1, 1), (3, stride), (1, 1)] if bottleneck else [(3, stride), (3, 1)]
        outputs = [*[channels] * (len(sizes) - 1), self.out_channels]
        inputs = [in_channels, *outputs[:-1]]
        layers = []
        for before, after, (kernel, step) in zip(inputs, outputs, sizes, strict=True):
            conv = nn.Conv2d(
                before, after, kernel, step, padding=kernel // 2, bias=bias
            )
            last = len(layers) == len(sizes) - 1
            layers.append(block(conv, norm(after, 2), "none" if last else activation))
        self.layers = nn.Sequential(*layers)
        if stride == 1 and in_channels == self.out_channels:
            self.shortcut = nn.Identity()
        elif project:
            conv = nn.Conv2d(in_channels, self.out_channels, 1, stride, bias=bias)
            self.shortcut = block(conv, norm(self.out_channels, 2), "none")
        else:
            self.shortcut = PaddedShortcut(stride, self.out_channels - in_channels)
        self.activation = activation_after(layers[-1].norm, activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.layers(x) + self.shortcut(x))


class PaddedShortcut(nn.Module):
    """Every `stride`-th pixel, with channels of zeros behind (option A of the paper): no parameters."""

    def __init__(self, stride: int, added_channels: int) -> None:
        super().__init__()
        self.stride, self.added_channels = stride, added_channels

    def forward(self, x: Tensor) -> Tensor:
        return functional.pad(
            x[:, :, :: self.stride, :: self.stride],
            (0, 0, 0, 0, 0, self.added_channels),
        )


def architecture(depth: int) -> tuple[tuple[int, ...], bool, int]:
    """Blocks of each stage, whether they are bottlenecks, and channels of the first stage.

    Raises:
        ValueError: no network has this depth.
    """
    if depth in IMAGENET:
        return *IMAGENET[depth], 64
    if type(depth) is not int or depth < 8 or (depth - 2) % 6:
        raise ValueError(
            f"model.depth must be {', '.join(map(str, IMAGENET))} or 6 n + 2 (20, 56, 110), got {depth!r}"
        )
    return ((depth - 2) // 6,) * 3, False, 16


def build_stem(
    channels: int, width: int, kind: str, norm: Norm, activation: str, bias: bool
) -> nn.Sequential:
    """The first convolution: 3 x 3, or 7 x 7 with stride 2 and max pooling with stride 2."""
    if kind == "cifar":
        return block(
            nn.Conv2d(channels, width, 3, padding=1, bias=bias),
            norm(width, 2),
            activation,
        )
    stem = block(
        nn.Conv2d(channels, width, 7, 2, padding=3, bias=bias),
        norm(width, 2),
        activation,
    )
    stem.add_module("pool", nn.MaxPool2d(3, 2, padding=1))
    return stem
