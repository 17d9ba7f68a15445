"""Texts of values that are the same in every process."""

import hashlib
import inspect
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
SEQUENCES = (tuple, list)


def value_text(value: Any) -> str:
    """A text that differs if values differ, and is the same in every process.

    Sets are in the order of their texts, arrays and tensors are digests of their bytes,
    and addresses in memory are left out.

    Args:
        value: anything, such as a number, a dict of lists, a tensor, or a function.
    """
    return _text(value, ())


def _text(value: Any, outer: tuple[int, ...]) -> str:
    if id(value) in outer:  # it contains itself
        return "..."
    outer = (*outer, id(value))
    kind = type(value).__name__
    if isinstance(value, SEQUENCES):
        return f"{kind}[{', '.join(_text(one, outer) for one in value)}]"
    if isinstance(value, set | frozenset):
        return f"{kind}[{', '.join(sorted(_text(one, outer) for one in value))}]"
    if isinstance(value, Mapping):
        pairs = [f"{_text(k, outer)}: {_text(v, outer)}" for k, v in value.items()]
        return f"{kind}[{', '.join(pairs)}]"
    if isinstance(value, torch.Tensor):
        return f"{kind} {value.dtype} {_array_text(value.detach().cpu())}"
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return f"{kind} {value.dtype} {value.shape} {_digest(value.tobytes())}"
    if inspect.ismodule(value):
        return value.__name__
    if inspect.isclass(value) or inspect.isroutine(value):
        name = getattr(value, "__qualname__", repr(value))
        return f"{getattr(value, '__module__', None)}.{name}"
    text = repr(value)
    if not ADDRESS.search(text):
        return text
    attributes = _text(getattr(value, "__dict__", {}), outer)
    return f"{ADDRESS.sub('', text)} {attributes}"


def parts_of(value: Any) -> list[Any]:
    """A value, its class, and those of the elements of lists, sets and dicts in it."""
    parts: list[Any] = []
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if any(item is part for part in parts):
            continue
        parts.append(item)
        if isinstance(item, Mapping):
            waiting += item.values()
        elif isinstance(item, (*SEQUENCES, set, frozenset)):
            waiting += item
        elif not inspect.isclass(item):
            parts.append(type(item))
    return parts


def _array_text(tensor: torch.Tensor) -> str:
    numbers = tensor.contiguous().flatten().view(torch.uint8)
    return f"{tuple(tensor.shape)} {_digest(numbers.numpy().tobytes())}"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
