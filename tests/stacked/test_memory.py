import torch
from torch import nn

from normlab.stacked import memory
from normlab.stacked.memory import Kept, bytes_of_run, free_bytes, room
from normlab.stacked.network import stack_networks

CPU = torch.device("cpu")


def test_half_of_the_free_memory_is_shared(monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1000)
    assert room(50.0, CPU) == 10
    assert room(50.0, CPU, sharers=2) == 5
    monkeypatch.setattr(memory, "free_bytes", lambda device: None)
    assert room(50.0, CPU) is None


def test_free_memory_is_what_the_system_says(monkeypatch, tmp_path):
    path = tmp_path / "meminfo"
    path.write_text("MemTotal: 9 kB\nMemAvailable:    7 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", path)
    assert free_bytes(CPU) == 7 * 1024
    monkeypatch.setattr(memory, "memory_limit", lambda: 5000)
    assert free_bytes(CPU) == 5000
    path.unlink()
    assert free_bytes(CPU) is None


def test_what_is_kept_for_the_backward_pass_counts_once():
    weight = torch.ones(4, requires_grad=True)
    inputs = torch.ones(4)
    with Kept() as kept:
        total = (weight * inputs + weight * inputs).sum()
    total.backward()
    assert weight.grad.tolist() == [2.0] * 4
    assert kept.bytes == inputs.nbytes


def test_a_run_takes_its_weights_and_activations_several_times():
    stacked = stack_networks([nn.Linear(3, 2), nn.Linear(3, 2)])
    assert bytes_of_run(stacked, activations=100) == 8 * 8 * 4 + 3 * 100
