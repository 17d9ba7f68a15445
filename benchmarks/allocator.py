"""Training steps with the memory that a step frees kept for the next one, against the C library's own way.

    python benchmarks/allocator.py

Networks and batches are made up; what they hold changes no time. Every turn is a process of its own, since the C
library does not go back to its own way once it was told another. One thread.
"""

import resource
import statistics
import time
from contextlib import nullcontext

import torch
from measure import Row, in_new_process, show
from torch import nn

from normlab.allocator import freed_memory_kept
from normlab.models import AlexNet, LeNet5
from normlab.norms import BatchNorm

CLASSES, WARM_UP = 10, 3
NETWORKS = {  # name: class, inputs, steps a turn
    "LeNet-5, 64 images of CIFAR-10's size": (LeNet5, (64, 3, 32, 32), 100),
    "AlexNet, 32 images of 224 pixels": (AlexNet, (32, 3, 224, 224), 4),
}


def training(name: str, kept: bool) -> tuple[float, float]:
    """Seconds of the steps of a turn, and the peak of the process' memory in MiB."""
    torch.set_num_threads(1)
    network, shape, steps = NETWORKS[name]
    net = network(shape[1:], CLASSES, BatchNorm)
    inputs, targets = torch.randn(shape), torch.randint(CLASSES, shape[:1])
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, fused=True)
    with freed_memory_kept() if kept else nullcontext():
        for step in range(WARM_UP + steps):
            if step == WARM_UP:
                started = time.perf_counter()
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(inputs), targets).backward()
            optimizer.step()
        seconds = time.perf_counter() - started
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def rows(rounds: int = 5) -> list[Row]:
    found = []
    for name, (_, _, steps) in NETWORKS.items():
        turns = {kept: [] for kept in (True, False)}
        for _ in range(rounds):
            for kept, own in turns.items():
                own.append(in_new_process(training, name, kept))
        seconds, peaks = zip(*(map(statistics.median, zip(*own, strict=True)) for own in turns.values()), strict=True)
        note = f"peaks of the processes {peaks[0]:,.0f} and {peaks[1]:,.0f} MiB"
        what = f"{steps} training steps of {name}, freed memory kept"
        found.append(Row(what, "given back as the C library does", *seconds, 1, note=note))
    return found


if __name__ == "__main__":
    show(rows())
