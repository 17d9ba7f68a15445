"""Training steps with the memory that a step frees kept for the next one, against the C library's own way.

    python benchmarks/allocator.py

Networks and batches are made up; what they hold changes no time. The two ways take turns of several steps. One thread.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from measure import Row, show, take_turns, timed
from torch import nn

from normlab.allocator import freed_memory_kept
from normlab.models import AlexNet, LeNet5
from normlab.norms import BatchNorm

CLASSES = 10
NETWORKS = {  # name: class, inputs, steps a turn
    "LeNet-5, 64 images of CIFAR-10's size": (LeNet5, (64, 3, 32, 32), 100),
    "AlexNet, 32 images of 224 pixels": (AlexNet, (32, 3, 224, 224), 4),
}


def training(
    net: nn.Module, shape: tuple[int, ...], steps: int, memory: Callable[[], AbstractContextManager]
) -> Callable[[], None]:
    inputs, targets = torch.randn(shape), torch.randint(CLASSES, shape[:1])
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, fused=True)

    def run() -> None:
        with memory():
            for _ in range(steps):
                optimizer.zero_grad()
                nn.functional.cross_entropy(net(inputs), targets).backward()
                optimizer.step()

    return run


def rows(rounds: int = 7) -> list[Row]:
    torch.set_num_threads(1)
    found = []
    for name, (network, shape, steps) in NETWORKS.items():
        net = network(shape[1:], CLASSES, BatchNorm)
        ways = {"kept": freed_memory_kept, "given back": nullcontext}
        arms = {way: timed(training(net, shape, steps, memory)) for way, memory in ways.items()}
        median = take_turns(arms, rounds)
        what = f"{steps} training steps of {name}, freed memory kept"
        found.append(Row(what, "given back to the system", median["kept"], median["given back"], 1))
    return found


if __name__ == "__main__":
    show(rows())
