"""Train networks with a swappable normalization layer, and compare what it did.

The functions `run`, `sweep`, `load`, `swap` and `examine` do in Python what the command
line does. They are imported when they are first used, since they import torch.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from normlab.api.calls import load, run, swap, sweep
    from normlab.api.examined import examine

__version__ = version("normlab")
__all__ = ["__version__", "examine", "load", "run", "swap", "sweep"]


def __getattr__(name: str) -> Any:
    if name == "examine":
        return getattr(import_module("normlab.api.examined"), name)
    if name in __all__:
        return getattr(import_module("normlab.api.calls"), name)
    raise AttributeError(f"module 'normlab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
