"""How many runs of a stack the memory has room for."""

from pathlib import Path

import torch
from torch import Tensor

from normlab.data.mapped import memory_limit
from normlab.stacked.network import StackedNetwork

MEMINFO = Path("/proc/meminfo")
KIBIBYTE = 1024
# Of the free memory. The rest is for what others begin to use.
USED_SHARE = 0.5
# Copies of the weights in a step: themselves, gradients, two states, intermediate ones.
COPIES_OF_WEIGHTS = 8
# Copies of what the backward pass needs: gradients of the same size, and the batch.
COPIES_OF_ACTIVATIONS = 3


def room(
    bytes_per_run: float,
    device: torch.device,
    sharers: int = 1,
) -> int | None:
    """How many runs fit into the memory that is free; None if that is not known.

    Args:
        bytes_per_run: from `bytes_of_run`.
        device: of the stack.
        sharers: number of processes that train stacks on it.
    """
    free = free_bytes(device)
    if free is None:
        return None
    return int(USED_SHARE * free / sharers / max(1.0, bytes_per_run))


def free_bytes(device: torch.device) -> int | None:
    """Bytes that are free on a device, None if the system does not tell.

    Of the memory of the machine there are never more than this process may use.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = MEMINFO.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return min(int(value.split()[0]) * KIBIBYTE, memory_limit())
    return None


def bytes_of_run(network: StackedNetwork, activations: int) -> float:
    """About how many bytes a run of a stack takes at the peak of a step.

    Args:
        network: of the stack.
        activations: bytes that autograd keeps of one run for the backward pass.
    """
    weights = network.weights[0].nbytes
    return COPIES_OF_WEIGHTS * weights + COPIES_OF_ACTIVATIONS * activations


class Kept:
    """Counts the bytes that autograd keeps in a `with` block for a backward pass.

    Attributes:
        bytes: their number; memory that is kept several times counts once.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self._seen: dict[int, Tensor] = {}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._keep, _same)

    def _keep(self, tensor: Tensor) -> Tensor:
        address = tensor.untyped_storage().data_ptr()
        if address not in self._seen:
            self._seen[address] = tensor  # so that the address is not used again
            self.bytes += tensor.nbytes
        return tensor

    def __enter__(self) -> "Kept":
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._hooks.__exit__(*error)
        self._seen.clear()


def _same(tensor: Tensor) -> Tensor:
    return tensor
