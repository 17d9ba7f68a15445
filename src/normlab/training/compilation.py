"""`torch.compile` for a network: caches that jobs share, and the time that it takes."""

import os
import sys
from pathlib import Path

import torch
from torch import nn

# The environment variable by which PyTorch finds what was compiled before.
CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


def compile_network(network: nn.Module, mode: str | None) -> None:
    """Compile a network in place; its graphs are made when it is first called.

    Args:
        network: any module.
        mode: of `torch.compile`; None is its default.
    """
    share_caches()
    # The jobs of a sweep would share one limit on recompilations.
    torch.compiler.reset()
    network.compile(mode=mode)


def share_caches() -> None:
    """Let all jobs of a user find what one of them has compiled.

    PyTorch keeps compiled kernels and graphs in a folder for temporary files, which the
    machines of a cluster do not share. They are code, so that they lie in the user's
    own cache, and not beside runs, which may come from somebody else. A folder that the
    user has named by `TORCHINDUCTOR_CACHE_DIR` is kept.
    """
    if CACHE_VARIABLE in os.environ:
        return
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(home) / "normlab" / "compiled"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return  # without a home, PyTorch's own folder does for this machine
    if os.access(folder, os.W_OK):
        os.environ[CACHE_VARIABLE] = str(folder)


def compile_seconds() -> float:
    """Time that this process has spent on compiling since it began, 0 if on none.

    The table of times is a private interface of PyTorch (torch 2.15).
    """
    utils = sys.modules.get("torch._dynamo.utils")
    if utils is None:
        return 0.0
    return float(utils.calculate_time_spent()["total_wall_time"])
