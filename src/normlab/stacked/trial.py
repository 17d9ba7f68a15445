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
from normlab.stacked.network import Tensors, structure
from normlab.stacked.optimizers import why_not
from normlab.stacked.stack import Batch, Stack, batches
from normlab.training.classification import Classification
from normlab.training.outputs import agree, evaluated
from normlab.training.tasks import Task
from normlab.training.together import Request

# Largest difference to the gradients alone, as a share of the largest among them.
TOLERANCES = {torch.float32: 1e-3, torch.float64: 1e-9}
TIMED_STEPS = 5
RANDOM = "random operation"  # in what vmap says of one


class NotStackable(Exception):
    """Runs that cannot be trained as one network; the text says why."""


class DrawsRandomNumbers(NotStackable):
    """Runs whose networks would draw other random numbers than alone."""


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


def check_alike(requests: Sequence[Request]) -> None:
    """Refuse runs whose networks, data, optimizers or losses are not of one kind.

    Args:
        requests: of the runs.

    Raises:
        NotStackable: says why.
    """
    first = requests[0].task
    device = first.device.type
    if device not in ("cpu", "cuda"):
        raise NotStackable(f"stacks need a CPU or a CUDA device, got {device}")
    _check_parameters(first.network)
    sample = sample_of(requests[0])
    wanted = structure(first.network)
    optimizers = []
    for request in requests:
        task = request.task
        if sample_of(request) != sample:
            raise NotStackable("the samples or the batches of the runs differ in shape")
        if structure(task.network) != wanted:
            raise NotStackable("the networks differ in the shapes of their parameters")
        _check_task(task, first)
        if request.block.micro_batch_size is not None:
            raise NotStackable("trainer.accumulate has no stacked form")
        optimizers.append(task.trainer.optimizers[0])
    reason = why_not(optimizers)
    if reason is not None:
        raise NotStackable(reason)


def _check_parameters(network: nn.Module) -> None:
    """Refuse parameters that cannot lie in one row."""
    types = set()
    for parameter in network.parameters():
        if parameter.requires_grad:
            types.add(parameter.dtype)
    if len(types) > 1:
        raise NotStackable("the parameters of the network have several types")


def _check_task(task: Task, first: Task) -> None:
    """Refuse what the steps of a stack would leave out, and losses that differ."""
    if task.averaging is not None:
        raise NotStackable("an average of the weights has no stacked form")
    if task.adaptive_clip is not None:
        raise NotStackable("trainer.adaptive_clip has no stacked form")
    if isinstance(task, Classification) and not _weigh_alike(task, first):
        raise NotStackable("task.class_weights weights classes differently in the runs")


def sample_of(request: Request) -> tuple[object, ...]:
    """What the blocks of a stack must have in common."""
    block = request.block
    inputs = block.inputs
    shapes = (inputs.shape[1:], block.targets.shape[1:])
    return (shapes, inputs.dtype, block.batch_size)


def _weigh_alike(task: Classification, first: Task) -> bool:
    weights = task.class_weights
    others = first.class_weights
    if not isinstance(weights, Tensor) or not isinstance(others, Tensor):
        return weights is others
    return torch.equal(weights, others)


def check_equal(stack: Stack, requests: Sequence[Request]) -> float:
    """Compare the stack with its first and its last run alone, on their first batch.

    Of a stack that draws random numbers of its own, evaluation is compared.

    Args:
        stack: of the runs; it is left as it is.
        requests: of the runs.

    Returns:
        about how many bytes a run of the stack takes.

    Raises:
        DrawsRandomNumbers: names the module that would draw other numbers.
        NotStackable: names the module that cannot be stacked, or whose gradients or
            buffers differ.
    """
    batch, chosen = first_batch(requests)
    # No more than two: how many the memory has room for is not known yet.
    ends = [0, len(chosen) - 1]
    batch = Batch(batch.inputs[ends], batch.learned[ends])
    chosen = chosen[ends]
    first_request, last_request = (requests[number] for number in chosen.tolist())
    part = stack.take(chosen)
    copy = part.network
    training = copy.randomness == "error"
    with torch.random.fork_rng():
        with Kept() as kept:
            first = _alone(first_request, batch, 0, training)
        copies = {0: first, 1: _alone(last_request, batch, 1, training)}
        stack.set_random_states(requests)
        copy.template.train(training)
        try:
            gradients = _gradients(part, batch)
        finally:
            copy.template.train()
    named = copy.parameters(gradients)
    for number, (its_gradients, its_buffers) in copies.items():
        _check_close("gradient", named, its_gradients, number)
        _check_close("buffer", copy.buffers, its_buffers, number)
    return bytes_of_run(copy, kept.bytes)


def score_alike(stack: Stack, requests: Sequence[Request]) -> bool:
    """Whether the outputs of the stack in evaluation are those of its runs alone.

    The parts of the first and of the last run are compared, in a stack of these two: it
    scores all parts that a larger one would score.

    Args:
        stack: of the runs; it is left as it is.
        requests: of the runs.
    """
    asking = [number for number, each in enumerate(requests) if each.task.scored_parts]
    ends = sorted({*asking[:1], *asking[-1:]})
    scored = []
    for number in ends:
        request = requests[number]
        scored.append(request._replace(scored=request.task.scored_parts))
    chosen = torch.tensor(ends, dtype=torch.int64, device=stack.network.weights.device)
    try:
        predicted = stack.take(chosen).predict(scored)
    except Exception:  # of any module
        return False
    for request, parts in zip(scored, predicted, strict=True):
        task = request.task
        for name, found in parts.items():
            (block,) = task.scored_parts[name]
            alone = evaluated(deepcopy(task.network), block.inputs)
            tolerance = TOLERANCES.get(alone.dtype, 0.0)
            if not agree(alone, found.outputs, tolerance):
                return False
    return True


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
    request: Request,
    batch: Batch,
    number: int,
    training: bool,
) -> tuple[Tensors, Tensors]:
    """Gradients and buffers of one run after one batch, on a copy of its network.

    Args:
        request: of the run.
        batch: of all runs.
        number: of the run in the batch.
        training: whether the network is in training mode.
    """
    task = request.task
    if request.random_state is not None:
        torch.set_rng_state(request.random_state)
    network = deepcopy(task.network).train(training)
    prediction = network(batch.inputs[number])
    loss = task.loss_of(prediction, batch.learned[number])
    loss.backward()
    gradients = {}
    for name, value in network.named_parameters():
        if not value.requires_grad:
            continue
        gradient = value.grad
        if gradient is None:
            gradient = torch.zeros_like(value)
        gradients[name] = gradient
    return gradients, dict(network.named_buffers())


def _gradients(stack: Stack, batch: Batch) -> Tensor:
    """The gradients of a stack, or the module at which they cannot be computed."""
    network = stack.network
    loss_of = stack.tasks[0].loss_of
    with _entered(network.template) as entered:
        try:
            gradients, _, _ = network.gradients(
                loss_of, batch.inputs, batch.learned, stack.generators
            )
        except Exception as error:  # of any module
            raise _refusal(error, network.template, entered) from error
    return gradients


def _refusal(
    error: Exception,
    network: nn.Module,
    entered: list[str],
) -> NotStackable:
    """Why a stack cannot be computed, with the module in which it failed."""
    module = "the network or its loss"
    if entered:
        name = entered[-1]
        kind = type(network.get_submodule(name))
        place = name or "the network"
        module = f"{place} ({kind.__name__})"
    first_line = str(error).partition("\n")[0]
    if RANDOM in first_line:
        return DrawsRandomNumbers(
            f"{module} draws random numbers in training, which differ in a stack"
        )
    sentence = first_line.partition(". ")[0]
    reason = f"{type(error).__name__}: {sentence}"
    return NotStackable(f"{module} cannot be stacked: {reason}")


@contextmanager
def _entered(network: nn.Module) -> Iterator[list[str]]:
    """The names of the modules whose `forward` has begun and not returned."""
    names: list[str] = []

    def enter(name: str) -> Callable[..., None]:
        return lambda module, inputs: names.append(name)

    def leave(
        module: nn.Module,
        inputs: object,
        output: object,
    ) -> None:
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
    what: str,
    stacked: Tensors,
    alone: Tensors,
    number: int,
) -> None:
    """Compare tensors of one run; integers must be equal."""
    largest = 0.0
    for value in alone.values():
        if value.is_floating_point() and value.numel():
            largest = max(largest, float(value.abs().max()))
    for name, value in alone.items():
        tolerance = TOLERANCES.get(value.dtype, 0.0) * largest
        row = stacked[name][number]
        if torch.allclose(row, value, rtol=0.0, atol=tolerance, equal_nan=True):
            continue
        difference = float((row - value).abs().max())
        module = name.rpartition(".")[0] or "the network"
        raise NotStackable(
            f"{module} is not the same in a stack: its {what} {name} differs by up to "
            f"{difference:.2g}"
        )


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
