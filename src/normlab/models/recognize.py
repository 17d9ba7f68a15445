"""Which layers of a foreign network are norms, over how many channels, and on which axis these are."""

from dataclasses import dataclass

from torch import nn

from normlab.models.blocks import includes_activation

# Of torchvision and timm, without a base class of PyTorch's; those on images say so with "2d".
KNOWN_NAMES = ("FrozenBatchNorm", "RmsNorm", "SimpleNorm")
OWN = "normlab.norms."
ACTIVATING_NAMES = ("EvoNorm", "FilterResponseNorm")


@dataclass(frozen=True)
class NormSlot:
    """A place for a norm: ``norm(num_features, dim)``, with the channels on axis 1 or on the last one."""

    num_features: int
    dim: int
    channels_last: bool = False


def looks_like_norm(layer: nn.Module) -> bool:
    """Whether a layer is one of ours, or a norm by its class' name, and holds no layers with weights of their own.

    Args:
        layer: any layer.
    """
    named = type(layer).__module__.startswith(OWN) or any(
        "norm" in base.__name__.lower() for base in type(layer).__mro__
    )
    children_with_weights = any(
        isinstance(child, nn.Linear | nn.modules.conv._ConvNd)
        for child in layer.modules()
        if child is not layer
    )
    return (
        named
        and not isinstance(layer, nn.Linear | nn.modules.conv._ConvNd)
        and not children_with_weights
    )


def norm_slot(layer: nn.Module, dim_hint: int) -> NormSlot | str:
    """Channels and axis of a norm layer, or the reason why another cannot take its place.

    Args:
        layer: one that `looks_like_norm`.
        dim_hint: spatial axes of the convolution before, for norms that work on any number of them; 1 without one.
    """
    name = type(layer).__name__
    if isinstance(layer, nn.modules.lazy.LazyModuleMixin):
        return "its number of channels is not known before the first batch"
    if any(looks_like_norm(child) for child in layer.modules() if child is not layer):
        return "it is made of several norms"
    if isinstance(layer, nn.modules.batchnorm._NormBase):
        return NormSlot(layer.num_features, _dim(layer, dim_hint))
    if isinstance(layer, nn.GroupNorm):
        return NormSlot(layer.num_channels, dim_hint)
    if isinstance(layer, nn.LayerNorm | nn.RMSNorm):
        if len(layer.normalized_shape) > 1:
            return f"it normalizes over the fixed shape {tuple(layer.normalized_shape)}, not over channels"
        return _by_name(name, layer.normalized_shape[0])
    if name.startswith(ACTIVATING_NAMES) or includes_activation(layer):
        return "it is norm and activation in one, and which activation would replace it is not known"
    if type(layer).__module__.startswith(OWN) and hasattr(layer, "num_features"):
        return NormSlot(layer.num_features, getattr(layer, "dim", dim_hint))
    if name.startswith(KNOWN_NAMES) and getattr(layer, "weight", None) is not None:
        return _by_name(name, len(layer.weight))
    return "its class is not known here"


def _by_name(name: str, num_features: int) -> NormSlot:
    """Channels are last, as in transformers, unless the class is one for images."""
    return (
        NormSlot(num_features, 2)
        if "2d" in name
        else NormSlot(num_features, 1, channels_last=True)
    )


def _dim(layer: nn.Module, dim_hint: int) -> int:
    for dim in (1, 2, 3):
        if isinstance(
            layer, getattr(nn, f"BatchNorm{dim}d") | getattr(nn, f"InstanceNorm{dim}d")
        ):
            return dim
    return dim_hint
