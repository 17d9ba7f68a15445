"""Whether runs can be stacked, found out with their first batch.

The gradients and buffers of two of the runs are computed alone and in the stack, on
copies. A network that vmap cannot take, that draws random numbers, or whose runs would
not be what they are alone is refused, and the module is named. The times of both ways
tell how many runs are best stacked.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from normlab.stacked.memory import Kept, bytes_of_run
from normlab.stacked.network import StackedNetwork, structure
from normlab.stacked.optimizers import why_not
from normlab.stacked.stack import Batch, Stack, batches
from normlab.training.classification import Classification
from normlab.training.tasks import Task
from normlab.training.together import Request

# Largest difference to the gradients alone, as a share of the largest among them.
TOLERANCES = {torch.float32: 1e-3, torch.float64: 1e-9}
TIMED_STEPS = 5
RANDOM = "random operation"  # in what vmap says of one


class NotStackable(Exception):
    """Runs that cannot be trained as one network; the text says why."""


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


def check_alike(requests: Sequence[Request]) -> None:
    """Refuse runs whose networks, data, optimizers or losses are not of one kind.

    Args:
        requests: of the runs.

    Raises:
        NotStackable: says why.
    """
    tasks = [request.task for request in requests]
    first = tasks[0]
    samples = {sample_of(request) for request in requests}
    if len(samples) > 1:
        raise NotStackable("the samples or the batches of the runs differ in shape")
    device = first.device.type
    if device not in ("cpu", "cuda"):
        raise NotStackable(f"stacks need a CPU or a CUDA device, got {device}")
    found = structure(first.network)
    trained = [each for each in first.network.parameters() if each.requires_grad]
    if len({each.dtype for each in trained}) > 1:
        raise NotStackable("the parameters of the network have several types")
    for task in tasks:
        if structure(task.network) != found:
            raise NotStackable("the networks differ in the shapes of their parameters")
        if isinstance(task, Classification) and not _weigh_alike(task, first):
            raise NotStackable(
                "task.class_weights weights classes differently in the runs"
            )
    reason = why_not([task.trainer.optimizers[0] for task in tasks])
    if reason is not None:
        raise NotStackable(reason)


def sample_of(request: Request) -> tuple[object, ...]:
    """What the blocks of a stack must have in common."""
    block = request.block
    inputs = block.inputs
    return (inputs.shape[1:], inputs.dtype, block.targets.shape[1:], block.batch_size)


def _weigh_alike(task: Classification, first: Task) -> bool:
    weights = task.class_weights
    others = first.class_weights
    if not isinstance(weights, Tensor) or not isinstance(others, Tensor):
        return weights is others
    return torch.equal(weights, others)


def check_equal(stack: Stack, requests: Sequence[Request]) -> float:
    """Compare the stack with its first and its last run alone, on their first batch.

    Args:
        stack: of the runs; it is left as it is.
        requests: of the runs.

    Returns:
        about how many bytes a run of the stack takes.

    Raises:
        NotStackable: names the module that cannot be stacked, or whose gradients or
            buffers differ.
    """
    batch, chosen = first_batch(requests)
    numbers = (0, len(chosen) - 1)
    part = stack.take(chosen)
    copy = part.network
    with torch.random.fork_rng(), Kept() as kept:
        first = _alone(part.tasks[0], batch, 0)
    with torch.random.fork_rng():
        copies = (first, _alone(part.tasks[-1], batch, numbers[1]))
        gradients = _gradients(copy, part.tasks[0], batch)
    named = copy.parameters(gradients)
    for number, (its_gradients, its_buffers) in zip(numbers, copies, strict=True):
        _check_close("gradient", named, its_gradients, number)
        _check_close("buffer", copy.buffers, its_buffers, number)
    return bytes_of_run(copy, kept.bytes)


def first_batch(requests: Sequence[Request]) -> tuple[Batch, Tensor]:
    """The first batch of the runs, and the numbers ``(k,)`` of those that have it.

    Raises:
        NotStackable: no two runs have a batch of one size.
    """
    batch = next(iter(batches(requests)))
    if len(batch.inputs) < 2:
        raise NotStackable("the batches of the runs differ in size")
    chosen = batch.chosen
    if chosen is None:
        chosen = torch.arange(len(requests), device=batch.inputs.device)
    return batch, chosen


def _alone(
    task: Task, batch: Batch, number: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Gradients and buffers of one run after one batch, on a copy of its network."""
    network = deepcopy(task.network)
    loss = task.loss_of(network(batch.inputs[number]), batch.learned[number])
    loss.backward()
    gradients = {
        name: torch.zeros_like(value) if value.grad is None else value.grad
        for name, value in network.named_parameters()
        if value.requires_grad
    }
    return gradients, dict(network.named_buffers())


def _gradients(network: StackedNetwork, task: Task, batch: Batch) -> Tensor:
    """The gradients of the stack, or the module at which they cannot be computed."""
    with _entered(network.template) as entered:
        try:
            gradients, _, _ = network.gradients(
                task.loss_of, batch.inputs, batch.learned
            )
        except Exception as error:  # of any module
            raise NotStackable(_why(error, network.template, entered)) from error
    return gradients


def _why(error: Exception, network: nn.Module, entered: list[str]) -> str:
    name = entered[-1] if entered else ""
    kind = type(network.get_submodule(name)).__name__
    module = f"{name} ({kind})" if name else f"the network ({kind}) or its loss"
    first_line = str(error).partition("\n")[0]
    if RANDOM in first_line:
        return f"{module} draws random numbers in training, which differ in a stack"
    sentence = first_line.partition(". ")[0]
    return f"{module} cannot be stacked: {type(error).__name__}: {sentence}"


@contextmanager
def _entered(network: nn.Module) -> Iterator[list[str]]:
    """The names of the modules whose `forward` has begun and not returned."""
    names: list[str] = []

    def enter(name: str) -> Callable[..., None]:
        return lambda module, inputs: names.append(name)

    def leave(module: nn.Module, inputs: object, output: object) -> None:
        names.pop()

    handles = []
    for name, module in network.named_modules():
        handles.append(module.register_forward_pre_hook(enter(name)))
        handles.append(module.register_forward_hook(leave))
    try:
        yield names
    finally:
        for handle in handles:
            handle.remove()


def _check_close(
    what: str, stacked: dict[str, Tensor], alone: dict[str, Tensor], number: int
) -> None:
    """Compare tensors of one run; integers must be equal."""
    numbers = [value for value in alone.values() if value.is_floating_point()]
    largest = max([float(each.abs().max()) for each in numbers if each.numel()] or [0])
    for name, value in alone.items():
        tolerance = TOLERANCES.get(value.dtype, 0.0) * largest
        row = stacked[name][number]
        if not torch.allclose(row, value, rtol=0.0, atol=tolerance, equal_nan=True):
            module = name.rpartition(".")[0]
            raise NotStackable(
                f"{module or 'the network'} is not the same in a stack: its {what} "
                f"{name} differs by up to {float((row - value).abs().max()):.2g}"
            )


def measure(stack: Stack, requests: Sequence[Request], most: int) -> Times:
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
        part = Batch(batch.inputs[:size], batch.learned[:size])
        copy = stack.take(chosen[:size])
        times[size] = _seconds(partial(copy.step, part)) / size
        size //= 2
    return Times(_seconds(step_alone), times)


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
