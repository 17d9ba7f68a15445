"""Data that several runs of one process load once."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from normlab.config.targets import build

# What was loaded, by the options that name it; None where each run loads for itself.
_LOADED: ContextVar[dict[str, Any] | None] = ContextVar("_LOADED", default=None)


@contextmanager
def shared_loads() -> Iterator[None]:
    """Within the block, data with the same options are loaded once.

    Those who load them must leave them as they are.
    """
    token = _LOADED.set({})
    try:
        yield
    finally:
        _LOADED.reset(token)


def load(options: dict[str, Any]) -> Any:
    """Call the function that loads a data set.

    Args:
        options: `dataset.load` of a resolved configuration.
    """
    loaded = _LOADED.get()
    if loaded is None:
        return build(options)
    key = json.dumps(options, sort_keys=True, default=str)
    if key not in loaded:
        loaded[key] = build(options)
    return loaded[key]
