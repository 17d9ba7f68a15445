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
    if isinstance(value, (*SEQUENCES, set, frozenset)):
        texts = [_text(one, outer) for one in value]
        if isinstance(value, set | frozenset):
            texts.sort()
        return f"{kind}[{', '.join(texts)}]"
    if isinstance(value, Mapping):
        pairs = []
        for key, item in value.items():
            key_text = _text(key, outer)
            pairs.append(f"{key_text}: {_text(item, outer)}")
        return f"{kind}[{', '.join(pairs)}]"
    if isinstance(value, torch.Tensor):
        content = _array_text(value.detach().cpu())
        return f"{kind} {value.dtype} {content}"
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        content = _digest(value.tobytes())
        return f"{kind} {value.dtype} {value.shape} {content}"
    if inspect.ismodule(value):
        return value.__name__
    if inspect.isclass(value) or inspect.isroutine(value):
        module = getattr(value, "__module__", None)
        name = getattr(value, "__qualname__", repr(value))
        return f"{module}.{name}"
    text = repr(value)
    if not ADDRESS.search(text):
        return text
    attributes = getattr(value, "__dict__", {})
    without_address = ADDRESS.sub("", text)
    return f"{without_address} {_text(attributes, outer)}"


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
