"""Norms of networks that were not written for it: replaced where there are any, inserted where there are none.

Both work in place and return what they did, one row per layer that they looked at.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from normlab.models.blocks import TokenNorm, includes_activation
from normlab.models.recognize import NormSlot, looks_like_norm, norm_slot

if TYPE_CHECKING:
    pass

WEIGHTS = (nn.Linear, nn.modules.conv._ConvNd)
STATE = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
SETTINGS = ("eps", "momentum")

Norm = Callable[[int, int], nn.Module]


@dataclass(frozen=True)
class Swap:
    """What happened to one layer: `kind` is replaced, inserted or left alone; `old` and `new` are class names."""

    name: str
    kind: str
    old: str
    new: str
    why: str


def replace_norms(module: nn.Module, norm: Norm) -> list[Swap]:
    """Replace every normalization layer inside of `module` by ``norm(num_features, dim)``.

    Scale, shift and running statistics are copied where both layers have them in the same shape. Dropout and
    activation inside of a layer (timm's `BatchNormAct2d`) stay, unless the new norm contains its activation. Layers
    whose channels are on the last axis, as in transformers, get the norm behind a transposition. A layer that the
    network uses in several places is replaced by one in all of them.

    Args:
        module: changed in place; not itself a norm.
        norm: called as ``norm(num_features, dim)``.
    """
    swaps, replaced = [], {}
    hint = 1
    for name, parent, child_name, child in list(_children(module)):
        if isinstance(child, nn.modules.conv._ConvNd):
            hint = child.weight.ndim - 2
        if not looks_like_norm(child):
            continue
        slot = _readable(parent) or norm_slot(child, hint)
        if isinstance(slot, str):
            swaps.append(Swap(name, "left alone", _class(child), _class(child), slot))
            continue
        if child in replaced:
            first, new = replaced[child]
            swaps.append(
                Swap(
                    name,
                    "replaced",
                    _class(child),
                    _class(new),
                    f"the same layer as {first}",
                )
            )
        else:
            new, why = _successor(child, slot, norm, module)
            replaced[child] = (name, new)
            swaps.append(Swap(name, "replaced", _class(child), _class(new), why))
        parent._modules[child_name] = new
    return swaps


def insert_norms(module: nn.Module, norm: Norm) -> list[Swap]:
    """Put ``norm(num_features, dim)`` behind every convolution and linear layer that no norm follows.

    What follows is read off the order in which the network registers its layers. The last of them is the output layer
    and stays as it is. A layer `conv` becomes a Sequential of `conv` and `norm` under its old name, so stored weights
    go in before.

    Args:
        module: changed in place.
        norm: called as ``norm(num_features, dim)``; dim 1 on the last axis behind linear layers.
    """
    found = [
        entry
        for entry in _children(module)
        if isinstance(entry[3], WEIGHTS) or looks_like_norm(entry[3])
    ]
    weights = [child for *_, child in found if isinstance(child, WEIGHTS)]
    swaps, inserted = [], {}
    for (name, parent, child_name, child), following in zip(
        found, [*found[1:], None], strict=True
    ):
        if not isinstance(child, WEIGHTS):
            continue
        reason = _no_norm_behind(child, parent, weights[-1], following)
        if reason:
            swaps.append(Swap(name, "left alone", _class(child), _class(child), reason))
            continue
        if child not in inserted:
            inserted[child] = _with_norm(child, norm)
        parent._modules[child_name] = new = inserted[child]
        swaps.append(
            Swap(
                name,
                "inserted",
                _class(child),
                _class(new[-1]),
                _own_activation(new[-1]),
            )
        )
    return swaps


def _children(module: nn.Module) -> Iterator[tuple[str, nn.Module, str, nn.Module]]:
    """Full name, parent, name in the parent and layer, in order; inside of norms nothing is listed."""
    seen = set()

    def walk(
        parent: nn.Module, prefix: str
    ) -> Iterator[tuple[str, nn.Module, str, nn.Module]]:
        seen.add(parent)
        for name, child in parent._modules.items():
            if child is None:
                continue
            yield f"{prefix}{name}", parent, name, child
            if (
                child not in seen
                and not looks_like_norm(child)
                and not isinstance(child, WEIGHTS)
            ):
                yield from walk(child, f"{prefix}{name}.")

    yield from walk(module, "")


def _class(layer: nn.Module) -> str:
    return (
        _class(layer.norm)
        if isinstance(layer, TokenNorm) or _is_chain(layer)
        else type(layer).__name__
    )


def _is_chain(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Sequential) and "norm" in layer._modules


def _readable(parent: nn.Module) -> str:
    """Why the norms of this parent must stay, or nothing."""
    if isinstance(parent, nn.TransformerEncoderLayer):
        return "PyTorch's encoder layer reads its eps and weights directly"
    return ""


def _no_norm_behind(
    child: nn.Module, parent: nn.Module, output: nn.Module, following: tuple | None
) -> str:
    if child is output:
        return "output layer"
    if isinstance(parent, nn.MultiheadAttention | nn.TransformerEncoderLayer):
        return f"{type(parent).__name__} reads its weights directly"
    if following is not None and looks_like_norm(following[3]):
        return f"{following[0]} follows"
    return ""


def _successor(
    old: nn.Module, slot: NormSlot, norm: Norm, network: nn.Module
) -> tuple[nn.Module, str]:
    """The layer that takes the place of `old` in `network`, and what was taken over into it."""
    new = norm(slot.num_features, slot.dim).train(old.training)
    state = [*old.parameters(), *old.buffers(), *network.parameters()]
    if (
        like := next((tensor for tensor in state if tensor.is_floating_point()), None)
    ) is not None:
        new.to(like.device, like.dtype)
    notes = [_transfer(old, new), _own_activation(new)]
    if slot.channels_last and not isinstance(new, nn.Identity):
        new = TokenNorm(new)
    parts = OrderedDict(norm=new)
    for name in ("drop", "act"):
        part = old._modules.get(name)
        if part is None or isinstance(part, nn.Identity):
            continue
        if name == "act" and includes_activation(parts["norm"]):
            notes.append(f"in place of its {type(part).__name__}")
            continue
        parts[name] = part
        notes.append(f"{type(part).__name__} kept")
    return new if len(parts) == 1 else nn.Sequential(parts), "; ".join(
        note for note in notes if note
    )


def _with_norm(weights: nn.Module, norm: Norm) -> nn.Sequential:
    if isinstance(weights, nn.Linear):
        layer = norm(weights.out_features, 1)
        layer = layer if isinstance(layer, nn.Identity) else TokenNorm(layer)
        name = "linear"
    else:
        layer, name = norm(weights.out_channels, weights.weight.ndim - 2), "conv"
    layer.to(weights.weight.device, weights.weight.dtype).train(weights.training)
    return nn.Sequential(OrderedDict({name: weights, "norm": layer}))


def _own_activation(norm: nn.Module) -> str:
    inner = norm.norm if isinstance(norm, TokenNorm) else norm
    return (
        "contains its activation; those that the network applies stay"
        if includes_activation(inner)
        else ""
    )


@torch.no_grad()
def _transfer(old: nn.Module, new: nn.Module) -> str:
    """Copy the state that both have in the same shape; say what was copied, what was not, and which settings differ."""
    copied, dropped = [], []
    for key, source in [
        *old.named_parameters(recurse=False),
        *old.named_buffers(recurse=False),
    ]:
        target = getattr(new, key, None)
        if key in STATE and isinstance(target, Tensor) and target.shape == source.shape:
            target.data = target.data.to(source.device, source.dtype)
            target.copy_(source)
            target.requires_grad_(source.requires_grad) if isinstance(
                target, nn.Parameter
            ) else None
            copied.append(key)
        else:
            dropped.append(key)
    notes = [f"copied {', '.join(copied)}"] if copied else []
    notes += [f"not taken over: {', '.join(dropped)}"] if dropped else []
    for key in SETTINGS:
        before, after = _setting(old, key), _setting(new, key)
        if before is not None and after is not None and before != after:
            notes.append(f"{key} {before:g} became {after:g}")
    return "; ".join(notes)


def _setting(layer: nn.Module, key: str) -> Any:
    value = getattr(layer, key, None)
    return value if isinstance(value, int | float) else None
