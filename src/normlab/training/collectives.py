"""Tensors combined over the processes of a distributed run."""

import torch
from torch import Tensor, distributed
from torchmetrics.utilities.distributed import gather_all_tensors


def sum_over_processes(values: Tensor) -> Tensor:
    """Sum a tensor over the processes of a run, in place.

    In a run of one process the tensor is returned as it is.

    Args:
        values: the tensor of this process, of the same shape in all of them.
    """
    if _are_several_processes():
        distributed.all_reduce(values)
    return values


def largest_over_processes(value: int, device: torch.device) -> int:
    """The largest value of the processes of a run, by which all of them decide alike.

    Args:
        value: of this process.
        device: the device of this process.
    """
    if not _are_several_processes():
        return value
    largest = torch.tensor(value, device=device)
    distributed.all_reduce(largest, distributed.ReduceOp.MAX)
    return int(largest)


def gather_over_processes(values: Tensor) -> Tensor:
    """Stack the tensors of all P processes of a run, in the order of their ranks.

    Args:
        values: the tensor of this process, of the same shape ``(...)`` in all of them.

    Returns:
        ``(P, ...)``, the same in every process; ``(1, ...)`` in a run of one process.
    """
    if not _are_several_processes():
        return values[None]
    rows = values.new_empty(distributed.get_world_size(), *values.shape)
    distributed.all_gather(list(rows.unbind()), values)
    return rows


def join_over_processes(values: Tensor) -> Tensor:
    """Concatenate the tensors of all processes of a run, in the order of their ranks.

    Args:
        values: the tensor of this process ``(N, ...)``; N may differ among them.
    """
    if not _are_several_processes():
        return values
    return torch.cat(gather_all_tensors(values))


def _are_several_processes() -> bool:
    return distributed.is_available() and distributed.is_initialized()
