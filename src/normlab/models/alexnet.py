"""AlexNet (Krizhevsky, Sutskever and Hinton, 2012; the one-tower version of arXiv 1404.5997, as in torchvision)."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from normlab.models.blocks import Norm, norm_and_activation, require_images

# (output channels, kernel, stride, padding, pooling behind it): torchvision's convolutions
CONVOLUTIONS = (
    (64, 11, 4, 2, True),
    (192, 5, 1, 2, True),
    (384, 3, 1, 1, False),
    (256, 3, 1, 1, False),
    (256, 3, 1, 1, True),
)
GRID = 6


class AlexNet(nn.Module):
    """Five convolutions and a head of linear layers; norms in either or both.

    Args:
        input_shape: ``(C, H, W)``, at least 63 pixels a side.
        num_outputs: classes.
        norm: called as ``norm(channels, 2)`` and ``norm(width, 1)``.
        hidden: widths of the head's hidden layers; torchvision's are 4096, 4096.
        dropout: probability, before each hidden layer of the head.
        norm_at: where norms go: `features` (before each activation of the convolutions), `head`, or both.
        pretrained: `true` for torchvision's ImageNet weights of the convolutions, or the path of a state dict.
        freeze: `features` keeps the convolutions as they are, in evaluation mode; null trains everything.
        bias: of the weights before a norm; the same for every norm.

    Raises:
        ValueError: inputs that are no images or too small, unknown options, or weights that do not fit.
    """

    min_image_size = 63

    def __init__(
        self,
        input_shape: Sequence[int],
        num_outputs: int,
        norm: Norm,
        hidden: Sequence[int] = (1024, 1024, 512),
        dropout: float = 0.0,
        norm_at: Sequence[str] = ("features", "head"),
        pretrained: bool | str = False,
        freeze: str | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__()
        channels, _, _ = require_images("AlexNet", input_shape, self.min_image_size)
        _check_options(norm_at, freeze)
        self.frozen = freeze == "features"
        self.features = nn.Sequential(*_convolutions(channels, norm if "features" in norm_at else _no_norm, bias))
        self.avgpool = nn.AdaptiveAvgPool2d(GRID)
        head_norm = norm if "head" in norm_at else _no_norm
        self.classifier = nn.Sequential(*_head(hidden, num_outputs, head_norm, dropout, bias))
        if pretrained:
            load_features(self.features, pretrained)
        if self.frozen:
            self.features.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """``(N, C, H, W)`` to logits ``(N, num_outputs)``."""
        return self.classifier(self.avgpool(self.features(images)).flatten(1))

    def train(self, mode: bool = True) -> "AlexNet":
        """Frozen convolutions stay in evaluation mode: their norms must not learn statistics either."""
        super().train(mode)
        if self.frozen:
            self.features.eval()
        return self


def _no_norm(num_features: int, dim: int) -> nn.Module:
    return nn.Identity()


def _check_options(norm_at: Sequence[str], freeze: str | None) -> None:
    if unknown := set(norm_at) - {"features", "head"}:
        raise ValueError(f"model.norm_at must hold features, head or both, got {sorted(unknown)[0]!r}")
    if freeze not in (None, "features"):
        raise ValueError(f"model.freeze must be null or features, got {freeze!r}")


def _convolutions(channels: int, norm: Norm, bias: bool) -> list[nn.Module]:
    layers = []
    for count, kernel, stride, padding, pooled in CONVOLUTIONS:
        layers.append(nn.Conv2d(channels, count, kernel, stride, padding, bias=bias))
        layers += norm_and_activation(norm, count, 2, "relu")
        if pooled:
            layers.append(nn.MaxPool2d(3, 2))
        channels = count
    return layers


def _head(hidden: Sequence[int], num_outputs: int, norm: Norm, dropout: float, bias: bool) -> list[nn.Module]:
    width, layers = CONVOLUTIONS[-1][0] * GRID * GRID, []
    for next_width in hidden:
        if dropout:
            layers.append(nn.Dropout(dropout))
        layers += [nn.Linear(width, next_width, bias), *norm_and_activation(norm, next_width, 1, "relu")]
        width = next_width
    return [*layers, nn.Linear(width, num_outputs)]


def load_features(features: nn.Sequential, source: bool | str) -> None:
    """Put ImageNet weights into the convolutions.

    Args:
        features: convolutions in torchvision's order, whatever stands between them.
        source: True downloads torchvision's; a path names a state dict of torchvision's AlexNet.

    Raises:
        ValueError: no network, no such file, or weights of another architecture, with the first key that differs.
    """
    state = _download() if source is True else _read(Path(source))
    names = [key for key in state if key.startswith("features.") and key.endswith(".weight")]
    convolutions = [layer for layer in features if isinstance(layer, nn.Conv2d)]
    if len(names) != len(convolutions):
        raise ValueError(
            f"model.pretrained={source} must have {len(convolutions)} features.*.weight, it has {len(names)}"
        )
    for name, layer in zip(names, convolutions, strict=True):
        if state[name].shape != layer.weight.shape:
            raise ValueError(
                f"model.pretrained={source} must fit this AlexNet: {name} has shape {tuple(state[name].shape)}, "
                f"needed is {tuple(layer.weight.shape)}"
            )
        with torch.no_grad():
            layer.weight.copy_(state[name])
            if layer.bias is not None:
                layer.bias.copy_(state[name.replace(".weight", ".bias")])


def _download() -> dict[str, Tensor]:
    try:
        return torchvision.models.AlexNet_Weights.IMAGENET1K_V1.get_state_dict(check_hash=True)
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"model.pretrained=true could not download torchvision's AlexNet weights ({error}); "
            f"model.pretrained=PATH reads a state dict from a file"
        ) from error


def _read(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a missing file, a damaged one and a hostile one raise different classes
        raise ValueError(
            f"model.pretrained={path} cannot be read as a state dict: {str(error).splitlines()[0]}"
        ) from error
    if not isinstance(state, dict):
        raise ValueError(f"model.pretrained={path} must hold a state dict, it holds a {type(state).__name__}")
    return state
