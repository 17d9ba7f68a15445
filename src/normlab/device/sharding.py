"""Sharded networks (`device=fsdp`): parameters split over processes, states whole.

PyTorch's fully sharded data parallelism: every process keeps a part of each parameter,
of its gradient and of the optimizer's state. The parameters of a layer are gathered
when it is used. This works over gloo on CPUs as well as over nccl on GPUs.
"""

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import FSDPModule, fully_shard

# Parameters of the smallest layer that is gathered by itself. For smaller layers the
# extra communication costs more than the memory is worth.
SMALLEST_UNIT = 1_000_000
FULL_STATE = StateDictOptions(full_state_dict=True, cpu_offload=True)


def shard(network: nn.Module, mesh: Any) -> None:
    """Split the parameters of a network over processes, in place.

    Members of sequences and lists of layers (such as the blocks of a transformer) with
    at least `SMALLEST_UNIT` parameters are gathered one by one; the rest of the network
    is gathered as one unit.

    Args:
        network: any module that is called through `forward` only, as are its units.
        mesh: the `torch.distributed.DeviceMesh` of the processes.
    """
    units: list[nn.Module] = []
    for parent in network.modules():
        if isinstance(parent, nn.Sequential | nn.ModuleList):
            units += filter(_is_unit, parent)
    for unit in [*reversed(units), network]:  # fully_shard wants inner modules first
        fully_shard(unit, mesh=mesh)


def _is_unit(child: nn.Module) -> bool:
    if isinstance(child, nn.ModuleList):  # has no forward
        return False
    return sum(value.numel() for value in child.parameters()) >= SMALLEST_UNIT


def avoid_fused_kernels(
    network: nn.Module, optimizer: torch.optim.Optimizer
) -> torch.optim.Optimizer:
    """Turn fused kernels off if the network is sharded, and return the optimizer.

    Some of these kernels do not accept sharded tensors.
    """
    if isinstance(network, FSDPModule):
        for group in optimizer.param_groups:
            if "fused" in group:
                group["fused"] = False
    return optimizer


@torch.no_grad()
def broadcast_buffers(network: nn.Module) -> None:
    """Give every process the first one's buffers, with one broadcast per data type."""
    by_type: dict[torch.dtype, list[Tensor]] = {}
    for buffer in network.buffers():
        by_type.setdefault(buffer.dtype, []).append(buffer)

    for buffers in by_type.values():
        flat = torch.cat([buffer.flatten() for buffer in buffers])
        distributed.broadcast(flat, 0)
        values = flat.split([buffer.numel() for buffer in buffers])
        for buffer, value in zip(buffers, values, strict=True):
            buffer.copy_(value.view_as(buffer))


def network_state(network: nn.Module) -> dict[str, Any]:
    """The `state_dict` of a network.

    The tensors of a sharded network are gathered: the first process gets whole ones,
    the others an empty dict.
    """
    if isinstance(network, FSDPModule):
        return get_model_state_dict(network, options=FULL_STATE)
    return network.state_dict()


def load_network_state(network: nn.Module, state: dict[str, Any]) -> None:
    """Load what `network_state` returned in the first process."""
    if isinstance(network, FSDPModule):
        set_model_state_dict(network, state, options=FULL_STATE)
    else:
        network.load_state_dict(state)


def optimizer_state(
    network: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """The `state_dict` of an optimizer.

    For a sharded network, the first process gets whole tensors and the others an empty
    dict.
    """
    if isinstance(network, FSDPModule):
        return get_optimizer_state_dict(network, optimizer, options=FULL_STATE)
    return optimizer.state_dict()


def load_optimizer_state(
    network: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> None:
    """Load what `optimizer_state` returned in the first process."""
    if isinstance(network, FSDPModule):
        set_optimizer_state_dict(network, optimizer, state, options=FULL_STATE)
    else:
        optimizer.load_state_dict(state)
