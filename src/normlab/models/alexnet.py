"""AlexNet as torchvision builds it (Krizhevsky, 2014, arXiv 1404.5997), with a head and norms of one's choice."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from normlab.models.blocks import block, choose, image_shape, widths
from normlab.models.weights import check_architecture, shared_input, stored_weights

# out_channels, kernel_size, stride, padding, and whether 3 x 3 max pooling with stride 2 follows
CONVOLUTIONS = (
    (64, 11, 4, 2, True),
    (192, 5, 1, 2, True),
    (384, 3, 1, 1, False),
    (256, 3, 1, 1, False),
    (256, 3, 1, 1, True),
)
NAME = "torchvision's AlexNet"
PLACES = ("features", "head")
TORCHVISION_FEATURES = (
    0,
    3,
    6,
    8,
    10,
)  # positions of the convolutions in torchvision's `features`
TORCHVISION_HEAD = (1, 4, 6)  # and of the linear layers in its `classifier`


class AlexNet(nn.Module):
    """Five convolutions, average pooling to 6 x 6, and a head of linear layers; norms after either or both.

    With ``hidden=[4096, 4096]`` and ``norm_at=[]`` it is torchvision's network. Inputs ``(N, C, H, W)``, outputs
    ``(N, num_outputs)``. Images of 63 pixels are the smallest that the poolings leave anything of; below 223 pixels
    the last feature map is smaller than 6 x 6 and its values are repeated.

    Args:
        input_shape: ``(C, H, W)``.
        num_outputs: classes, or numbers to predict.
        norm: called as ``norm(num_features, 2)`` after convolutions and ``norm(num_features, 1)`` in the head.
        hidden: widths of the head's hidden layers.
        dropout: before each hidden layer of the head, 0.5 in the original.
        norm_at: where norms go: features, head, both or none.
        bias: of all layers that a norm may follow.
        pretrained: true for torchvision's ImageNet weights, or the path of a file with the same keys. Convolutions
            are taken over, and those layers of the head, from its beginning, that have the same shape. For other
            than three channels, the weights of the first convolution are summed over its three and shared out.
        freeze: features keeps the convolutions as they are, in evaluation mode even while the head trains. What they
            make of the images can then be computed once: the network takes features ``(N, 9216)`` in place of images.

    Raises:
        ValueError: no images or too small ones, unknown places or options, weights that are not AlexNet's.
    """

    min_image_size = (
        64  # 63 would do; 64 is Tiny-ImageNet's size and a multiple of the digits' 8
    )

    def __init__(
        self,
        input_shape: Sequence[int],
        num_outputs: int,
        norm: Callable[[int, int], nn.Module],
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
        self.frozen = (
            freeze is not None
            and choose("model.freeze", freeze, ["features"]) == "features"
        )
        if self.frozen and "features" in places:
            raise ValueError(
                "model.freeze=features keeps the convolutions as they are: set model.norm_at=[head]"
            )
        if pretrained and not bias:
            raise ValueError("model.pretrained brings biases: set model.bias=true")
        in_features, in_head = (
            norm if place in places else no_norm for place in PLACES
        )
        self.features = features(channels, in_features, bias)
        self.pool = nn.AdaptiveAvgPool2d((6, 6))
        self.head = head(
            CONVOLUTIONS[-1][0] * 36, num_outputs, in_head, hidden, dropout, bias
        )
        if pretrained:
            load_torchvision(self, stored_weights(pretrained, download), pretrained)
        self.features.requires_grad_(not self.frozen)

    def extract(self, x: Tensor) -> Tensor:
        """What the head gets: ``(N, C, H, W)`` to ``(N, 9216)``."""
        return self.pool(self.features(x)).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x if x.ndim == 2 else self.extract(x))

    def train(self, mode: bool = True) -> "AlexNet":
        super().train(mode)
        if self.frozen:
            self.features.eval()
        return self


def no_norm(num_features: int, dim: int) -> nn.Module:
    """A norm slot that stays empty."""
    return nn.Identity()


def features(
    in_channels: int, norm: Callable[[int, int], nn.Module], bias: bool
) -> nn.Sequential:
    """The convolutions conv1 to conv5 and the poolings pool1, pool2, pool5."""
    parts = OrderedDict()
    for number, (channels, kernel_size, stride, padding, pooled) in enumerate(
        CONVOLUTIONS, start=1
    ):
        conv = nn.Conv2d(in_channels, channels, kernel_size, stride, padding, bias=bias)
        parts[f"conv{number}"] = block(conv, norm(channels, 2), "relu")
        if pooled:
            parts[f"pool{number}"] = nn.MaxPool2d(3, 2)
        in_channels = channels
    return nn.Sequential(parts)


def head(
    num_features: int,
    num_outputs: int,
    norm: Callable[[int, int], nn.Module],
    hidden: Sequence[int],
    dropout: float,
    bias: bool,
) -> nn.Sequential:
    """Dropout, linear, norm, ReLU for every width in `hidden`, and the output layer."""
    parts = OrderedDict()
    sizes = [num_features, *widths("model.hidden", hidden)]
    for number, (before, after) in enumerate(pairwise(sizes), start=1):
        if dropout:
            parts[f"dropout{number}"] = nn.Dropout(dropout)
        parts[f"hidden{number}"] = block(
            nn.Linear(before, after, bias=bias), norm(after, 1), "relu"
        )
    parts["output"] = nn.Linear(sizes[-1], num_outputs)
    return nn.Sequential(parts)


def download() -> Mapping[str, Tensor]:
    """torchvision's ImageNet weights, from its cache or the network."""
    from torchvision.models import AlexNet_Weights

    return AlexNet_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)


@torch.no_grad()
def load_torchvision(
    network: AlexNet, stored: Mapping[str, Tensor], pretrained: bool | str
) -> None:
    """Copy torchvision's weights into the convolutions, and into the head as far as shapes agree.

    Args:
        network: takes them.
        stored: the state dict.
        pretrained: where it comes from, as in `stored_weights`.

    Raises:
        ValueError: the weights are of another architecture, or a layer of the head has no fitting bias.
    """
    convolutions = [
        part.conv for part in network.features if isinstance(part, nn.Sequential)
    ]
    with torch.device("meta"):
        expected = features(3, no_norm, bias=True)
    keys = [f"features.{position}" for position in TORCHVISION_FEATURES]
    check_architecture(stored, _as_torchvision(expected, keys), NAME, pretrained)
    for key, conv in zip(keys, convolutions, strict=True):
        _copy(
            conv,
            shared_input(stored[f"{key}.weight"], conv.in_channels),
            stored[f"{key}.bias"],
        )
    layers = [part for part in network.head.modules() if isinstance(part, nn.Linear)]
    for position, linear in zip(TORCHVISION_HEAD, layers, strict=False):
        weight = stored.get(f"classifier.{position}.weight")
        if weight is None or weight.shape != linear.weight.shape:
            break
        key = f"classifier.{position}.bias"
        check_architecture(
            {key: stored[key]} if key in stored else {},
            {key: linear.bias},
            NAME,
            pretrained,
        )
        _copy(linear, weight, stored[key])


def _as_torchvision(parts: nn.Sequential, keys: list[str]) -> dict[str, Tensor]:
    convolutions = [part.conv for part in parts if isinstance(part, nn.Sequential)]
    named = zip(keys, convolutions, strict=True)
    return {
        f"{key}.{name}": tensor
        for key, conv in named
        for name, tensor in conv.state_dict().items()
    }


def _copy(layer: nn.Conv2d | nn.Linear, weight: Tensor, bias: Tensor) -> None:
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)
