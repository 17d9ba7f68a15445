"""Everything that a layer remembers, whether PyTorch knows of it or not.

PyTorch stores, moves and copies parameters and buffers. A tensor or number that a layer
keeps in an ordinary attribute is state as well, but of it PyTorch knows nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PARAMETER = "parameter"
BUFFER = "buffer"
ATTRIBUTE = "attribute"


@dataclass(frozen=True)
class Entry:
    """One tensor or number that a layer holds.

    Attributes:
        path: its name, such as `running_mean` or `inner.steps`.
        place: parameter, buffer or attribute.
        value: the tensor, array or number itself.
    """

    path: str
    place: str
    value: Any

    def tensor(self) -> Tensor:
        """The value as a tensor of its own, which no graph leads to."""
        return torch.as_tensor(self.value).detach().clone()


def state_of(layer: nn.Module) -> dict[str, Entry]:
    """All that a layer and the layers inside of it hold, by path."""
    entries = {}
    for name, module in layer.named_modules():
        prefix = f"{name}." if name else ""
        for path, place, value in _held_by(module):
            entries[prefix + path] = Entry(prefix + path, place, value)
    return entries


def _held_by(module: nn.Module) -> Iterator[tuple[str, str, Any]]:
    for name, parameter in module.named_parameters(recurse=False):
        yield name, PARAMETER, parameter
    for name, buffer in module.named_buffers(recurse=False):
        yield name, BUFFER, buffer
    for name, value in vars(module).items():
        if name not in OWN_OF_MODULES:
            for path, found in _values_in(name, value):
                yield path, ATTRIBUTE, found


OWN_OF_MODULES = frozenset(vars(nn.Module()))


def _values_in(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Tensors, arrays and numbers in a value, and in the lists and dicts inside it."""
    if isinstance(value, bool):
        return
    if isinstance(value, Tensor | np.ndarray | np.number | int | float):
        yield path, value
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from _values_in(f"{path}[{index}]", part)
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _values_in(f"{path}[{key!r}]", part)


def snapshot(layer: nn.Module) -> dict[str, Tensor]:
    """Copies of everything that a layer holds, by path."""
    return {path: entry.tensor() for path, entry in state_of(layer).items()}


def changed_paths(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor]
) -> list[str]:
    """What two snapshots do not have in common, sorted by path."""
    paths = before.keys() | after.keys()
    return sorted(path for path in paths if not _is_same(before, after, path))


def _is_same(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], path: str
) -> bool:
    if path not in before or path not in after:
        return False
    old = before[path]
    new = after[path]
    if old.shape != new.shape:
        return False
    are_same = (old == new) | (old.isnan() & new.isnan())
    return bool(are_same.all())


def with_graph(layer: nn.Module) -> list[str]:
    """Paths of state through which the graph of a past step is still reachable.

    Parameters are leaves of a graph and therefore hold none.
    """
    found = []
    for path, entry in state_of(layer).items():
        value = entry.value
        if isinstance(value, Tensor) and value.grad_fn is not None:
            found.append(path)
    return found


def graph_size(values: list[Tensor]) -> int:
    """Number of operations that backward passes from these tensors would visit."""
    waiting = [value.grad_fn for value in values if value.grad_fn is not None]
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                waiting.append(following)
    return len(seen)
