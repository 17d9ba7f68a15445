"""How long steps take in stacks and alone, so that the fastest way can be chosen."""

import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from typing import NamedTuple

import torch

from normlab.stacked.alike import first_batch
from normlab.stacked.stack import Batch, Stack
from normlab.training.together import Request

TIMED_STEPS = 5


class Times(NamedTuple):
    """Seconds that a step of one run takes.

    Attributes:
        alone: in a run by itself.
        stacked: in stacks of some numbers of runs, by the number.
    """

    alone: float
    stacked: dict[int, float]

    @property
    def best(self) -> int:
        """The number of runs in a stack that takes the least time."""
        return min(self.stacked, key=self.stacked.__getitem__)

    @property
    def gain(self) -> float:
        """How many times faster the best stack is."""
        return self.alone / self.stacked[self.best]

    @property
    def fewest(self) -> int:
        """The smallest number of runs in a stack; fewer are faster one by one.

        Numbers between those that were measured count as fast.
        """
        slower = [1]
        for size, seconds in self.stacked.items():
            if size < self.best and seconds >= self.alone:
                slower.append(size)
        return max(slower) + 1


def measure(
    stack: Stack,
    requests: Sequence[Request],
    most: int,
) -> Times:
    """Time the steps of one run alone and of stacks, on copies.

    Args:
        stack: of the runs; it is left as it is.
        requests: of the runs.
        most: largest number of runs in a stack.
    """
    batch, chosen = first_batch(requests)
    task = stack.tasks[int(chosen[0])]
    network = deepcopy(task.network)
    optimizer = task.build_optimizer(network)

    def step_alone() -> None:
        prediction = network(batch.inputs[0])
        loss = task.loss_of(prediction, batch.learned[0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    times = {}
    size = min(most, len(chosen))
    while size > 1:
        inputs = batch.inputs[:size]
        learned = batch.learned[:size]
        part = stack.take(chosen[:size])
        times[size] = step_seconds(part, Batch(inputs, learned)) / size
        size //= 2
    return Times(_seconds(step_alone), times)


def step_seconds(stack: Stack, batch: Batch) -> float:
    """The time of a step of a stack, which trains it."""
    return _seconds(partial(stack.step, batch))


def _seconds(step: Callable[[], object]) -> float:
    """The least time that a call takes, which what else runs here hardly changes.

    With one thread, that is the time of the processor, which other programs change
    less.
    """
    is_on_gpu = torch.cuda.is_initialized()
    clock = time.perf_counter
    if torch.get_num_threads() == 1 and not is_on_gpu:
        clock = time.process_time
    seconds = []
    for _ in range(TIMED_STEPS):
        started = clock()
        step()
        if is_on_gpu:
            torch.cuda.synchronize()
        seconds.append(clock() - started)
    return min(seconds)
