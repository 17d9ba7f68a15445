"""Whether runs can be stacked, found out with their first batch.

The gradients and buffers of two of the runs are computed alone and in the stack, on
copies. A network that vmap cannot take, that draws random numbers, or whose runs would
not be what they are alone is refused, and the module is named. The times of both ways
tell how many runs are best stacked.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from normlab.messages import first_line
from normlab.norms.state import ATTRIBUTE, snapshot, state_of
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
OUTSIDE = "and is neither a parameter nor a buffer"
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
    attributes = _attributes(first.network)
    optimizers = []
    for request in requests:
        task = request.task
        if sample_of(request) != sample:
            raise NotStackable("the samples or the batches of the runs differ in shape")
        if structure(task.network) != wanted:
            raise NotStackable("the networks differ in the shapes of their parameters")
        found = _attributes(task.network)
        _check_same(found, attributes, f"differs in the runs {OUTSIDE}")
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


def _attributes(network: nn.Module) -> Tensors:
    """Numbers that a network holds outside of its parameters and buffers, by path."""
    found = {}
    for path, entry in state_of(network).items():
        if entry.place == ATTRIBUTE:
            found[path] = entry.tensor()
    return found


def _check_same(
    found: Tensors,
    wanted: Tensors,
    otherwise: str,
) -> None:
    """Refuse numbers of which a stack would have those of one run for all.

    Args:
        found, wanted: by path.
        otherwise: what is wrong with a path at which they are not the same.
    """
    for path in found | wanted:
        if path in found and path in wanted and torch.equal(found[path], wanted[path]):
            continue
        raise NotStackable(f"{path} {otherwise}")


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
    before = {name: rows.clone() for name, rows in copy.untrained.items()}
    training = copy.randomness == "error"
    with ExitStack() as around:
        around.enter_context(torch.random.fork_rng())
        for task in (stack.tasks[0], first_request.task, last_request.task):
            around.enter_context(_copied_criterion(task))
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
    for number, (its_gradients, its_untrained) in copies.items():
        _check_gradients(_row(named, number), its_gradients)
        its_before = _row(before, number)
        _check_untrained(_row(copy.untrained, number), its_untrained, its_before)
    return bytes_of_run(copy, kept.bytes)


@contextmanager
def _copied_criterion(task: Task) -> Iterator[None]:
    """Let a task use a copy of the loss that the user gave it, which must not change.

    Raises:
        NotStackable: it keeps something from step to step.
    """
    criterion = getattr(task, "criterion", None)
    if not isinstance(criterion, nn.Module):
        yield
        return
    before = snapshot(criterion)
    task.criterion = deepcopy(criterion)
    try:
        yield
        otherwise = "of task.loss changes in a step, and a stack has one loss for all"
        _check_same(snapshot(task.criterion), before, otherwise)
    finally:
        task.criterion = criterion


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
    """What one run has after one batch, on a copy of its network.

    Args:
        request: of the run.
        batch: of all runs.
        number: of the run in the batch.
        training: whether the network is in training mode.

    Returns:
        its gradients, and what is not trained: buffers and other parameters.
    """
    task = request.task
    if request.random_state is not None:
        torch.set_rng_state(request.random_state)
    network = deepcopy(task.network).train(training)
    before = _attributes(network)
    prediction = network(batch.inputs[number])
    loss = task.loss_of(prediction, batch.learned[number])
    loss.backward()
    _check_same(_attributes(network), before, f"changes in a step {OUTSIDE}")
    gradients = {}
    untrained = dict(network.named_buffers())
    for name, value in network.named_parameters():
        if not value.requires_grad:
            untrained[name] = value
        elif value.grad is None:
            raise NotStackable(
                f"{name} has no gradient: a run by itself leaves it as it is, and a "
                f"stack would not"
            )
        else:
            gradients[name] = value.grad
    return gradients, untrained


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
    line = first_line(error)
    if RANDOM in line:
        return DrawsRandomNumbers(
            f"{module} draws random numbers in training, which differ in a stack"
        )
    sentence = line.partition(". ")[0]
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


def _row(tensors: Tensors, number: int) -> Tensors:
    """The tensors of one run of a stack."""
    return {name: rows[number] for name, rows in tensors.items()}


def _check_gradients(stacked: Tensors, alone: Tensors) -> None:
    """Compare the gradients of one run."""
    largest = max(map(_largest, alone.values()))
    for name, value in alone.items():
        _check_close(f"gradient {name}", stacked[name], value, largest)


def _check_untrained(
    stacked: Tensors,
    alone: Tensors,
    before: Tensors,
) -> None:
    """Compare what the forward pass of one run may move.

    Those that move are rounded as the largest of them. One that stays, such as a mask
    of infinities, says nothing about others.
    """
    moved = [name for name in alone if not torch.equal(alone[name], before[name])]
    largest = max((_largest(alone[name]) for name in moved), default=0.0)
    for name, value in alone.items():
        what = f"buffer {name}"
        size = _largest(value)
        if name in moved:
            size = largest
            if torch.equal(stacked[name], before[name]):
                raise NotStackable(f"{_unlike(what)} stays as it is")
        _check_close(what, stacked[name], value, size)


def _largest(tensor: Tensor) -> float:
    """The largest finite size of its numbers; 0 of whole numbers, which are exact."""
    if not tensor.is_floating_point():
        return 0.0
    sizes = tensor.abs()
    finite = sizes[sizes.isfinite()]
    return float(finite.max()) if finite.numel() else 0.0


def _check_close(
    what: str,
    stacked: Tensor,
    alone: Tensor,
    size: float,
) -> None:
    """Compare a tensor of one run with that in the stack.

    Args:
        what: its kind and its name.
        stacked, alone: the tensor.
        size: of the numbers that it was computed from.
    """
    tolerance = TOLERANCES.get(alone.dtype, 0.0) * size
    if torch.allclose(stacked, alone, rtol=0.0, atol=tolerance, equal_nan=True):
        return
    difference = float((stacked.double() - alone.double()).abs().max())
    raise NotStackable(f"{_unlike(what)} differs by up to {difference:.2g}")


def _unlike(what: str) -> str:
    """The beginning of a sentence on a tensor that a stack does not have as runs do."""
    _, _, name = what.partition(" ")
    module = name.rpartition(".")[0] or "the network"
    return f"{module} is not the same in a stack: its {what}"


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
