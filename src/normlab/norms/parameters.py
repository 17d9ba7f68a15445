"""Which parameters of a network belong to its norms.

Neither the class of a layer nor the rank of a parameter tells: norms of the user's own
have any class, and scales such as ``(1, C, 1, 1)``. Whoever builds a layer as a norm
therefore marks it.
"""

from torch import nn

from normlab.norms.on_weights import is_weight_length

MARK = "is_built_as_norm"  # an attribute, so that copies of a layer have it too


def mark_norm(layer: nn.Module) -> nn.Module:
    """Return a layer that was built as a norm, and let `marked_norms` find it."""
    setattr(layer, MARK, True)
    return layer


def marked_norms(network: nn.Module) -> dict[str, nn.Module]:
    """The layers of a network that were built as norms, by name."""
    return {
        name: layer
        for name, layer in network.named_modules()
        if getattr(layer, MARK, False)
    }


def norm_parameters(network: nn.Module) -> set[nn.Parameter]:
    """The parameters of marked norms, and the lengths of weight norm."""
    found: set[nn.Parameter] = set()
    for layer in marked_norms(network).values():
        found.update(layer.parameters())
    for name, value in network.named_parameters():
        if is_weight_length(name):
            found.add(value)
    return found
