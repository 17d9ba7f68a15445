"""What several runs of one process need alike, computed once for all of them."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

Value = TypeVar("Value")

# What was computed, by its name and settings; None where each run computes for itself.
_COMPUTED: ContextVar[dict[str, Any] | None] = ContextVar("_COMPUTED", default=None)


@contextmanager
def sharing() -> Iterator[None]:
    """Within the block, `shared` computes values of the same settings once."""
    token = _COMPUTED.set({})
    try:
        yield
    finally:
        _COMPUTED.reset(token)


def is_sharing() -> bool:
    """Whether a block of `sharing` is open."""
    return _COMPUTED.get() is not None


def shared(name: str, settings: Any, compute: Callable[[], Value]) -> Value:
    """A value that follows from settings; those who get it must leave it as it is.

    Args:
        name: of what is computed.
        settings: all that the value depends on, as plain types.
        compute: computes the value.
    """
    computed = _COMPUTED.get()
    if computed is None:
        return compute()
    key = f"{name} {json.dumps(settings, sort_keys=True, default=str)}"
    if key not in computed:
        computed[key] = compute()
    value: Value = computed[key]
    return value
