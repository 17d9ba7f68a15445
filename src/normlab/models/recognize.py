"""Which layers of a foreign network are norms, and how another could replace them."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from normlab.models.blocks import includes_activation

# Layers with a weight matrix or kernel. _ConvNd is private in PyTorch (checked against
# 2.15), but the only class that all its convolutions share.
Weights = nn.Linear | nn.modules.conv._ConvNd

OUR_NORMS = "normlab.norms."
# Classes of torchvision and timm that do not inherit from a norm of PyTorch. Those for
# images have "2d" in their names.
KNOWN_NAMES = ("FrozenBatchNorm", "RmsNorm", "SimpleNorm")
ACTIVATING_NAMES = ("EvoNorm", "FilterResponseNorm")


@dataclass(frozen=True)
class NormSlot:
    """A place for a norm, to be filled with ``norm(num_features, dim)``.

    Attributes:
        num_features: number of channels.
        dim: number of spatial axes, 1 to 3 as in PyTorch's class names.
        channels_last: whether the channels are on the last axis instead of axis 1.
    """

    num_features: int
    dim: int
    channels_last: bool = False


def looks_like_norm(layer: nn.Module) -> bool:
    """Whether a layer is a norm, judging by its class.

    It is if it is one of ours or has "norm" in the name of its class or of a base
    class, and neither is nor contains a linear layer or convolution.
    """
    if any(isinstance(module, Weights) for module in layer.modules()):
        return False
    if type(layer).__module__.startswith(OUR_NORMS):
        return True
    return any("norm" in base.__name__.lower() for base in type(layer).__mro__)


def is_global_response(layer: nn.Module) -> bool:
    """Whether a layer is a global response norm, of ours or of timm's.

    It adds to its input, so that its scale starts at 0 and not at 1.
    """
    return type(layer).__name__ == "GlobalResponseNorm"


def norm_slot(layer: nn.Module, dim_hint: int) -> NormSlot | str:
    """Describe what can replace a norm, or say why nothing can.

    Args:
        layer: a layer for which `looks_like_norm` is true.
        dim_hint: number of spatial axes of the convolution before, or 1 if there is
            none. It decides for norms that work on any number of axes.

    Returns:
        The slot, or the reason as the rest of a sentence about the layer.
    """
    name = type(layer).__name__
    is_ours = type(layer).__module__.startswith(OUR_NORMS)
    if isinstance(layer, nn.modules.lazy.LazyModuleMixin):
        return "its number of channels is not known before the first batch"
    if any(looks_like_norm(part) for part in _inner_modules(layer)):
        return "it is made of several norms"
    if isinstance(layer, nn.modules.batchnorm._NormBase) and not is_ours:
        return NormSlot(layer.num_features, _num_axes(layer, dim_hint))
    if isinstance(layer, nn.GroupNorm):
        return NormSlot(layer.num_channels, dim_hint)
    if isinstance(layer, nn.LayerNorm | nn.RMSNorm):
        shape = tuple(layer.normalized_shape)
        if len(shape) > 1:
            return f"it normalizes over the fixed shape {shape}, not over channels"
        return _slot_by_name(name, shape[0])
    if name.startswith(ACTIVATING_NAMES) or includes_activation(layer):
        return (
            "it is norm and activation in one, "
            "and which activation would replace it is not known"
        )
    num_features = getattr(layer, "num_features", None)
    if is_ours and num_features is not None:
        return NormSlot(num_features, getattr(layer, "dim", dim_hint))
    weight = getattr(layer, "weight", None)
    if name.startswith(KNOWN_NAMES) and weight is not None:
        return _slot_by_name(name, len(weight))
    return "its class is not known here"


def _inner_modules(layer: nn.Module) -> Iterator[nn.Module]:
    return (module for module in layer.modules() if module is not layer)


def _slot_by_name(name: str, num_features: int) -> NormSlot:
    """The channels are last, as in transformers, unless the class is for images."""
    if "2d" in name:
        return NormSlot(num_features, 2)
    return NormSlot(num_features, 1, channels_last=True)


def _num_axes(layer: nn.Module, dim_hint: int) -> int:
    """Number of spatial axes, read from the class; `dim_hint` for any other class."""
    if isinstance(layer, nn.BatchNorm1d | nn.InstanceNorm1d):
        return 1
    if isinstance(layer, nn.BatchNorm2d | nn.InstanceNorm2d):
        return 2
    if isinstance(layer, nn.BatchNorm3d | nn.InstanceNorm3d):
        return 3
    return dim_hint
