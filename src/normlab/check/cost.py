"""How long a layer takes and how much it keeps, beside PyTorch's."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from normlab.norms.construction import build_norm
from normlab.norms.loading import CODE_ERRORS

CHANNELS = 64
SHAPES = {
    "(N, C)": (256, CHANNELS),
    "(N, C, L)": (32, CHANNELS, 32),
    "(N, C, H, W)": (16, CHANNELS, 16, 16),
    "(N, C, D, H, W)": (8, CHANNELS, 8, 8, 8),
}
DIMS = {2: 1, 3: 1, 4: 2, 5: 3}
REPETITIONS = 15
BATCH = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
INSTANCE = {1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}


@dataclass(frozen=True)
class Cost:
    """What one training step of a layer costs.

    Attributes:
        shape: of the input.
        seconds: of forward and backward.
        bytes: of the tensors kept for the backward pass, other than the input.
        reference: name of PyTorch's layer.
        reference_seconds: of that layer.
        reference_bytes: of that layer.
    """

    shape: tuple[int, ...]
    seconds: float
    bytes: int
    reference: str
    reference_seconds: float
    reference_bytes: int


def measure_cost(
    target: Callable[..., Any], options: Mapping[str, Any], kind: str, case: str
) -> Cost | None:
    """Measure a layer and PyTorch's layer of the same kind.

    Args:
        target: the class or function.
        options: further arguments of its constructor.
        kind: "batch", "layer", "group" or "instance".
        case: the kind of input, a key of `SHAPES`.

    Returns:
        The costs; None if PyTorch has no such layer, or the layer fails for this size.
    """
    shape = SHAPES.get(case)
    reference = _reference(kind, shape)
    if shape is None or reference is None:
        return None
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        layer = build_norm(target, CHANNELS, DIMS[len(shape)], options)
        seconds = step_seconds(layer, x)
        kept = kept_bytes(layer, x)
        return Cost(
            shape,
            seconds,
            kept,
            type(reference).__name__,
            step_seconds(reference, x),
            kept_bytes(reference, x),
        )
    except CODE_ERRORS:  # what is wrong with it was said before
        return None
    finally:
        torch.set_num_threads(threads)


def _reference(kind: str, shape: tuple[int, ...] | None) -> nn.Module | None:
    if shape is None:
        return None
    dim = DIMS[len(shape)]
    if kind == "batch":
        return BATCH[dim](CHANNELS)
    if kind == "instance" and len(shape) > 2:
        return INSTANCE[dim](CHANNELS)
    if kind == "layer":
        return nn.GroupNorm(1, CHANNELS)
    if kind == "group":
        return nn.GroupNorm(2, CHANNELS)
    return None


def step_seconds(layer: nn.Module, x: Tensor) -> float:
    """Median time of forward and backward, after some steps that do not count."""
    times = []
    for repetition in range(REPETITIONS + 3):
        values = x.clone().requires_grad_()
        begin = time.perf_counter()
        layer(values).sum().backward()
        if repetition >= 3:
            times.append(time.perf_counter() - begin)
    return median(times)


def kept_bytes(layer: nn.Module, x: Tensor) -> int:
    """Bytes of memory that autograd keeps for the backward pass.

    Memory that several tensors share counts once. That of the input and of the
    parameters does not count, since it exists anyway.
    """
    values = x.clone().requires_grad_()
    free = {values.untyped_storage().data_ptr()}
    free |= {one.untyped_storage().data_ptr() for one in layer.parameters()}
    sizes: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in free:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = layer(values)
    del y
    return sum(sizes.values())
