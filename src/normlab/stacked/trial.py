"""Whether runs can be stacked, found out with their first batch.

The gradients and buffers of two of the runs are computed alone and in the stack, on
copies. A network that vmap cannot take, that draws random numbers, or whose runs would
not be what they are alone is refused, and the module is named.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn

from normlab.messages import first_line
from normlab.norms.state import snapshot
from normlab.stacked.alike import (
    OUTSIDE,
    NotStackable,
    attributes_of,
    check_same,
    criterion_of,
    first_batch,
)
from normlab.stacked.memory import Kept, bytes_of_run
from normlab.stacked.network import Tensors
from normlab.stacked.stack import Batch, Stack
from normlab.training.outputs import agree, evaluated
from normlab.training.tasks import Task
from normlab.training.together import Request

# Largest difference to the gradients alone, as a share of the largest among them.
TOLERANCES = {torch.float32: 1e-3, torch.float64: 1e-9}
# Of numbers of size 1, after a few operations.
ROUNDING = {torch.float32: 1e-6, torch.float64: 1e-15}
RANDOM = "random operation"  # in what vmap says of one


class DrawsRandomNumbers(NotStackable):
    """Runs whose networks would draw other random numbers than alone."""


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
    # A forward pass may flip a flag of the template, which is the first run's network.
    part.network = replace(part.network, template=deepcopy(part.network.template))
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
        gradients = _gradients(part, batch)
    named = copy.parameters(gradients)
    for number, (its_gradients, its_untrained) in copies.items():
        _check_gradients(_row(named, number), its_gradients)
        its_before = _row(before, number)
        for kind, tensors in (("buffer", copy.buffers), ("parameter", copy.constants)):
            row = _row(tensors, number)
            _check_untrained(kind, row, its_untrained, its_before)
    return bytes_of_run(copy, kept.bytes)


@contextmanager
def _copied_criterion(task: Task) -> Iterator[None]:
    """Let a task use a copy of the loss that the user gave it, which must not change.

    Raises:
        NotStackable: it keeps something from step to step.
    """
    criterion = criterion_of(task)
    if criterion is None:
        yield
        return
    before = snapshot(criterion)
    task.criterion = deepcopy(criterion)
    try:
        yield
        otherwise = "of task.loss changes in a step, and a stack has one loss for all"
        check_same(snapshot(task.criterion), before, otherwise)
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
    before = attributes_of(network)
    prediction = network(batch.inputs[number])
    loss = task.loss_of(prediction, batch.learned[number])
    loss.backward()
    check_same(attributes_of(network), before, f"changes in a step {OUTSIDE}")
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
    kind: str,
    stacked: Tensors,
    alone: Tensors,
    before: Tensors,
) -> None:
    """Compare what the forward pass of one run may move.

    Those that move are rounded as the largest of them. One that stays, such as a mask
    of infinities, says nothing about others.

    Args:
        kind: what they are.
        stacked: those of the run in the stack.
        alone, before: after the pass by itself, and before it, with others.
    """
    moved = [name for name in stacked if not torch.equal(alone[name], before[name])]
    largest = max((_largest(alone[name]) for name in moved), default=0.0)
    for name, row in stacked.items():
        value = alone[name]
        what = f"{kind} {name}"
        rounding = ROUNDING.get(value.dtype, 0.0) * max(1.0, largest)
        size = _largest(value)
        if name in moved:
            size = largest
            move = _largest(value - before[name])
            if torch.equal(row, before[name]) and move > rounding:
                raise NotStackable(f"{_unlike(what)} stays as it is")
        _check_close(what, row, value, size, rounding)


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
    rounding: float = 0.0,
) -> None:
    """Compare a tensor of one run with that in the stack.

    Args:
        what: its kind and its name.
        stacked, alone: the tensor.
        size: of the numbers that it was computed from.
        rounding: a difference that is none.
    """
    tolerance = max(rounding, TOLERANCES.get(alone.dtype, 0.0) * size)
    if torch.allclose(stacked, alone, rtol=0.0, atol=tolerance, equal_nan=True):
        return
    difference = float((stacked.double() - alone.double()).abs().max())
    raise NotStackable(f"{_unlike(what)} differs by up to {difference:.2g}")


def _unlike(what: str) -> str:
    """The beginning of a sentence on a tensor that a stack does not have as runs do."""
    _, _, name = what.partition(" ")
    module = name.rpartition(".")[0] or "the network"
    return f"{module} is not the same in a stack: its {what}"
