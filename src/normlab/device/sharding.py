"""Parameters cut up among processes (`device=fsdp`): PyTorch's fully sharded data parallelism, and whole states of it.

Every process keeps a part of each parameter, of its gradient and of the optimizer's state. A layer's parameters are
brought together when it is used. Works over gloo on CPUs as over nccl on GPUs.
"""

from typing import Any

import torch
from torch import distributed, nn
from torch.distributed.checkpoint import state_dict as whole
from torch.distributed.fsdp import FSDPModule, fully_shard

SMALLEST_UNIT = 1_000_000  # parameters; below, gathering one by one costs more than the memory is worth
WHOLE = whole.StateDictOptions(full_state_dict=True, cpu_offload=True)


def shard(network: nn.Module, mesh: Any) -> None:
    """Cut up a network's parameters, in place.

    Members of sequences and lists of layers (as a transformer's blocks) with at least `SMALLEST_UNIT` parameters are
    units that are gathered by themselves; the rest of the network is one unit.

    Args:
        network: called through `forward` only, as its units are.
        mesh: `torch.distributed.DeviceMesh` of the processes.
    """
    units = [
        child
        for parent in network.modules()
        if isinstance(parent, nn.Sequential | nn.ModuleList)
        for child in parent
        if not isinstance(child, nn.ModuleList)
        and sum(value.numel() for value in child.parameters()) >= SMALLEST_UNIT
    ]
    for unit in [*reversed(units), network]:  # from the inside out, as fully_shard asks
        fully_shard(unit, mesh=mesh)


def without_missing_kernels(
    network: nn.Module, optimizer: torch.optim.Optimizer
) -> torch.optim.Optimizer:
    """The optimizer, which steps without fused kernels if the network is sharded: not all of them take cut tensors."""
    if isinstance(network, FSDPModule):
        for group in optimizer.param_groups:
            group["fused"] = False
    return optimizer


@torch.no_grad()
def share_buffers(network: nn.Module) -> None:
    """Give every process the first one's buffers, one broadcast a data type."""
    buffers = list(network.buffers())
    for dtype in dict.fromkeys(buffer.dtype for buffer in buffers):
        own = [buffer for buffer in buffers if buffer.dtype == dtype]
        flat = torch.cat([buffer.flatten() for buffer in own])
        distributed.broadcast(flat, 0)
        for buffer, part in zip(
            own, flat.split([buffer.numel() for buffer in own]), strict=True
        ):
            buffer.copy_(part.view_as(buffer))


def network_state(network: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers as they are; of a sharded network whole ones in the first process, else none."""
    if isinstance(network, FSDPModule):
        return whole.get_model_state_dict(network, options=WHOLE)
    return network.state_dict()


def load_network_state(network: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Put back what `network_state` returned in the first process."""
    if isinstance(network, FSDPModule):
        whole.set_model_state_dict(network, state, options=WHOLE)
    else:
        network.load_state_dict(state)


def optimizer_state(
    network: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """The optimizer's state; of a sharded network whole in the first process, else empty."""
    if isinstance(network, FSDPModule):
        return whole.get_optimizer_state_dict(network, optimizer, options=WHOLE)
    return optimizer.state_dict()


def load_optimizer_state(
    network: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> None:
    """Put back what `optimizer_state` returned in the first process."""
    if isinstance(network, FSDPModule):
        whole.set_optimizer_state_dict(network, optimizer, state, options=WHOLE)
    else:
        optimizer.load_state_dict(state)
