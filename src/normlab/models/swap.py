"""Give norms to networks that were not written for it.

Norms are replaced where a network has some and inserted where it has none. Both
functions change the network in place and return one row per layer that they looked at.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from normlab.models.blocks import Norm, TokenNorm, includes_activation
from normlab.models.recognize import (
    NormSlot,
    Weights,
    is_global_response,
    looks_like_norm,
    norm_slot,
)

STATE = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
SETTINGS = ("eps", "momentum")


@dataclass(frozen=True)
class Swap:
    """What happened to one layer.

    Attributes:
        name: full name of the layer in the network.
        kind: replaced, inserted or left alone.
        old: name of the class before.
        new: name of the class after, of the norm if one was inserted.
        why: what was copied and what was lost, or the reason for leaving it alone.
    """

    name: str
    kind: str
    old: str
    new: str
    why: str


class Child(NamedTuple):
    """A layer and its place in the network.

    Attributes:
        name: full name in the network.
        parent: the module that holds the layer.
        key: name in the parent.
        layer: the layer.
    """

    name: str
    parent: nn.Module
    key: str
    layer: nn.Module

    def replace_by(self, new: nn.Module) -> None:
        self.parent._modules[self.key] = new

    def left_alone(self, reason: str) -> Swap:
        name = _class_name(self.layer)
        return Swap(self.name, "left alone", name, name, reason)


def replace_norms(module: nn.Module, norm: Norm) -> list[Swap]:
    """Replace every normalization layer inside `module` by ``norm(num_features, dim)``.

    Scale, shift and running statistics are copied if both layers have them in the same
    shape, except for scale and shift of a global response norm, which start at 0 and
    are copied from its own kind only. Dropout and activation inside a layer (timm's
    `BatchNormAct2d`) stay, except that a norm which contains its activation replaces
    the activation. If the channels are on the last axis, as in transformers, the norm
    is wrapped in a `TokenNorm`. A layer that the network uses in several places gets
    one replacement for all of them.

    Activations that stay no longer work in place: behind an identity they would
    overwrite what the norm got, which other layers may read as well. If norms are
    replaced by identities, this holds for all layers of the network.

    Args:
        module: the network, which is changed in place. It must not itself be a norm.
        norm: called as ``norm(num_features, dim)``.

    Returns:
        One row per normalization layer.
    """
    swaps = []
    replaced: dict[nn.Module, tuple[str, nn.Module]] = {}
    dim_hint = 1
    removed = False
    for child in list(_children(module)):
        old = child.layer
        if isinstance(old, nn.modules.conv._ConvNd):
            dim_hint = old.weight.ndim - 2
        if not looks_like_norm(old):
            continue
        slot = _reason_to_keep(child.parent) or norm_slot(old, dim_hint)
        if isinstance(slot, str):
            swaps.append(child.left_alone(slot))
            continue

        if old in replaced:
            first, new = replaced[old]
            why = f"the same layer as {first}"
        else:
            new, why = _successor(old, slot, norm, module)
            replaced[old] = (child.name, new)
        row = Swap(child.name, "replaced", _class_name(old), _class_name(new), why)
        swaps.append(row)
        child.replace_by(new)
        if isinstance(new, nn.Identity):
            removed = True

    if removed:
        _forbid_working_in_place(module)
    return swaps


def insert_norms(module: nn.Module, norm: Norm) -> list[Swap]:
    """Put ``norm(num_features, dim)`` after convolutions and linear layers without one.

    Whether a norm follows already is decided by the order in which the network
    registers its layers. The last linear layer or convolution is the output layer and
    gets no norm. A layer `conv` becomes a Sequential of `conv` and `norm` under its old
    name, so stored weights must be loaded before.

    Args:
        module: the network, which is changed in place.
        norm: called as ``norm(num_features, dim)``. After linear layers `dim` is 1, and
            the channels are on the last axis.

    Returns:
        One row per linear layer and convolution.
    """
    found = [
        child
        for child in _children(module)
        if isinstance(child.layer, Weights) or looks_like_norm(child.layer)
    ]
    weights = [child.layer for child in found if isinstance(child.layer, Weights)]
    if not weights:
        return []

    swaps = []
    inserted: dict[nn.Module, nn.Sequential] = {}
    followers = [*found[1:], None]
    for child, following in zip(found, followers, strict=True):
        if not isinstance(child.layer, Weights):
            continue
        reason = _reason_for_no_norm(child, weights[-1], following)
        if reason:
            swaps.append(child.left_alone(reason))
            continue

        if child.layer not in inserted:
            inserted[child.layer] = _with_norm(child.layer, norm)
        chain = inserted[child.layer]
        why = _note_on_activation(chain[-1])
        old = _class_name(child.layer)
        swaps.append(Swap(child.name, "inserted", old, _class_name(chain), why))
        child.replace_by(chain)
    return swaps


def _children(module: nn.Module) -> Iterator[Child]:
    """All layers in the order of registration, without the insides of norms.

    A module that is used in several places is listed in each, but entered once.
    """
    entered = set()

    def walk(parent: nn.Module, prefix: str) -> Iterator[Child]:
        entered.add(parent)
        for key, layer in parent._modules.items():
            if layer is None:
                continue
            yield Child(f"{prefix}{key}", parent, key, layer)
            is_leaf = isinstance(layer, Weights) or looks_like_norm(layer)
            if layer not in entered and not is_leaf:
                yield from walk(layer, f"{prefix}{key}.")

    yield from walk(module, "")


def _class_name(layer: nn.Module) -> str:
    """Name of the class, or of the norm's class if the layer is a wrapper of ours."""
    inner = layer._modules.get("norm")
    if isinstance(layer, TokenNorm | nn.Sequential) and inner is not None:
        return _class_name(inner)
    return type(layer).__name__


def _reason_to_keep(parent: nn.Module) -> str:
    """Why the norms of this parent must stay; empty if they need not."""
    if isinstance(parent, nn.TransformerEncoderLayer):
        return "PyTorch's encoder layer reads its eps and weights directly"
    return ""


def _reason_for_no_norm(
    child: Child, output: nn.Module, following: Child | None
) -> str:
    """Why no norm can follow this layer; empty if one can."""
    parent = child.parent
    if child.layer is output:
        return "output layer"
    if isinstance(parent, nn.MultiheadAttention | nn.TransformerEncoderLayer):
        return f"{type(parent).__name__} reads its weights directly"
    if following is not None and looks_like_norm(following.layer):
        return f"{following.name} follows"
    return ""


def _successor(
    old: nn.Module, slot: NormSlot, norm: Norm, network: nn.Module
) -> tuple[nn.Module, str]:
    """Build the layer that replaces `old`, and describe what it took over."""
    new = norm(slot.num_features, slot.dim).train(old.training)
    # The device and dtype of the old norm, or of the network if it has no state.
    for tensor in (*old.parameters(), *old.buffers(), *network.parameters()):
        if tensor.is_floating_point():
            new.to(tensor.device, tensor.dtype)
            break
    notes = [_transfer(old, new), _note_on_activation(new)]

    if slot.channels_last and not isinstance(new, nn.Identity):
        new = TokenNorm(new)
    parts: OrderedDict[str, nn.Module] = OrderedDict(norm=new)
    for key in ("drop", "act"):
        part = old._modules.get(key)
        if part is None or isinstance(part, nn.Identity):
            continue
        if key == "act" and includes_activation(parts["norm"]):
            notes.append(f"in place of its {type(part).__name__}")
        else:
            _forbid_working_in_place(part)
            parts[key] = part
            notes.append(f"{type(part).__name__} kept")

    successor = new if len(parts) == 1 else nn.Sequential(parts)
    return successor, "; ".join(filter(None, notes))


def _forbid_working_in_place(module: nn.Module) -> None:
    """Let activations and dropout write their output into memory of its own."""
    for layer in module.modules():
        if getattr(layer, "inplace", False) is True:
            layer.inplace = False  # type: ignore[assignment]  # no module and no tensor


def _with_norm(weights: Weights, norm: Norm) -> nn.Sequential:
    if isinstance(weights, nn.Linear):
        key = "linear"
        layer = norm(weights.out_features, 1)
        if not isinstance(layer, nn.Identity):
            layer = TokenNorm(layer)
    else:
        key = "conv"
        layer = norm(weights.out_channels, weights.weight.ndim - 2)
    layer.to(weights.weight.device, weights.weight.dtype).train(weights.training)
    return nn.Sequential(OrderedDict({key: weights, "norm": layer}))


def _note_on_activation(norm: nn.Module) -> str:
    inner = norm.norm if isinstance(norm, TokenNorm) else norm
    if includes_activation(inner):
        return "contains its activation; those that the network applies stay"
    return ""


@torch.no_grad()
def _transfer(old: nn.Module, new: nn.Module) -> str:
    """Copy the state that both norms have in the same shape.

    Returns:
        A description of what was copied, what was not, and which settings differ.
    """
    shared = _shared_state(old, new)
    copied = []
    dropped = []
    parameters = old.named_parameters(recurse=False)
    buffers = old.named_buffers(recurse=False)
    for key, source in (*parameters, *buffers):
        if key not in shared:
            dropped.append(key)
            continue
        target = getattr(new, key)
        target.data = target.data.to(source.device, source.dtype)
        target.copy_(source)
        if isinstance(target, nn.Parameter):
            target.requires_grad_(source.requires_grad)
        copied.append(key)

    notes = []
    if copied:
        notes.append(f"copied {', '.join(copied)}")
    if dropped:
        notes.append(f"not taken over: {', '.join(dropped)}")
    for key in SETTINGS:
        before = _setting(old, key)
        after = _setting(new, key)
        if before is not None and after is not None and before != after:
            notes.append(f"{key} {before:g} became {after:g}")
    return "; ".join(notes)


def _shared_state(old: nn.Module, new: nn.Module) -> set[str]:
    """Names of the state that means the same in both norms and has the same shape."""
    shared = set()
    for key in STATE:
        source = getattr(old, key, None)
        target = getattr(new, key, None)
        if not isinstance(source, Tensor) or not isinstance(target, Tensor):
            continue
        if source.shape == target.shape:
            shared.add(key)
    if is_global_response(old) != is_global_response(new):
        shared -= {"weight", "bias"}
    if "running_var" not in shared:  # what the counter counts is not taken over
        shared -= {"num_batches_tracked"}
        averages = {name for name, _ in new.named_buffers(recurse=False)}
        # A mean alone would stand beside statistics of batches that were never seen.
        if averages - {"running_mean", "num_batches_tracked"}:
            shared -= {"running_mean"}
    return shared


def _setting(layer: nn.Module, key: str) -> float | None:
    value = getattr(layer, key, None)
    return value if isinstance(value, int | float) else None
