"""Sharded networks in one process; `tests/training/test_processes.py` has two."""

import pytest
import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule

from normlab.device import sharding
from normlab.device.sharding import (
    avoid_fused_kernels,
    broadcast_buffers,
    load_network_state,
    load_optimizer_state,
    network_state,
    optimizer_state,
    shard,
)


@pytest.fixture
def mesh(tmp_path):
    store = f"file://{tmp_path / 'store'}"
    distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    distributed.destroy_process_group()


@pytest.fixture
def sharded(mesh, monkeypatch):
    """A function that shards a network whose unit is a layer of 6 parameters."""
    monkeypatch.setattr(sharding, "SMALLEST_UNIT", 6)

    def make(network):
        shard(network, mesh)
        return network

    return make


def trained_once(network, optimizer):
    network(torch.ones(2, 2)).sum().backward()
    optimizer.step()
    return optimizer


def test_members_of_sequences_are_units_if_they_are_large(sharded):
    layers = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 1)])
    network = sharded(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1), layers))
    units = [name for name, m in network.named_modules() if isinstance(m, FSDPModule)]
    assert units == ["", "0", "2.0"]


def test_a_sharded_network_has_the_state_of_a_plain_one(sharded):
    plain = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    expected = {name: value.clone() for name, value in plain.state_dict().items()}
    network = sharded(plain)
    assert type(network[0].weight) is not nn.Parameter
    state = network_state(network)
    assert list(state) == list(expected)
    for name, value in expected.items():
        assert torch.equal(state[name], value)

    doubled = {name: 2 * value for name, value in expected.items()}
    load_network_state(network, dict(doubled))
    for name, value in network_state(network).items():
        assert torch.equal(value, doubled[name])


def test_a_plain_network_has_its_own_state():
    network = nn.Linear(2, 2)
    assert network_state(network)["weight"].data_ptr() == network.weight.data_ptr()
    load_network_state(network, {"weight": torch.eye(2), "bias": torch.ones(2)})
    assert network.weight.tolist() == [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize("is_sharded", [True, False])
def test_an_optimizer_goes_on_from_its_stored_state(sharded, is_sharded):
    def make():
        network = nn.Sequential(nn.Linear(2, 2))
        if is_sharded:
            sharded(network)
        return network, torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)

    network, optimizer = make()
    stored = optimizer_state(network, trained_once(network, optimizer))
    momentum = [entry["momentum_buffer"] for entry in stored["state"].values()]
    assert sorted(value.numel() for value in momentum) == [2, 4]
    assert {value.unique().item() for value in momentum} == {2.0}

    other, fresh = make()
    load_optimizer_state(other, fresh, stored)
    again = optimizer_state(other, fresh)["state"]
    for key, entry in stored["state"].items():
        assert torch.equal(again[key]["momentum_buffer"], entry["momentum_buffer"])


def test_sharded_networks_get_no_fused_kernels(sharded):
    plain = nn.Sequential(nn.Linear(2, 2))
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1, fused=True)
    assert avoid_fused_kernels(plain, optimizer) is optimizer
    assert optimizer.param_groups[0]["fused"] is True

    network = sharded(plain)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    avoid_fused_kernels(network, optimizer)
    assert optimizer.param_groups[0]["fused"] is False


def test_buffers_are_sent_in_one_message_per_type(monkeypatch):
    """The first process has 5 in every buffer."""
    messages = []

    def broadcast(values, source):
        messages.append((values.dtype, len(values), source))
        values.fill_(5)

    monkeypatch.setattr(distributed, "broadcast", broadcast)
    network = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm2d(3))
    broadcast_buffers(network)
    assert messages == [(torch.float32, 10, 0), (torch.int64, 2, 0)]
    assert all(bool((buffer == 5).all()) for buffer in network.buffers())
    assert network[1].running_var.shape == (3,)
