"""What a training step does, counted: the same on every machine.

    python benchmarks/counts.py DATA

DATA is the folder that holds MNIST/. Counted are the calls of Python functions and the
operators of PyTorch (forward, backward, optimizer and what is recorded), for normlab
and for the bare loop with the same fused Adam. A short and a long run are counted, so
that what happens once a run or once an epoch cancels out.
"""

import sys
import tempfile
from collections.abc import Callable

import torch
from bare import bare_epoch, mnist
from measure import Row, configured, show
from notebook import network
from torch.utils._python_dispatch import TorchDispatchMode

from normlab.training.experiment import run

BATCH = 64
SHORT, LONG = 100, 300  # steps


class Operators(TorchDispatchMode):
    """Counts the operators that are called while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.number += 1
        return function(*args, **kwargs or {})


def operators(function: Callable[[], object]) -> int:
    """The number of PyTorch's operators that a function calls."""
    with Operators() as counted:
        function()
    return counted.number


def calls(function: Callable[[], object]) -> int:
    """The number of calls of Python functions that a function makes, itself one."""
    number = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal number
        number += event == "call"

    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(None)
    return number


def a_step(count: Callable, arm: Callable[[int], Callable[[], object]]) -> float:
    """What an arm counts per step; the arm makes a function of a number of steps."""
    count(arm(SHORT))  # what happens once a process
    return (count(arm(LONG)) - count(arm(SHORT))) / (LONG - SHORT)


def normlab(root: str) -> Callable[[int], Callable[[], object]]:
    def arm(steps: int) -> Callable[[], object]:
        def train() -> None:
            words = ["experiment=mlp_mnist", "norm=torch", f"dataset.root={root}"]
            words += [f"trainer.max_steps={steps}", "device.threads=1"]
            with tempfile.TemporaryDirectory() as outputs:
                words += [f"paths.outputs={outputs}", "progress=false"]
                run(configured(*words))

        return train

    return arm


def bare(root: str) -> Callable[[int], Callable[[], object]]:
    images, targets, *validation = mnist(root)

    def arm(steps: int) -> Callable[[], object]:
        rows = steps * BATCH
        parts = (images[:rows], targets[:rows], *validation)
        return bare_epoch(network(), parts, BATCH, fused=True)

    return arm


def rows(root: str) -> list[Row]:
    torch.set_num_threads(1)
    found = []
    wanted = (
        ("calls of Python functions", calls, 1.5),
        ("operators of PyTorch", operators, 1.1),
    )
    for what, count, reach in wanted:
        found.append(
            Row(
                f"a step of MLP 784-128-64-10, MNIST: {what}",
                "bare loop, the same fused Adam",
                a_step(count, normlab(root)),
                a_step(count, bare(root)),
                reach,
                unit="a step",
            )
        )
    return found


if __name__ == "__main__":
    show(rows(sys.argv[1]))
